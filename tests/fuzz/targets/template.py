"""Templates and their expansion.

An input: a line for a template, one for a second one, then a line for each value: local, tag,
subdomain.

Held to: an expansion is a legal address in the template's own domain, whatever a stranger typed
(otherwise Waypost were an open relay); a route's legs hold nothing else.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import zip_longest

from tests.fuzz.virtual import Violation
from waypost.address import MAX_LOCAL_OCTETS, Address, NotAnAddress
from waypost.route import NextHops, Route, Template

_NAMES = ("local", "tag", "subdomain")


def one(data: bytes) -> None:
    """Run one input."""
    first, second, *values = data.split(b"\n", 4)[:5] + [b""] * (2 - data.count(b"\n"))
    texts = [value.decode(errors="surrogateescape") for value in values]
    fields = dict(zip_longest(_NAMES, texts[: len(_NAMES)], fillvalue=""))
    templates = [each for each in (_parsed(first), _parsed(second)) if each is not None]
    known = [each for each in templates if each.domain is not None and each.fields <= set(_NAMES)]
    for template in known:
        with suppress(NotAnAddress):
            _check(template, template.expand(fields))
    domains = {template.domain for template in known}
    for leg in Route("r", (tuple(known), tuple(reversed(known)))).expand(fields, NextHops()):
        if not leg.destinations or {each.to.domain for each in leg.destinations} - domains:
            raise Violation(f"{leg!r} leads elsewhere")


def _parsed(data: bytes) -> Template | None:
    try:
        return Template.parse(data.decode(errors="surrogateescape"))
    except NotAnAddress:
        return None


def _check(template: Template, address: Address) -> None:
    if address.domain != template.domain or Address.parse(str(address)) != address:
        raise Violation(f"{template!r} became {address!r}")
    if address.octets_of_local > MAX_LOCAL_OCTETS:
        raise Violation(f"{address!r} is too long")

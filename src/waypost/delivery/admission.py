"""Whose mail a recipient at the transport is.

Owns the three cases of DESIGN ("The route address"): a route address of ours, a recipient of ours
that no milter saw, and everything else. The reply for what is not let in is decided here too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from waypost import status
from waypost.address import ID_LENGTH, Address, NotAnAddress, RouteAddresses, domain_behind
from waypost.reply import Reply
from waypost.resolver import Resolver, Routed, Unknown


@dataclass(frozen=True, slots=True)
class Admitted:
    """A recipient with a route."""

    routed: Routed
    id: str | None
    """The message id of its route address; None when no milter saw the message."""

    def message_id(self, queue_id: str) -> str:
        """The id under which the journal knows the message."""
        if self.id is not None:
            return self.id
        # Made to look like no id that the milter makes ("0" and "1" are not in its alphabet).
        seed = f"{queue_id}\0{self.routed.recipient.key}".encode()
        return "0" + hashlib.sha256(seed).hexdigest()[: ID_LENGTH - 1]


async def admit(text: str, resolver: Resolver, route_addresses: RouteAddresses) -> Admitted | Reply:
    """Who the recipient `text` is, or what Postfix is told of it. Raises MatcherTrouble."""
    try:
        address = Address.parse(text)
    except NotAnAddress:
        domain = resolver.domains.find(domain_behind(text))
        refuses = domain is not None and domain.unmatched == "reject"
        return status.BAD_SYNTAX if refuses else status.NOT_FOR_YOU
    opened = route_addresses.read(address)
    if opened is None:
        return await _without_id(address, resolver)
    if not opened.genuine:
        return await _without_id(opened.recipient, resolver)
    resolution = await resolver.resolve(opened.recipient)
    if not isinstance(resolution, Routed) or not resolution.legs:
        # It had a route when it came in; an edit may bring it back (invariant 3).
        return status.NO_ROUTE_TODAY
    return Admitted(resolution, opened.id)


async def _without_id(address: Address, resolver: Resolver) -> Admitted | Reply:
    resolution = await resolver.resolve(address)
    if isinstance(resolution, Routed):
        return status.refusal(resolution) or Admitted(resolution, None)
    if isinstance(resolution, Unknown):
        return status.UNKNOWN
    return status.NOT_FOR_YOU

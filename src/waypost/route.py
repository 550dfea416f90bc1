"""Routes: what the operator wrote, and what it means for one recipient.

Owns `Route` (a name and its legs as templates), their expansion into `Leg`s of `Destination`s, the
identity of a leg, the choice of a next hop by name, and what a next hop is. Pure.

Promises: an expansion yields only legal addresses, whatever a stranger typed into the fields; a
leg's name stays the same as long as its expanded first destination does.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from waypost.address import MAX_LOCAL_OCTETS, Address, NotAnAddress, canonical_domain

Fields = Mapping[str, str | Address]
"""What a hit carries into templates: `str` is a stranger's text, `Address` a whole destination."""


class TlsPolicy(StrEnum):
    """When mail may leave over a connection."""

    OPPORTUNISTIC = "opportunistic"
    """In TLS where that can be had, else in plaintext; nobody has to prove who he is (RFC 7435)."""
    REQUIRE = "require"
    """In TLS only; nobody has to prove who he is."""
    VERIFY = "verify"
    """In TLS only, and to whoever has a valid certificate for the host's name."""
    NEVER = "never"
    """In plaintext."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How connections to a next hop are encrypted, and how each side proves who it is."""

    policy: TlsPolicy = TlsPolicy.OPPORTUNISTIC
    from_the_start: bool = False
    """TLS before the greeting (RFC 8314 section 3.3) instead of STARTTLS."""
    ca_file: str | None = None
    """The path of the certificates that are trusted; None: those of the system."""
    client_cert: str | None = None
    """The path of the certificate that we show, with its chain; None: none."""
    client_key: str | None = None
    """The path of its private key; None: the key is in `client_cert`."""


@dataclass(frozen=True, slots=True)
class Login:
    """What we say to prove who we are (RFC 4954)."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where to connect, and how: a host and port, or the mail exchangers of a domain.

    As a whole it says which connections are alike: those of one login, say, serve no other.
    """

    host: str
    """A host name, an IP address, or (when `port` is None) the domain whose MX is asked."""
    port: int | None = None
    relay: str | None = None
    """The name of the relay in the configuration, if it is one."""
    tls: Tls = Tls()
    login: Login | None = None

    @property
    def name(self) -> str:
        """What the journal and the logs call it."""
        return self.relay or self.place

    @property
    def place(self) -> str:
        """Where it is, whatever its name: `smtp://host:port`, or `mx:domain`."""
        if self.port is None:
            return f"mx:{self.host}"
        scheme = "smtps" if self.tls.from_the_start else "smtp"
        return f"{scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Host:
    """One host of a next hop, such as one mail exchanger."""

    addresses: tuple[str, ...]
    """Its IP addresses, in the order in which they are tried; at least one."""
    port: int


@dataclass(frozen=True, slots=True)
class NextHops:
    """Which next hop serves a destination: `via`, else `next_hops`, else default relay, else MX."""

    relays: Mapping[str, NextHop] = field(default_factory=dict)
    by_domain: Mapping[str, NextHop] = field(default_factory=dict)
    default: NextHop | None = None

    def choose(self, to: Address, via: str | None) -> NextHop:
        """The next hop for `to`. `via` names a relay; KeyError when there is none of that name."""
        if via is not None:
            return self.relays[via]
        return self.by_domain.get(to.domain) or self.default or NextHop(to.domain)


@dataclass(frozen=True, slots=True)
class Destination:
    """A mailbox elsewhere and the next hop that takes mail for it."""

    to: Address
    next_hop: NextHop
    via: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What "the same destination" means: the same mailbox by the same next hop."""
        return self.to.key, self.next_hop.name


@dataclass(frozen=True, slots=True)
class Leg:
    """One way to reach a person: destinations in the order in which they are tried."""

    name: str
    """The key of its first destination: what it is, not where it stands."""
    destinations: tuple[Destination, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A destination as configured: `catchall+{local}@gmail.com`; `{field}` for a whole address."""

    text: str
    pieces: tuple[tuple[str, str | None], ...]
    """Literal text and the field that follows it, for the local part or the whole."""
    domain: str | None
    """Canonical; None when the template is a single field that holds a whole address."""
    via: str | None = None

    @classmethod
    def parse(cls, text: str, via: str | None = None) -> Template:
        """Read a template. Raises NotAnAddress with what is wrong."""
        local, at, domain = text.rpartition("@")
        if not at:
            pieces = _pieces(text)
            if len(pieces) == 1 and pieces[0][0] == "" and pieces[0][1]:
                return cls(text, pieces, None, via)
            raise NotAnAddress(f'"{text}" has no "@"')
        if "{" in domain or "}" in domain:
            raise NotAnAddress(f'"{text}": a field may stand in the local part only')
        pieces = _pieces(local)
        if all(name is None for _, name in pieces):
            literal = "".join(literal for literal, _ in pieces)
            address = _legal(Address.parse(literal + at + domain))
            return cls(text, ((address.local, None),), address.domain, via)
        if '"' in local or "\\" in local:
            raise NotAnAddress(
                f'"{text}": beside a field the local part is written without quotes and '
                "backslashes; they are added where an address needs them"
            )
        template = cls(text, pieces, canonical_domain(domain), via)
        # What stands beside the fields must be legal, and leave them room.
        template.expand(dict.fromkeys(template.fields, "x"))
        return template

    @property
    def fields(self) -> frozenset[str]:
        """The names of the fields it needs."""
        return frozenset(name for _, name in self.pieces if name is not None)

    def expand(self, fields: Fields) -> Address:
        """The address for these fields.

        Raises NotAnAddress when they make none that is legal; KeyError when one is lacking and
        TypeError when text stands where a whole address is wanted: both are mistakes of ours.
        """
        if self.domain is None:
            (name,) = self.fields
            whole = fields[name]
            if not isinstance(whole, Address):
                # A stranger's text must not choose where mail goes: that were an open relay.
                raise TypeError(f'the field "{name}" holds text, and no whole address')
            return _legal(Address.parse(str(whole)))
        local = "".join(
            literal + (str(fields[name]) if name is not None else "")
            for literal, name in self.pieces
        )
        return _legal(Address.parse(str(Address(local, self.domain))))


def _pieces(text: str) -> tuple[tuple[str, str | None], ...]:
    try:
        parsed = [(literal, name, spec, conversion) for literal, name, spec, conversion
                  in string.Formatter().parse(text)]  # fmt: skip
    except ValueError as error:
        raise NotAnAddress(f'"{text}": {error}; a literal brace is written twice') from None
    for _, name, spec, conversion in parsed:
        if name is not None and (not name.isidentifier() or spec or conversion):
            raise NotAnAddress(f'"{text}": a field is a plain name in braces, such as {{local}}')
    return tuple((literal, name) for literal, name, _, _ in parsed)


def _legal(address: Address) -> Address:
    if address.octets_of_local > MAX_LOCAL_OCTETS:
        raise NotAnAddress(f"a local part has at most {MAX_LOCAL_OCTETS} octets")
    return address


@dataclass(frozen=True, slots=True)
class Route:
    """A route as configured."""

    name: str
    legs: tuple[tuple[Template, ...], ...]
    """Each leg's destinations in order, the last resort included."""
    success: Literal["all", "any"] = "all"
    failover_after: Mapping[str, float] = field(default_factory=dict)
    """Seconds to stay with a destination, by reply class."""

    def expand(self, fields: Fields, next_hops: NextHops) -> tuple[Leg, ...]:
        """The legs for one recipient. An expansion that is no legal address is skipped, and so is a
        leg of which none is left: the result may be empty.
        """
        legs: dict[str, Leg] = {}
        for templates in self.legs:
            destinations = tuple(_destinations(templates, fields, next_hops))
            # Two legs with one first destination are one leg: it would hold the copy of both.
            if destinations and destinations[0].to.key not in legs:
                name = destinations[0].to.key
                legs[name] = Leg(name, destinations)
        return tuple(legs.values())

    def with_last_resort(self, template: Template) -> Route:
        """This route with `template` as the last destination of every leg that lacks it."""
        return replace(
            self,
            legs=tuple(leg if template in leg else (*leg, template) for leg in self.legs),
        )


def _destinations(
    templates: Sequence[Template], fields: Fields, next_hops: NextHops
) -> Iterator[Destination]:
    seen = set()
    for template in templates:
        try:
            to = template.expand(fields)
        except NotAnAddress:
            continue
        destination = Destination(to, next_hops.choose(to, template.via), template.via)
        # Fields can make two templates one destination: it is asked, and told of, once.
        if destination.key not in seen:
            seen.add(destination.key)
            yield destination

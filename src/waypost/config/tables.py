"""The tables of waypost.toml as pydantic models: which keys there are and what shape they have.

Owns the shape of the file and its default values, nothing of its meaning (`build`). A table with a
mistake is read without the keys that are wrong, so that the meaning of the rest can be checked in
the same run; keys that are wrong are then absent, not replaced by something.

Promises: every mistake of shape is reported, each once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticKnownError

from waypost.address import canonical_domain
from waypost.config import problems, values
from waypost.config.problems import Findings
from waypost.config.values import Listen
from waypost.route import NextHop

T = TypeVar("T")


def _from_string(read: Callable[[str], T]) -> PlainValidator:
    def validate(value: object) -> T:
        if not isinstance(value, str):
            raise PydanticKnownError("string_type")
        return read(value)

    return PlainValidator(validate)


def _destination(value: object) -> object:
    if isinstance(value, str):
        return {"to": value}
    if isinstance(value, list):
        raise ValueError(
            "one destination is wanted here, not a list; alternatives belong to fan_out"
        )
    if not isinstance(value, dict):
        raise ValueError('a destination is a string, or { to = "...", via = "..." }')
    return value


def _leg(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _last_resort(value: object) -> object:
    if isinstance(value, list) and value:
        raise ValueError("a last resort is one destination, not a list; [] switches it off")
    return _leg(value)


Domain = Annotated[str, AfterValidator(canonical_domain)]
Unmatched = Literal["reject", "pass"]
Delimiter = Annotated[str, AfterValidator(values.delimiter)]
Socket = Annotated[Listen, _from_string(Listen.parse)]
Url = Annotated[NextHop, _from_string(values.next_hop)]
Duration = Annotated[float, PlainValidator(values.duration)]
FailoverAfter = dict[Annotated[str, AfterValidator(values.failing_reply_class)], Duration]


class Table(BaseModel):
    """A table that knows all its keys. `strict`: what is written as a string is one."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DestinationTable(Table):
    """A destination; a plain string is short for `{ to = ... }`."""

    to: str
    via: str | None = None


Destination = Annotated[DestinationTable, BeforeValidator(_destination)]


class TopTable(Table):
    """The keys above the first header."""

    domains: list[Domain] | None = None
    not_ours: list[Domain] = []
    unmatched: Unmatched = "reject"
    delimiter: Delimiter = "+"
    route_domain: Domain = "waypost.invalid"
    state: Annotated[Path, _from_string(values.state_directory)] = Path("/var/lib/waypost")


class DomainTable(Table):
    """`[domain."x"]`: what holds in one domain instead of the keys on top."""

    unmatched: Unmatched | None = None
    delimiter: Delimiter | None = None


class MilterTable(Table):
    """`[milter]`. Debian chroots smtpd, so the socket lies below the queue directory."""

    listen: Socket = Listen(path="/var/spool/postfix/waypost/milter.sock")


class TransportTable(Table):
    """`[transport]`. `deadline` bounds one try to deliver to one recipient."""

    listen: Socket = Listen(path="/var/spool/postfix/waypost/lmtp.sock")
    deadline: Annotated[float, PlainValidator(values.deadline)] = 1800.0


class OutgoingTable(Table):
    """`[outgoing]`."""

    helo: Domain | None = None
    bind: Annotated[str, AfterValidator(values.ip_address)] | None = None
    address_family: Literal["any", "ipv4", "ipv6"] = "any"
    default_relay: str | None = None


class RelayTable(Table):
    """`[relays.NAME]`."""

    url: Url
    tls: Literal["opportunistic", "require", "verify", "never"] | None = None
    username: str | None = None
    password_file: str | None = None


class DefaultsTable(Table):
    """`[defaults]`: what a route may leave out."""

    last_resort: Annotated[list[Destination], BeforeValidator(_last_resort)] | None = None
    success: Literal["all", "any"] | None = None
    failover_after: FailoverAfter = {}
    on_failure: Literal["bounce", "hold"] | None = None


class RouteTable(DefaultsTable):
    """`[routes.NAME]`. What stands under `match` is for the matchers to read."""

    match: dict[str, object] = {}
    deliver: list[Destination] | None = None
    fan_out: list[Annotated[list[Destination], BeforeValidator(_leg)]] | None = None


@dataclass(frozen=True, slots=True)
class Tables:
    """A document, as far as its shape is right."""

    document: Mapping[str, object]
    """What they were read from: it tells what is written, where they tell what is right."""
    top: TopTable
    milter: MilterTable
    transport: TransportTable
    outgoing: OutgoingTable
    defaults: DefaultsTable
    domain: Mapping[str, DomainTable] = field(default_factory=dict)
    relays: Mapping[str, RelayTable] = field(default_factory=dict)
    next_hops: Mapping[str, NextHop] = field(default_factory=dict)
    routes: Mapping[str, RouteTable] = field(default_factory=dict)

    def names(self, section: str) -> list[str]:
        """The names written below `section`, those of wrong tables too."""
        return list(self._written(section))

    def raw_route(self, name: str) -> Mapping[str, object]:
        """The table that `routes[name]` was read from."""
        raw = self._written("routes").get(name)
        return raw if isinstance(raw, Mapping) else {}

    def _written(self, section: str) -> Mapping[str, object]:
        raw = self.document.get(section)
        return raw if isinstance(raw, Mapping) else {}


SECTIONS = (
    "milter",
    "transport",
    "outgoing",
    "defaults",
    "domain",
    "relays",
    "next_hops",
    "routes",
)


def read_tables(document: Mapping[str, object], found: Findings) -> Tables:
    """Read `document` table by table; what is wrong goes to `found`."""
    top = {key: value for key, value in document.items() if key not in SECTIONS}
    known = [*TopTable.model_fields, *SECTIONS]
    next_hops = _read(dict[Domain, Url], document.get("next_hops", {}), ("next_hops",), found)
    return Tables(
        document,
        top=_read(TopTable, top, (), found, known) or TopTable(),
        milter=_section(MilterTable, "milter", document, found) or MilterTable(),
        transport=_section(TransportTable, "transport", document, found) or TransportTable(),
        outgoing=_section(OutgoingTable, "outgoing", document, found) or OutgoingTable(),
        defaults=_section(DefaultsTable, "defaults", document, found) or DefaultsTable(),
        domain=_named(DomainTable, "domain", document, found),
        relays=_named(RelayTable, "relays", document, found),
        next_hops=next_hops or {},
        routes=_named(RouteTable, "routes", document, found),
    )


def _section(kind: type[T], name: str, document: Mapping[str, object], found: Findings) -> T | None:
    return _read(kind, document.get(name, {}), (name,), found)


def _named(
    kind: type[T], section: str, document: Mapping[str, object], found: Findings
) -> dict[str, T]:
    tables = _read(dict[str, object], document.get(section, {}), (section,), found) or {}
    read = {name: _read(kind, raw, (section, name), found) for name, raw in tables.items()}
    return {name: table for name, table in read.items() if table is not None}


def _read(
    kind: type[T],
    raw: object,
    path: problems.Path,
    found: Findings,
    known: list[str] | None = None,
) -> T | None:
    """`raw` as a `kind`, without the keys that are wrong; None if it is none even so."""
    adapter = TypeAdapter(kind)
    try:
        return adapter.validate_python(raw)
    except ValidationError as error:
        mistakes = error.errors()
    for details in mistakes:
        found.error(*problems.shape_problem(details, path, raw, known or _keys(kind)))
    if not isinstance(raw, Mapping):
        return None
    wrong = {details["loc"][0] for details in mistakes if details["loc"]}
    try:
        return adapter.validate_python({key: raw[key] for key in raw if key not in wrong})
    except ValidationError:
        return None


def _keys(kind: object) -> list[str]:
    if not (isinstance(kind, type) and issubclass(kind, Table)):
        return []
    below = DestinationTable.model_fields if issubclass(kind, DefaultsTable) else {}
    return [*kind.model_fields, *below]

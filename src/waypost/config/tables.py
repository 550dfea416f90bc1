"""The tables of waypost.toml as pydantic models: which keys there are and what shape they have.

Owns the shape of the file and its default values, nothing of its meaning (`build`). A table with a
mistake is read without the keys that are wrong, so that the meaning of the rest can be checked in
the same run; keys that are wrong are then absent, not replaced by something.

Promises: every mistake of shape is reported, each once. What a model says to editors (`schema`)
accepts whatever the model does: docstrings of keys are shown there.
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
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticKnownError

from waypost.config import problems, values
from waypost.config.problems import Findings
from waypost.config.values import Listen
from waypost.route import NextHop

T = TypeVar("T")


def _from_string(read: Callable[[str], T], pattern: str) -> PlainValidator:
    """Reads a string. `pattern` is what editors hold it to."""

    def validate(value: object) -> T:
        if not isinstance(value, str):
            raise PydanticKnownError("string_type")
        return read(value)

    return PlainValidator(validate, Annotated[str, Field(pattern=pattern)])


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


def _match(value: object) -> object:
    if isinstance(value, str | list):
        raise ValueError(f"say how it is matched, such as match.exact = {problems.show(value)}")
    return value


def _failover_after(value: object) -> object:
    if isinstance(value, str | int):
        text = f"say for which class of answers, such as {{ greylisted = {problems.show(value)} }}"
        raise ValueError(text)
    return value


def _last_resort(value: object) -> object:
    if isinstance(value, list) and value:
        raise ValueError("a last resort is one destination, not a list; [] switches it off")
    return _leg(value)


SHIPPED = ("exact", "plus", "subdomain", "regex", "catch_all")
"""Matchers that come with Waypost, each in a distribution of its own."""

Domain = Annotated[str, AfterValidator(values.domain)]
Unmatched = Literal["reject", "pass"]
Delimiter = Annotated[str, AfterValidator(values.delimiter)]
Socket = Annotated[Listen, _from_string(Listen.parse, r"^(unix:/.+|inet:.+:[0-9]+)$")]
Url = Annotated[NextHop, _from_string(values.next_hop, "^smtps?://[^/]+/?$")]
_WrittenDuration = (
    Annotated[int, Field(ge=0)]
    | Annotated[str, Field(pattern=r"^[0-9]+[dhms]([0-9]+[hms]){0,3}$", examples=["15m", "1h30m"])]
)
Duration = Annotated[float, PlainValidator(values.duration, _WrittenDuration)]
File = Annotated[str, AfterValidator(lambda text: str(values.absolute_path(text)))]
_FailingClass = Annotated[
    str,
    AfterValidator(values.failing_reply_class),
    WithJsonSchema({"type": "string", "enum": list(values.FAILING_REPLY_CLASSES)}),
]
FailoverAfter = Annotated[
    dict[_FailingClass, Duration],
    BeforeValidator(_failover_after, json_schema_input_type=dict[_FailingClass, Duration]),
]


class Table(BaseModel):
    """A table that knows all its keys. `strict`: what is written as a string is one."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )


class DestinationTable(Table):
    """A destination; a plain string is short for `{ to = ... }`."""

    to: str
    """The address; {local}, {tag} and other fields may stand in its local part."""
    via: str | None = None
    """The name of the relay that takes mail for it."""


Destination = Annotated[
    DestinationTable, BeforeValidator(_destination, json_schema_input_type=str | DestinationTable)
]


class TopTable(Table):
    """The keys above the first header."""

    model_config = ConfigDict(json_schema_extra={"required": ["domains"]})

    domains: list[Domain] | None = None
    """The domains that Waypost is asked about, with their subdomains."""
    not_ours: list[Domain] = []
    """Subdomains of them that it leaves alone."""
    unmatched: Unmatched = "reject"
    """What happens to an address without a route: "reject" refuses it, "pass" leaves it to Postfix,
    which keeps mailboxes there."""
    delimiter: Delimiter = "+"
    """Characters that start a tag, as in user+tag; "" for no tags."""
    route_domain: Domain = "waypost.invalid"
    """The domain of route addresses; it must not exist."""
    state: Annotated[Path, _from_string(values.absolute_path, "^/")] = Path("/var/lib/waypost")
    """The directory for the journal and the key."""
    keep: Duration = 30 * 24 * 3600.0
    """How long the journal remembers attempts; at least as long as Postfix keeps a message."""


class DomainTable(Table):
    """`[domain."x"]`: what holds in one domain instead of the keys on top."""

    unmatched: Unmatched | None = None
    """What happens to an address of this domain without a route."""
    delimiter: Delimiter | None = None
    """Characters that start a tag in this domain."""


class MilterTable(Table):
    """`[milter]`. Debian chroots smtpd, so the socket lies below the queue directory."""

    listen: Socket = Listen(path="/var/spool/postfix/waypost/milter.sock")
    """Where Postfix reaches the milter: "unix:/path" or "inet:host:port"."""


class TransportTable(Table):
    """`[transport]`."""

    listen: Socket = Listen(path="/var/spool/postfix/waypost/lmtp.sock")
    """Where Postfix delivers to: "unix:/path" or "inet:host:port"."""
    deadline: Annotated[float, PlainValidator(values.deadline, _WrittenDuration)] = 1800.0
    """How long one try to deliver to one recipient may take; below Postfix's 3600 s."""


class OutgoingTable(Table):
    """`[outgoing]`."""

    helo: Domain | None = None
    """The name given at EHLO; by default the host's own."""
    bind: Annotated[str, AfterValidator(values.ip_address)] | None = None
    """The IP address that connections come from; by default the system chooses."""
    address_family: Literal["any", "ipv4", "ipv6"] = "any"
    """Which addresses of next hops are connected to."""
    default_relay: str | None = None
    """The name of the relay that takes what has no other next hop; by default MX is asked."""


class RelayTable(Table):
    """`[relays.NAME]`."""

    url: Url
    """Where to connect: "smtp://host:port", or "smtps://host:port" for TLS from the start."""
    tls: Literal["opportunistic", "require", "verify", "never"] | None = None
    """Whether the conversation must be encrypted, and the certificate verified."""
    ca_file: File | None = None
    """Certificates that a verified one may be signed by, instead of the system's."""
    client_cert: File | None = None
    """The certificate that we show."""
    client_key: File | None = None
    """Its private key, if the certificate's file does not hold it."""
    username: Annotated[str, AfterValidator(values.username)] | None = None
    """The name to log in by."""
    password_file: File | None = None
    """The file that holds the password, on one line."""


class DefaultsTable(Table):
    """`[defaults]`: what a route may leave out."""

    last_resort: (
        Annotated[
            list[Destination],
            BeforeValidator(
                _last_resort,
                json_schema_input_type=Destination
                | Annotated[list[Destination], Field(max_length=0)],
            ),
        ]
        | None
    ) = None
    """The last destination of every leg; [] switches the default one off."""
    success: Literal["all", "any"] | None = None
    """Which legs must be sent: "all" (the default), or "any" of them."""
    failover_after: FailoverAfter = {}
    """How long to stay with a destination that defers, by class of its answer."""
    on_failure: Literal["bounce", "hold"] | None = None
    """What happens when a leg's destinations have all refused for good."""


class RouteTable(DefaultsTable):
    """`[routes.NAME]`. What stands under `match` is for the matchers to read."""

    model_config = ConfigDict(
        json_schema_extra={
            "required": ["match"],
            "oneOf": [{"required": ["deliver"]}, {"required": ["fan_out"]}],
        }
    )

    match: Annotated[
        dict[str, object], BeforeValidator(_match, json_schema_input_type=dict[str, object])
    ] = {}
    """The addresses that it is for, by matcher."""
    deliver: list[Destination] | None = None
    """Destinations in order, until one accepts."""
    fan_out: (
        list[
            Annotated[
                list[Destination],
                BeforeValidator(_leg, json_schema_input_type=Destination | list[Destination]),
            ]
        ]
        | None
    ) = None
    """Legs side by side: each a destination, or a list of alternatives in order."""


Name = Annotated[str, Field(pattern=f"^{values.NAME}$")]


class Document(TopTable):
    """waypost.toml as a whole; it is read table by table."""

    model_config = ConfigDict(title="The configuration of Waypost")

    milter: MilterTable = MilterTable()
    """The milter's socket."""
    transport: TransportTable = TransportTable()
    """The transport's socket and its deadline."""
    outgoing: OutgoingTable = OutgoingTable()
    """How we present ourselves to next hops."""
    defaults: DefaultsTable = DefaultsTable()
    """What holds for every route that does not say otherwise."""
    domain: dict[str, DomainTable] = {}
    """What differs in one domain."""
    relays: dict[Name, RelayTable] = {}
    """Named next hops, for via and default_relay."""
    next_hops: dict[str, Url] = {}
    """Next hops by destination domain; mind the quotes."""
    routes: dict[Name, RouteTable] = {}
    """Who mail is for, and where it goes."""


SECTIONS = tuple(key for key in Document.model_fields if key not in TopTable.model_fields)


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

    def raw(self, section: str, name: str) -> Mapping[str, object]:
        """The table that the one of that name below `section` was read from."""
        raw = self._written(section).get(name)
        return raw if isinstance(raw, Mapping) else {}

    def _written(self, section: str) -> Mapping[str, object]:
        raw = self.document.get(section)
        return raw if isinstance(raw, Mapping) else {}


def read_tables(document: Mapping[str, object], found: Findings) -> Tables:
    """Read `document` table by table; what is wrong goes to `found`."""
    top = {key: value for key, value in document.items() if key not in SECTIONS}
    known = list(Document.model_fields)
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

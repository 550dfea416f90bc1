"""Speaks the milter protocol to Waypost as an MTA does, in raw packets; a small world behind it.

Used by the milter's dialogues (`tests/dialogues/milter/*.txt`, run by `test_milter.py`, which says
how they are written) and by its unit tests. Nothing of purepythonmilter is used here, so that its
mistakes cannot hide.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from waypost.address import Address, Recipient, RouteAddresses
from waypost.events import Event
from waypost.hookspecs import Hit
from waypost.milter import Milter, Patience
from waypost.resolver import Domain, Domains, MatcherInUse, Resolver, RuleInUse
from waypost.route import NextHops, Route, Template

# What Postfix 3.7 offers: version 6, every action, every step.
OFFER = b"O" + bytes.fromhex("00000006000001ff001fffff")

SECONDS = 10
"""How long a test waits for what must come; never for what must not."""


def packet(payload: bytes) -> bytes:
    return len(payload).to_bytes(4) + payload


def rcpt(address: str | bytes, *parameters: bytes) -> bytes:
    written = address.encode() if isinstance(address, str) else address
    return b"\0".join([b"R<" + written + b">", *parameters, b""])


def route(name: str, *destinations: str) -> Route:
    return Route(name, tuple((Template.parse(each),) for each in destinations))


@dataclass
class World:
    """The configuration behind the milter, and what it was asked and told.

    `mydomain.net` is ours and refuses the unknown, `kept.example` is ours and keeps mailboxes of
    its own. The local part (before a tag) says what the only matcher does.
    """

    route_addresses: RouteAddresses = field(
        default_factory=lambda: RouteAddresses("waypost.invalid", b"k" * 32)
    )
    routes: dict[str, Route] = field(
        default_factory=lambda: {
            "user1": route("user1", "user1@gmail.com"),
            "user2": route("user2", "user2@gmail.com"),
            "family": route("family", "email1@gmail.com", "email2@gmail.com"),
            "slow": route("slow", "slow@gmail.com"),
            "nowhere": route("nowhere", "{local}{local}{local}@gmail.com"),
            "ü": route("umlaut", "umlaut@gmail.com"),
            "a b": route("quoted", "quoted@gmail.com"),
        }
    )
    asked: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Opens for `slow@`."""
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether `slow@` is being asked about."""
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether it was cancelled meanwhile."""
    messages: int = 0

    def resolver(self) -> Resolver:
        rules = [RuleInUse(each, name) for name, each in self.routes.items()]
        return Resolver(
            Domains(
                {
                    "mydomain.net": Domain("mydomain.net"),
                    "kept.example": Domain("kept.example", unmatched="pass"),
                }
            ),
            [MatcherInUse("by-name", 100, self.find, rules)],
            NextHops(),
        )

    def find(self, recipient: Recipient) -> Sequence[Hit] | Awaitable[Sequence[Hit]]:
        name = recipient.base.lower()
        self.asked.append(name)
        if name == "broken":
            raise RuntimeError("the matcher is broken")
        hits = [Hit(list(self.routes).index(name))] if name in self.routes else []
        return self._slowly(hits) if name == "slow" else hits

    async def _slowly(self, hits: Sequence[Hit]) -> Sequence[Hit]:
        self.waiting.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return hits

    def new_id(self) -> str:
        """Ids that tell the number of the message, from 1."""
        self.messages += 1
        return message_id(self.messages)

    def milter(self, patience: Patience | None = None) -> Milter:
        return Milter(
            resolver=self.resolver,
            route_addresses=lambda: self.route_addresses,
            new_id=self.new_id,
            observe=self.events.append,
            clock=lambda: 1000.0,
            patience=patience,
        )


def message_id(number: int) -> str:
    return "message" + "abcdefgh"[number] * 9


class Mta:
    """One connection to a milter."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, *payloads: bytes) -> None:
        """Write each as a packet, all in one segment."""
        self.send_raw(b"".join(map(packet, payloads)))

    def send_raw(self, data: bytes) -> None:
        self._writer.write(data)

    async def receive(self) -> bytes:
        """The next payload; empty when the milter has closed the connection."""
        async with asyncio.timeout(SECONDS):
            try:
                length = int.from_bytes(await self._reader.readexactly(4))
                return await self._reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError):
                return b""

    async def ask(self, payload: bytes) -> bytes:
        self.send(payload)
        return await self.receive()

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


@asynccontextmanager
async def serving(milter: Milter, directory: Path) -> AsyncIterator[str]:
    """The path of a UNIX socket on which `milter` listens."""
    path = str(directory / "milter.sock")
    server = await asyncio.get_running_loop().create_unix_server(milter.protocol, path)
    try:
        yield path
    finally:
        server.close()
        async with asyncio.timeout(SECONDS):
            await milter.drain(0)


@asynccontextmanager
async def connected(path: str, *, negotiated: bool = True) -> AsyncIterator[Mta]:
    """A connection to the milter at `path`."""
    mta = Mta(*await asyncio.open_unix_connection(path))
    try:
        if negotiated:
            assert (await mta.ask(OFFER)).startswith(b"O")
        yield mta
    finally:
        await mta.close()


# The scripts.

_ROUTE_ADDRESS = re.compile(r"\{(\d)/([^}]+)\}")


class Script:
    """Translates between the lines of a dialogue and packets."""

    def __init__(self, world: World) -> None:
        self._route_addresses = world.route_addresses

    def payloads(self, line: str) -> list[bytes]:
        """What an MTA sends for `line`."""
        data = _ROUTE_ADDRESS.sub(self._written, line).encode()
        data = re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), data)
        verb, _, rest = data.partition(b" ")
        match verb:
            case b"RCPT" | b"MAIL":
                address, parameters = _split_address(rest)
                return [verb[:1] + b"\0".join([address, *parameters, b""])]
            case b"END":
                return [b"DEi\0" + rest + b"\0", b"E"]
            case b"RAW":
                return [rest]
            case _:
                return [{b"ABORT": b"A", b"QUIT": b"Q", b"QUIT-NEW-CONNECTION": b"K"}[verb]]

    def line(self, payload: bytes) -> str:
        """How a dialogue writes what the milter sent."""
        match payload[:1]:
            case b"":
                return "CLOSED"
            case b"c":
                return "CONTINUE"
            case b"y":
                return payload[1:].removesuffix(b"\0").decode()
            case b"-":
                return "DELETE " + payload[1:].removesuffix(b"\0").decode(errors="backslashreplace")
            case b"2":
                address, parameters, end = payload[1:].split(b"\0")
                assert not end
                return f"ADD {self._read(address)} {parameters.decode(errors='backslashreplace')}"
            case _:
                return repr(payload)

    def _written(self, match: re.Match[str]) -> str:
        recipient = Address.parse(match[2])
        return str(self._route_addresses.make(message_id(int(match[1])), recipient))

    def _read(self, address: bytes) -> str:
        text = address.decode()
        read = self._route_addresses.read(Address.parse(text))
        if not (text.startswith("<") and read and read.genuine):
            return text
        number = "abcdefgh".index(read.id[-1])
        assert read.id == message_id(number)
        return f"{{{number}/{read.recipient}}}"


def _split_address(rest: bytes) -> tuple[bytes, list[bytes]]:
    # A quoted local part may hold spaces and ">".
    match = re.match(rb'(<(?:"(?:[^"\\]|\\.)*"|[^">])*>|\S+)(.*)', rest)
    assert match, f"no address in {rest!r}"
    return match[1], match[2].split()

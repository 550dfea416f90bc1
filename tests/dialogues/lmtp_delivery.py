"""A delivery that answers as it is told, and an LMTP server in front of it.

    delivery = FakeDelivery()
    delivery.answers["a@mydomain.net"] = Reply.own("451 4.3.0 later")
    async with serving(LmtpServer(delivery, hostname=HOSTNAME), path), connected(path) as client:
        client.send(b"LHLO client\\r\\n")
        assert await client.line() == ...
        delivered = await delivery.given()

Without being told it accepts everything. Every wait ends, after LONG, with an error.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from waypost.delivery import Delivery, Envelope
from waypost.lmtp import LmtpServer
from waypost.reply import Reply
from waypost.testing.waiting import LONG

HOSTNAME = "mx.mydomain.net"
ACCEPTED = Reply.own("250 2.0.0 1 of 1 legs sent")


@dataclass(frozen=True, slots=True)
class Given:
    """What was handed over for one recipient."""

    envelope: Envelope
    recipient: str
    content: bytes


class FakeDelivery(Delivery):
    """The replies it gives, by recipient; an exception is raised."""

    def __init__(self) -> None:
        self.refusals: dict[str, Reply | Exception] = {}
        self.answers: dict[str, Reply | Exception] = {}
        self.gates: defaultdict[str, asyncio.Event] = defaultdict(_open_gate)
        """A recipient whose gate is cleared waits at it, in `check` and in `deliver`."""
        self.checked: asyncio.Queue[str] = asyncio.Queue()
        self.finished: asyncio.Queue[str] = asyncio.Queue()
        self._given: asyncio.Queue[Given] = asyncio.Queue()

    async def check(self, recipient: str) -> Reply | None:
        self.checked.put_nowait(recipient)
        await self.gates[recipient].wait()
        refusal = self.refusals.get(recipient)
        if isinstance(refusal, Exception):
            raise refusal
        return refusal

    async def deliver(self, envelope: Envelope, recipient: str, content: bytes) -> Reply:
        self._given.put_nowait(Given(envelope, recipient, content))
        await self.gates[recipient].wait()
        self.finished.put_nowait(recipient)
        answer = self.answers.get(recipient, ACCEPTED)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def given(self) -> Given:
        """What was handed over next."""
        async with asyncio.timeout(LONG):
            return await self._given.get()

    @property
    def nothing_given(self) -> bool:
        """Whether all that was handed over has been asked for."""
        return self._given.empty()


def _open_gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


class Client:
    """A client of the server that says what it is told, line ends included."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, octets: bytes) -> None:
        """Send octets."""
        self._writer.write(octets)

    def stop_sending(self) -> None:
        """Close the sending side alone."""
        self._writer.write_eof()

    async def close(self) -> None:
        """Go away."""
        self._writer.close()
        # A server that closed with something of ours unread has reset the connection.
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def line(self) -> str:
        """The next line of a reply; empty when the server has closed the connection."""
        async with asyncio.timeout(LONG):
            return (await self._reader.readline()).decode("ascii").removesuffix("\r\n")

    async def rest(self) -> str:
        """All that the server says before it closes the connection."""
        async with asyncio.timeout(LONG):
            return (await self._reader.read()).decode("ascii")


@asynccontextmanager
async def serving(server: LmtpServer, path: Path) -> AsyncIterator[None]:
    """Listen on a UNIX socket; afterwards nothing of the server is left."""
    listener = await asyncio.get_running_loop().create_unix_server(server.protocol, path)
    async with listener:
        yield
        await server.drain(LONG)


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[Client]:
    """A connection."""
    client = Client(*await asyncio.open_unix_connection(path))
    try:
        yield client
    finally:
        await client.close()

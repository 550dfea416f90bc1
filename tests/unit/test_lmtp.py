"""The LMTP server where a dialogue cannot tell: time, size, clients that go away, and the drain.

What is said when is in tests/dialogues/lmtp.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.dialogues.lmtp_delivery import HOSTNAME, Client, FakeDelivery, connected, serving
from waypost.lmtp import LmtpServer
from waypost.lmtp.wire import Command
from waypost.reply import Reply
from waypost.testing.waiting import LONG

USER1 = "user1@mydomain.net"
LEAVING = "421 4.3.2 going down, please try again later"
ENVELOPE = b"MAIL FROM:<s@example.org>\r\nRCPT TO:<user1@mydomain.net>\r\n"


@pytest.fixture
def delivery() -> FakeDelivery:
    return FakeDelivery()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lmtp.sock"


@pytest.fixture
async def server(delivery: FakeDelivery, path: Path) -> AsyncIterator[LmtpServer]:
    server = LmtpServer(delivery, hostname=HOSTNAME)
    async with serving(server, path):
        yield server


@pytest.fixture
async def client(server: LmtpServer, path: Path) -> AsyncIterator[Client]:  # noqa: ARG001
    """A client that has said LHLO."""
    async with connected(path) as client:
        await hello(client)
        yield client


async def hello(client: Client) -> None:
    client.send(b"LHLO client.example\r\n")
    while not (await client.line()).startswith("250 "):
        pass


async def to_data(client: Client, others: list[str] | None = None) -> None:
    """A transaction, for USER1 and others, in which it is the content's turn."""
    more = b"".join(b"RCPT TO:<%b>\r\n" % other.encode() for other in others or [])
    client.send(ENVELOPE + more + b"DATA\r\n")
    while not (await client.line()).startswith("354 "):
        pass


async def soon(queue: asyncio.Queue[str]) -> str:
    async with asyncio.timeout(LONG):
        return await queue.get()


async def test_twenty_megabytes_arrive_as_they_are(client: Client, delivery: FakeDelivery) -> None:
    line = b".a line that has a dot at its start, \xff and \0\r\n"
    content = line * (20_000_000 // len(line))
    await to_data(client)
    client.send(content.replace(b"\r\n.", b"\r\n..").replace(line, b"." + line, 1) + b".\r\n")
    assert await client.line() == "250 2.0.0 1 of 1 legs sent"
    assert (await delivery.given()).content == content


async def test_twenty_megabytes_without_a_line_end(client: Client, delivery: FakeDelivery) -> None:
    await to_data(client)
    client.send(b"x" * 20_000_000 + b"\r\n.\r\n")
    assert await client.line() == "250 2.0.0 1 of 1 legs sent"
    assert (await delivery.given()).content == b"x" * 20_000_000 + b"\r\n"


async def test_over_tcp(server: LmtpServer) -> None:
    listener = await asyncio.get_running_loop().create_server(server.protocol, "127.0.0.1", 0)
    async with listener:
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        await hello(Client(reader, writer))
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_goes_away_cancels_nothing(
    server: LmtpServer, path: Path, delivery: FakeDelivery, caplog: pytest.LogCaptureFixture
) -> None:
    others = [f"user{number}@mydomain.net" for number in range(2, 10)]
    async with connected(path) as client:
        await hello(client)
        await to_data(client, others)
        for each in (USER1, *others):
            delivery.gates[each].clear()
        client.send(b"hello\r\n.\r\n")
        for each in (USER1, *others):
            assert (await delivery.given()).recipient == each
    with capture_logs() as logs:
        for each in (USER1, *others):
            delivery.gates[each].set()
            assert await soon(delivery.finished) == each
        # Replies that nobody reads are no trouble, and the session ends.
        await server.drain(LONG)
    assert logs == []
    assert caplog.messages == []


async def test_a_client_that_goes_away_before_the_dot_has_sent_nothing(
    server: LmtpServer, path: Path, delivery: FakeDelivery
) -> None:
    async with connected(path) as client:
        await hello(client)
        await to_data(client)
        client.send(b"half of it\r\n")
    await server.drain(LONG)
    assert delivery.nothing_given


async def test_a_client_that_is_silent_is_sent_away(delivery: FakeDelivery, path: Path) -> None:
    server = LmtpServer(delivery, hostname=HOSTNAME, idle_seconds=0.05)
    async with serving(server, path), connected(path) as client:
        assert await client.rest() == (
            "220 mx.mydomain.net LMTP Waypost\r\n421 4.4.2 silent for too long\r\n"
        )


async def test_a_delivery_may_take_longer_than_a_silence(
    delivery: FakeDelivery, path: Path
) -> None:
    server = LmtpServer(delivery, hostname=HOSTNAME, idle_seconds=0.5)
    async with serving(server, path), connected(path) as client, connected(path) as silent:
        await hello(client)
        await to_data(client)
        delivery.gates[USER1].clear()
        client.send(b".\r\n")
        await delivery.given()
        await silent.rest()
        delivery.gates[USER1].set()
        assert await client.line() == "250 2.0.0 1 of 1 legs sent"


async def test_a_client_that_sends_faster_than_it_is_served_is_held_back(
    server: LmtpServer, delivery: FakeDelivery
) -> None:
    protocol = server.protocol()
    transport = FakeTransport()
    protocol.connection_made(transport)
    delivery.gates[USER1].clear()
    protocol.data_received(b"LHLO client.example\r\n" + ENVELOPE)
    assert await soon(delivery.checked) == USER1
    protocol.data_received(b"NOOP\r\n" * 100_000)
    assert transport.paused.is_set()
    delivery.gates[USER1].set()
    async with asyncio.timeout(LONG):
        await transport.resumed.wait()
    protocol.connection_lost(None)


class FakeTransport(asyncio.Transport):
    """A transport that can be asked whether it is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = asyncio.Event()
        self.resumed = asyncio.Event()
        self._closing = False

    def pause_reading(self) -> None:
        self.paused.set()

    def resume_reading(self) -> None:
        self.resumed.set()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Nobody reads it."""

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True


async def test_trouble_in_the_conversation_itself(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(line: bytes) -> Command:
        raise RuntimeError(len(line))

    monkeypatch.setattr(Command, "read", fail)
    with capture_logs() as logs:
        client.send(b"NOOP\r\nNOOP\r\n")
        assert await client.rest() == "421 4.3.0 trouble here, please try again later\r\n"
    assert [entry["event"] for entry in logs] == ["lmtp_trouble"]


async def test_trouble_with_a_recipient_is_logged_without_content(
    client: Client, delivery: FakeDelivery
) -> None:
    client.send(b"XFORWARD IDENT=4bX9\r\n")
    await client.line()
    await to_data(client)
    delivery.answers[USER1] = RuntimeError("broken")
    with capture_logs() as logs:
        client.send(b"a secret\r\n.\r\n")
        assert await client.line() == "451 4.3.0 trouble here, please try again later"
    [entry] = logs
    assert (entry["event"], entry["queue_id"], entry["recipient"]) == (
        "lmtp_trouble",
        "4bX9",
        USER1,
    )
    assert "secret" not in repr(entry)


async def test_reply_of_many_lines(client: Client, delivery: FakeDelivery) -> None:
    delivery.refusals[USER1] = Reply.own("451 4.3.0 one\ntwo \xe9\r.")
    client.send(ENVELOPE)
    assert await client.line() == "250 2.1.0 sender ok"
    assert await client.line() == "451-4.3.0 one"
    assert await client.line() == "451 4.3.0 two ??."


class TestDrain:
    """Whom the server leaves, and when."""

    async def test_at_once_where_nothing_is_under_way(
        self, server: LmtpServer, client: Client, path: Path
    ) -> None:
        async with connected(path) as greeted, connected(path) as within:
            await greeted.line()
            await hello(within)
            within.send(ENVELOPE + b"RSE")
            await within.line()
            await within.line()
            await server.drain(LONG)
            assert await greeted.rest() == f"{LEAVING}\r\n"
            assert await within.rest() == f"{LEAVING}\r\n"
        assert await client.rest() == f"{LEAVING}\r\n"

    async def test_after_the_replies_where_a_message_is_under_way(
        self, server: LmtpServer, client: Client, delivery: FakeDelivery
    ) -> None:
        await to_data(client)
        drain = asyncio.create_task(server.drain(LONG))
        await asyncio.sleep(0)
        delivery.gates[USER1].clear()
        client.send(b"hello\r\n.\r\nNOOP\r\n")
        await delivery.given()
        assert not drain.done()
        delivery.gates[USER1].set()
        assert await client.rest() == f"250 2.0.0 1 of 1 legs sent\r\n{LEAVING}\r\n"
        await drain

    async def test_after_the_reply_where_a_recipient_is_being_checked(
        self, server: LmtpServer, client: Client, delivery: FakeDelivery
    ) -> None:
        delivery.gates[USER1].clear()
        client.send(ENVELOPE + b"DATA\r\n")
        assert await soon(delivery.checked) == USER1
        drain = asyncio.create_task(server.drain(LONG))
        await asyncio.sleep(0)
        delivery.gates[USER1].set()
        assert await client.rest() == (
            f"250 2.1.0 sender ok\r\n250 2.1.5 recipient ok\r\n{LEAVING}\r\n"
        )
        await drain

    async def test_without_a_word_when_time_is_up(
        self, server: LmtpServer, client: Client, delivery: FakeDelivery
    ) -> None:
        await to_data(client)
        delivery.gates[USER1].clear()
        client.send(b"hello\r\n.\r\n")
        await delivery.given()
        await server.drain(0.01)
        assert await client.rest() == ""
        # Its delivery goes on all the same.
        delivery.gates[USER1].set()
        assert await soon(delivery.finished) == USER1

    async def test_nobody_is_let_in_any_more(self, server: LmtpServer, path: Path) -> None:
        await server.drain(LONG)
        async with connected(path) as late:
            assert await late.rest() == f"{LEAVING}\r\n"

"""What the LMTP server lets its clients take: time, memory, recipients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.dialogues.lmtp_delivery import HOSTNAME, Client, FakeDelivery, connected, serving
from waypost.lmtp import LmtpServer
from waypost.lmtp.room import Room, Share
from waypost.lmtp.wire import Input
from waypost.reply import Reply
from waypost.testing.waiting import LONG

USER1, USER2 = "user1@mydomain.net", "user2@mydomain.net"
SILENT = "421 4.4.2 silent for too long"
NO_ROOM = "452 4.3.1 too much mail at once, please try again later"
TOO_LARGE = "552 5.3.4 this message is too large"
SENT = "250 2.0.0 1 of 1 legs sent"


@pytest.fixture
def delivery() -> FakeDelivery:
    return FakeDelivery()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lmtp.sock"


async def answer(client: Client) -> str:
    """The last line of the next reply."""
    while (line := await client.line())[3:4] == "-":
        pass
    return line


@asynccontextmanager
async def greeted(path: Path) -> AsyncIterator[Client]:
    async with connected(path) as client:
        assert (await answer(client)).startswith("220 ")
        client.send(b"LHLO client.example\r\n")
        assert (await answer(client)).startswith("250 ")
        yield client


async def to_data(client: Client, *recipients: str, size: str = "") -> None:
    client.send(f"MAIL FROM:<s@example.org>{size}\r\n".encode())
    assert await answer(client) == "250 2.1.0 sender ok"
    for recipient in recipients:
        client.send(f"RCPT TO:<{recipient}>\r\n".encode())
        assert await answer(client) == "250 2.1.5 recipient ok"
    client.send(b"DATA\r\n")
    assert (await answer(client)).startswith("354 ")


class TestTime:
    @pytest.mark.parametrize("begun", [b"", b"DATA"], ids=["line", "content"])
    async def test_is_for_the_whole_and_not_for_each_octet(
        self, delivery: FakeDelivery, path: Path, begun: bytes
    ) -> None:
        server = LmtpServer(delivery, hostname=HOSTNAME, idle_seconds=0.2)
        async with serving(server, path), greeted(path) as client:
            if begun:
                await to_data(client, USER1)
            end = asyncio.create_task(client.line())
            async with asyncio.timeout(LONG):
                while not end.done():
                    client.send(b"x")
                    await asyncio.sleep(0.01)
            assert end.result() == SILENT
        assert delivery.nothing_given

    async def test_of_a_client_that_does_not_read_is_bounded(
        self, delivery: FakeDelivery, path: Path
    ) -> None:
        server = LmtpServer(delivery, hostname=HOSTNAME, idle_seconds=0.2)
        delivery.refusals[USER1] = Reply.own("550 5.1.1 " + "no " * 100)
        async with serving(server, path):
            reader, writer = await asyncio.open_unix_connection(path, limit=1)
            writer.write(
                b"LHLO c\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<user1@mydomain.net>\r\n" * 10000
            )
            async with asyncio.timeout(LONG):
                while server.connections == 0:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                while server.connections:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            writer.close()
            del reader


class TestRoom:
    def test_is_given_back(self) -> None:
        room = Room(total=100, largest=80)
        with Share(room) as share, Share(room) as another:
            assert share.grow_to(50)
            assert share.grow_to(60)
            assert room.free == 40
            assert another.grow_to(40)
            assert not share.grow_to(61)
            assert room.free == 60
            assert not another.grow_to(81)
            assert room.free == 100
            assert share.grow_to(80)
        assert room.free == 100

    async def test_a_message_that_is_larger_than_any_is_read_and_refused(
        self, delivery: FakeDelivery, path: Path
    ) -> None:
        server = LmtpServer(delivery, hostname=HOSTNAME, room=Room(total=3000, largest=1000))
        async with serving(server, path), greeted(path) as client:
            await to_data(client, USER1, USER2)
            client.send(b"x" * 100_000 + b"\r\n.\r\n")
            assert [await answer(client) for _ in range(2)] == [TOO_LARGE, TOO_LARGE]
            await to_data(client, USER1)
            client.send(b"x" * 500 + b"\r\n.\r\n")
            assert await answer(client) == SENT
        assert len((await delivery.given()).content) == 502
        assert delivery.nothing_given

    async def test_a_message_that_finds_none_is_deferred(
        self, delivery: FakeDelivery, path: Path
    ) -> None:
        room = Room(total=3000, largest=1000)
        server = LmtpServer(delivery, hostname=HOSTNAME, room=room)
        async with serving(server, path), greeted(path) as client, greeted(path) as other:
            await to_data(client, USER1)
            delivery.gates[USER1].clear()
            client.send(b"x" * 980 + b"\r\n.\r\n")
            await delivery.given()
            assert room.free < 1100  # the message, and its delivery
            await to_data(other, USER2)
            other.send(b"x" * 990 + b"\r\n.\r\n")  # room for the message, not for its delivery
            assert await answer(other) == NO_ROOM
            await to_data(other, USER2)
            other.send(b"x" * 300 + b"\r\n.\r\n")
            assert await answer(other) == SENT
            delivery.gates[USER1].set()
            assert await answer(client) == SENT
            await to_data(other, USER2)
            other.send(b"x" * 990 + b"\r\n.\r\n")
            assert await answer(other) == SENT
        assert room.free == 3000

    async def test_some_recipients_may_find_some(self, delivery: FakeDelivery, path: Path) -> None:
        server = LmtpServer(delivery, hostname=HOSTNAME, room=Room(total=2500, largest=1000))
        async with serving(server, path), greeted(path) as client:
            await to_data(client, USER1, USER2)
            delivery.gates[USER1].clear()
            client.send(b"x" * 900 + b"\r\n.\r\n")
            await delivery.given()
            delivery.gates[USER1].set()
            assert [await answer(client) for _ in range(2)] == [SENT, NO_ROOM]

    @pytest.mark.parametrize(
        ("size", "reply"), [(1001, TOO_LARGE), (1000, NO_ROOM), (900, "250 2.1.0 sender ok")]
    )
    async def test_is_asked_for_by_size(
        self, delivery: FakeDelivery, path: Path, size: int, reply: str
    ) -> None:
        room = Room(total=1000, largest=1000)
        server = LmtpServer(delivery, hostname=HOSTNAME, room=room)
        async with serving(server, path), greeted(path) as client:
            with Share(room) as taken:
                assert taken.grow_to(100)
                client.send(f"MAIL FROM:<s@example.org> SIZE={size}\r\n".encode())
                assert await answer(client) == reply

    async def test_a_client_that_goes_away_leaves_none_taken(
        self, delivery: FakeDelivery, path: Path
    ) -> None:
        room = Room(total=3000, largest=1000)
        server = LmtpServer(delivery, hostname=HOSTNAME, room=room)
        async with serving(server, path):
            async with greeted(path) as client:
                await to_data(client, USER1)
                client.send(b"x" * 500)
                async with asyncio.timeout(LONG):
                    while room.free > 2500:  # noqa: ASYNC110
                        await asyncio.sleep(0.001)
            await server.drain(LONG)
        assert room.free == 3000


@pytest.mark.parametrize("step", [1, 3, 1000])
async def test_what_is_thrown_away_ends_where_the_content_does(step: int) -> None:
    sent = b"x" * 50 + b"\r\n..\r\n\r\n.\rx\r\n.\r\nNEXT\r\n"
    reader = asyncio.StreamReader()
    received = Input(reader, seconds=LONG)

    async def send() -> None:
        for start in range(0, len(sent), step):
            reader.feed_data(sent[start : start + step])
            await asyncio.sleep(0)

    sending = asyncio.create_task(send())
    content = await received.content(lambda octets: octets < 20)
    assert content.octets is None
    assert content.length == sent.index(b"\r\n.\r\nNEXT") + 2
    assert await received.line() == b"NEXT"
    await sending


async def test_a_client_that_sends_without_a_pause_leaves_others_their_turn(
    delivery: FakeDelivery,
) -> None:
    server = LmtpServer(delivery, hostname=HOSTNAME)
    protocol = server.protocol()
    transport = Unread()
    protocol.connection_made(transport)
    protocol.data_received(b"NOOP\r\n" * 1000)
    turns = 0
    async with asyncio.timeout(LONG):
        while transport.replies < 1001:
            await asyncio.sleep(0)
            turns += 1
    assert turns >= 10
    async with asyncio.timeout(LONG):
        protocol.connection_lost(None)
        await server.drain(LONG)


class Unread(asyncio.Transport):
    """Counts the replies that are written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.replies = 0
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.replies += bytes(data).count(b"\r\n")

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def pause_reading(self) -> None:
        """Nothing is read."""

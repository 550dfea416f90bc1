"""Order, bounds and the end of a milter connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.dialogues.milter_mta import (
    OFFER,
    SECONDS,
    Mta,
    World,
    connected,
    packet,
    rcpt,
    serving,
)
from waypost.events import Event, Resolved
from waypost.milter import Milter, Patience
from waypost.milter.codec import MAX_PACKET
from waypost.milter.session import AHEAD
from waypost.testing.waiting import LONG

MAIL = b"M<s@example.org>\0"
NOBODY = b"y550 5.1.1 no such address here\0"


@pytest.fixture
def world() -> World:
    return World()


class Socket:
    """What a session asks of its socket."""

    def __init__(self, family: socket.AddressFamily) -> None:
        self.family = family
        self.options: list[tuple[int, int, int]] = []

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.options.append((level, option, value))


class Wire(asyncio.Transport):
    """A transport that keeps what a session does."""

    def __init__(self, family: socket.AddressFamily = socket.AF_UNIX) -> None:
        self.socket = Socket(family)
        super().__init__({"socket": self.socket, "peername": ""})
        self.written: list[bytes] = []
        self._reading = True
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data:
            self.written.append(bytes(data)[4:])

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True

    def is_reading(self) -> bool:
        return self._reading

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


async def idle() -> None:
    """Until every task that could go on has done so: the tests here await no I/O."""
    for _ in range(100):
        await asyncio.sleep(0)


async def begin(world: World, wire: Wire) -> asyncio.Protocol:
    session = world.milter().protocol()
    session.connection_made(wire)
    session.data_received(packet(OFFER))
    await idle()
    wire.written.clear()
    return session


async def until(event: asyncio.Event) -> None:
    async with asyncio.timeout(SECONDS):
        await event.wait()


class TestOrder:
    async def test_a_command_waits_for_the_one_before(self, world: World) -> None:
        wire = Wire()
        session = await begin(world, wire)
        session.data_received(b"".join(map(packet, [MAIL, rcpt("slow@mydomain.net")])))
        session.data_received(packet(rcpt("nobody@mydomain.net")))
        await idle()
        assert world.asked == ["slow"]
        assert wire.written == []
        world.gate.set()
        await idle()
        assert world.asked == ["slow", "nobody"]
        assert wire.written == [b"c", NOBODY]
        session.connection_lost(None)

    async def test_connections_do_not_wait_for_each_other(
        self, world: World, tmp_path: Path
    ) -> None:
        async with (
            serving(world.milter(), tmp_path) as path,
            connected(path) as one,
            connected(path) as other,
        ):
            one.send(rcpt("slow@mydomain.net"))
            await until(world.waiting)
            assert await other.ask(rcpt("user1@mydomain.net")) == b"c"
            world.gate.set()
            assert await one.receive() == b"c"


class TestBounds:
    async def test_what_is_sent_ahead_is_bounded(self, world: World) -> None:
        wire = Wire()
        session = await begin(world, wire)
        session.data_received(packet(rcpt("slow@mydomain.net")))
        await idle()
        command = packet(rcpt("nobody@mydomain.net"))
        count = AHEAD // len(command) + 1
        for _ in range(count):
            assert wire.is_reading()
            session.data_received(command)
        assert not wire.is_reading()
        world.gate.set()
        await idle()
        assert wire.written == [b"c"] + [NOBODY] * count
        assert wire.is_reading()
        session.connection_lost(None)

    async def test_a_packet_beyond_that_bound_is_taken_all_the_same(self, world: World) -> None:
        wire = Wire()
        session = await begin(world, wire)
        large = packet(rcpt("user1@mydomain.net", b"XLONG=" + b"x" * (MAX_PACKET - 100)))
        for start in range(0, len(large), AHEAD):
            assert wire.is_reading()
            session.data_received(large[start : start + AHEAD])
            await idle()
        assert wire.written == [b"c"]
        session.connection_lost(None)

    async def test_nothing_is_answered_that_is_not_read(self, world: World) -> None:
        wire = Wire()
        session = await begin(world, wire)
        session.pause_writing()
        session.data_received(packet(rcpt("nobody@mydomain.net")) * 3)
        await idle()
        assert wire.written == [NOBODY]
        session.resume_writing()
        await idle()
        assert wire.written == [NOBODY] * 3
        session.connection_lost(None)

    async def test_one_that_sends_without_a_pause_leaves_others_their_turn(
        self, world: World
    ) -> None:
        wire = Wire()
        session = await begin(world, wire)
        session.data_received(packet(rcpt("nobody@mydomain.net")) * 1000)
        turns = 0
        while len(wire.written) < 1000:
            await asyncio.sleep(0)
            turns += 1
        assert turns >= 10
        session.connection_lost(None)


class TestPatience:
    """`between` is for a whole command, and for our answers to be read; `within` in a message."""

    async def test_ends_between_messages_whatever_comes_of_a_command(
        self, world: World, tmp_path: Path
    ) -> None:
        milter = world.milter(Patience(between=0.1, within=LONG))
        async with serving(milter, tmp_path) as path, connected(path) as mta:
            ended = asyncio.create_task(mta.receive())
            mta.send_raw((1000).to_bytes(4))
            async with asyncio.timeout(SECONDS):
                while not ended.done():
                    mta.send_raw(b"\0")
                    await asyncio.sleep(0.05)
            assert ended.result() == b""

    @pytest.mark.parametrize("negotiated", [False, True])
    async def test_ends_with_a_connection_that_says_nothing(
        self, world: World, tmp_path: Path, negotiated: bool
    ) -> None:
        milter = world.milter(Patience(between=0.05, within=LONG))
        with capture_logs() as logs:
            async with (
                serving(milter, tmp_path) as path,
                connected(path, negotiated=negotiated) as mta,
            ):
                assert await mta.receive() == b""
        assert [(entry["event"], entry["in_message"]) for entry in logs] == [
            ("milter_silent", False)
        ]

    async def test_is_longer_within_a_message(self, world: World, tmp_path: Path) -> None:
        milter = world.milter(Patience(between=0.05, within=LONG))
        async with serving(milter, tmp_path) as path, connected(path) as mta:
            mta.send(MAIL)
            assert await mta.ask(rcpt("user1@mydomain.net")) == b"c"
            async with connected(path) as silent:
                assert await silent.receive() == b""
            assert b"user1=" in await mta.ask(b"E")

    async def test_but_not_for_ever(self, world: World, tmp_path: Path) -> None:
        milter = world.milter(Patience(between=LONG, within=0.05))
        async with serving(milter, tmp_path) as path, connected(path) as mta:
            mta.send(MAIL)
            assert await mta.receive() == b""

    @pytest.mark.parametrize("many", [False, True], ids=["a few answers", "many answers"])
    async def test_ends_with_one_that_does_not_read(self, world: World, many: bool) -> None:
        milter = world.milter(Patience(between=0.05, within=LONG))
        session = milter.protocol()
        wire = NeverRead()
        session.connection_made(wire)
        session.data_received(packet(OFFER))
        if many:
            session.pause_writing()
        session.data_received(packet(MAIL) + packet(rcpt("nobody@mydomain.net")) + packet(b"Q"))
        await until(wire.aborted)
        session.connection_lost(None)
        assert milter.connections == 0


class NeverRead(Wire):
    """A transport that cannot get rid of what was written, so that closing it comes to no end."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = asyncio.Event()

    def abort(self) -> None:
        self.aborted.set()


class TestTcp:
    async def test_acknowledges_at_once_after_every_receive(self, world: World) -> None:
        wire = Wire(socket.AF_INET)
        session = await begin(world, wire)
        wire.socket.options.clear()
        for _ in range(2):
            session.data_received(packet(MAIL))
        at_once = socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1
        assert wire.socket.options == [at_once, at_once]
        session.connection_lost(None)

    async def test_leaves_a_unix_socket_alone(self, world: World) -> None:
        wire = Wire()
        session = await begin(world, wire)
        assert wire.socket.options == []
        session.connection_lost(None)

    async def test_works(self, world: World) -> None:
        milter = world.milter()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(milter.protocol, "127.0.0.1", 0)
        mta = Mta(*await asyncio.open_connection(*server.sockets[0].getsockname()))
        assert (await mta.ask(OFFER)).startswith(b"O")
        assert await mta.ask(rcpt("user1@mydomain.net")) == b"c"
        await mta.close()
        server.close()
        await milter.drain(0)


class TestLostConnection:
    async def test_by_quit_is_no_trouble(self, world: World, tmp_path: Path) -> None:
        with capture_logs() as logs:
            async with serving(world.milter(), tmp_path) as path, connected(path) as mta:
                assert await mta.ask(b"Q") == b""
        assert logs == []

    async def test_ends_what_is_awaited_for_it(self, world: World, tmp_path: Path) -> None:
        milter = world.milter()
        with capture_logs() as logs:
            async with serving(milter, tmp_path) as path:
                async with connected(path) as mta:
                    mta.send(MAIL, rcpt("slow@mydomain.net"), rcpt("user1@mydomain.net"), b"E")
                    await until(world.waiting)
                await until(world.cancelled)
                async with connected(path) as another:
                    assert await another.ask(rcpt("user1@mydomain.net")) == b"c"
                    assert await another.ask(b"E") != b"c"
        assert world.asked == ["slow", "user1"]  # the second is the other connection's
        assert [entry for entry in logs if entry["log_level"] in ("warning", "error")] == []

    async def test_in_the_middle_of_a_packet_is_no_trouble(
        self, world: World, tmp_path: Path
    ) -> None:
        milter = world.milter()
        with capture_logs() as logs:
            async with serving(milter, tmp_path) as path:
                async with connected(path) as mta:
                    mta.send_raw(packet(rcpt("user1@mydomain.net"))[:-3])
                async with asyncio.timeout(SECONDS):
                    await milter.drain(SECONDS)
        assert logs == []


class TestGarbage:
    @pytest.mark.parametrize(
        "garbage",
        [
            pytest.param(b"\0\0\0\0", id="empty packet"),
            pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
            pytest.param(packet(MAIL), id="before negotiation"),
            pytest.param(packet(b"X" + OFFER[1:]), id="no offer"),
            pytest.param(packet(OFFER[:-1]), id="half an offer"),
            pytest.param(packet(OFFER) + packet(b"?"), id="unknown command"),
            pytest.param(packet(OFFER) + packet(b"Lfrom\0x\0"), id="negotiated away"),
            pytest.param(packet(OFFER) + packet(b"R"), id="no arguments"),
        ],
    )
    async def test_closes_this_connection_and_no_other(
        self, world: World, tmp_path: Path, garbage: bytes
    ) -> None:
        with capture_logs() as logs:
            async with serving(world.milter(), tmp_path) as path, connected(path) as good:
                assert await good.ask(rcpt("user1@mydomain.net")) == b"c"
                async with connected(path, negotiated=False) as bad:
                    bad.send_raw(garbage)
                    while await bad.receive():
                        pass
                assert b"user1=mydomain.net@" in await good.ask(b"E")
        assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == [
            "milter_bad_packet"
        ]


async def test_an_observer_that_raises_ends_the_connection_and_no_other(tmp_path: Path) -> None:
    # It must not; if it does, the MTA goes by its milter_default_action.
    world = World()

    def observe(event: Event) -> None:
        if isinstance(event, Resolved) and event.verdict == "unknown":
            raise RuntimeError("the observer is broken")

    milter = Milter(
        resolver=world.resolver,
        route_addresses=lambda: world.route_addresses,
        new_id=world.new_id,
        observe=observe,
        clock=lambda: 1000.0,
    )
    with capture_logs() as logs:
        async with serving(milter, tmp_path) as path, connected(path) as good:
            async with connected(path) as bad:
                assert await bad.ask(rcpt("nobody@mydomain.net")) == b""
            assert await good.ask(rcpt("user1@mydomain.net")) == b"c"
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["milter_trouble"]


class TestDrain:
    async def test_closes_idle_connections_at_once(self, world: World, tmp_path: Path) -> None:
        milter = world.milter()
        async with (
            serving(milter, tmp_path) as path,
            connected(path) as fresh,
            connected(path) as between,
        ):
            between.send(MAIL, b"A", MAIL)
            assert await between.ask(rcpt("user1@mydomain.net")) == b"c"
            assert b"user1=" in await between.ask(b"E")
            assert (await between.receive())[:1] == b"-"
            assert await between.receive() == b"c"
            async with asyncio.timeout(SECONDS):
                await milter.drain(10 * SECONDS)
            assert await fresh.receive() == b""
            assert await between.receive() == b""

    @pytest.mark.parametrize("end", [b"E", b"A"], ids=["sent", "aborted"])
    async def test_lets_a_message_come_to_its_end(
        self, world: World, tmp_path: Path, end: bytes
    ) -> None:
        milter = world.milter()
        async with serving(milter, tmp_path) as path, connected(path) as mta:
            mta.send(MAIL)
            assert await mta.ask(rcpt("user1@mydomain.net")) == b"c"
            draining = asyncio.create_task(milter.drain(10 * SECONDS))
            assert await mta.ask(rcpt("user2@mydomain.net")) == b"c"
            assert not draining.done()
            mta.send(end, MAIL, rcpt("user1@mydomain.net"))  # no next one is taken
            answers = [answer[:1] async for answer in answers_of(mta)]
            assert answers == ([b"2", b"2", b"-", b"-", b"c"] if end == b"E" else [])
            async with asyncio.timeout(SECONDS):
                await draining

    async def test_ends_after_its_time(self, world: World, tmp_path: Path) -> None:
        milter = world.milter()
        async with serving(milter, tmp_path) as path, connected(path) as mta:
            mta.send(MAIL, rcpt("slow@mydomain.net"))
            await until(world.waiting)
            async with asyncio.timeout(SECONDS):
                await milter.drain(0.01)
            assert await mta.receive() == b""
            await until(world.cancelled)

    async def test_takes_no_new_connection(self, world: World, tmp_path: Path) -> None:
        milter = world.milter()
        async with serving(milter, tmp_path) as path:
            await milter.drain(0)
            async with connected(path, negotiated=False) as late:
                late.send(OFFER)
                assert await late.receive() == b""


async def answers_of(mta: Mta) -> AsyncIterator[bytes]:
    while answer := await mta.receive():
        yield answer

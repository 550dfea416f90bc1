"""Listening where something is in the way, accepting when that fails, and the end of it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from waypost.config import Listen
from waypost.listeners import CannotListen, Listener
from waypost.testing.waiting import LONG


class Echo(asyncio.Protocol):
    """Sends back what it gets; `open` are those that are."""

    def __init__(self, server: EchoServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.open.add(self)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        self._server.open.discard(self)


class EchoServer:
    def __init__(self) -> None:
        self.open: set[Echo] = set()

    def protocol(self) -> asyncio.Protocol:
        return Echo(self)

    @property
    def connections(self) -> int:
        return len(self.open)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "door.sock"


def listener(path: Path, *, pause_seconds: float = LONG, watch_seconds: float = LONG) -> Listener:
    return Listener(
        Listen.parse(f"unix:{path}"),
        "milter.listen",
        EchoServer(),
        most=10,
        pause_seconds=pause_seconds,
        watch_seconds=watch_seconds,
    )


async def echoes(path: Path) -> bool:
    """Whether somebody answers there."""
    async with asyncio.timeout(LONG):
        try:
            reader, writer = await asyncio.open_unix_connection(path)
        except OSError:
            return False
        writer.write(b"x")
        with contextlib.suppress(ConnectionError):
            answer = await reader.read(1)
            writer.close()
            await writer.wait_closed()
            return answer == b"x"
        return False


async def test_nobody_is_let_in_before_it_is_open(path: Path) -> None:
    door = listener(path)
    await door.bind()
    answer = asyncio.create_task(echoes(path))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not answer.done()
    door.open()
    assert await answer
    door.close()
    assert not await echoes(path)


async def test_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    door = Listener(Listen.parse(f"inet:localhost:{port}"), "key", EchoServer(), most=10)
    await door.bind()
    door.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"x")
    assert await reader.read(1) == b"x"
    writer.close()
    door.close()


async def test_a_name_without_an_address() -> None:
    door = Listener(Listen.parse("inet:nowhere.invalid:1"), "milter.listen", EchoServer(), most=10)
    with pytest.raises(CannotListen, match=r"milter\.listen: cannot listen on inet:nowhere"):
        await door.bind()


class TestInTheWay:
    async def test_a_stale_socket_is_removed(self, path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(str(path))
        door = listener(path)
        await door.bind()
        door.open()
        assert await echoes(path)
        door.close()

    @pytest.mark.parametrize("busy", [False, True])
    async def test_another_process_is_not(self, path: Path, busy: bool) -> None:
        with socket.socket(socket.AF_UNIX) as another:
            another.bind(str(path))
            another.listen(0)
            waiting = list(fill(path)) if busy else []
            with pytest.raises(CannotListen, match="another process is listening there"):
                await listener(path).bind()
            for each in waiting:
                each.close()
        assert stat.S_ISSOCK(os.stat(path).st_mode)

    def test_what_is_no_socket_is_left_alone(self, path: Path) -> None:
        path.write_text("precious")
        with pytest.raises(CannotListen, match="something that is no socket"):
            asyncio.run(listener(path).bind())
        assert path.read_text() == "precious"


def fill(path: Path) -> Iterator[socket.socket]:
    """Connections until the backlog is full."""
    while True:
        waiting = socket.socket(socket.AF_UNIX)
        waiting.setblocking(False)
        try:
            waiting.connect(str(path))
        except BlockingIOError:
            waiting.close()
            return
        yield waiting


def failing_accept(monkeypatch: pytest.MonkeyPatch, failures: list[Exception]) -> None:
    """accept(2) fails with each of `failures`, then works."""
    real = socket.socket.accept

    def accept(sock: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise failures.pop()
        return real(sock)

    monkeypatch.setattr(socket.socket, "accept", accept)


class TestAccept:
    @pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EPROTO])
    async def test_that_fails_is_tried_again(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        failures: list[Exception] = [OSError(number, "no more"), OSError(number, "no more")]
        failing_accept(monkeypatch, failures)
        door = listener(path, pause_seconds=0.01)
        await door.bind()
        with capture_logs() as logs:
            door.open()
            assert await echoes(path)
        door.close()
        assert failures == []
        assert [(entry["event"], entry["reason"]) for entry in logs] == [
            ("accept_failed", "no more")
        ]

    async def test_that_fails_is_not_tried_again_at_once(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failures: list[Exception] = [OSError(errno.EMFILE, "no more") for _ in range(1000)]
        failing_accept(monkeypatch, failures)
        door = listener(path, pause_seconds=LONG)
        await door.bind()
        door.open()
        waiting = asyncio.create_task(echoes(path))
        for _ in range(100):  # the socket stays readable all the time
            await asyncio.sleep(0)
        assert len(failures) == 999
        door.close()
        assert not await waiting

    async def test_that_was_called_off_is_no_trouble(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failing_accept(monkeypatch, [ConnectionAbortedError()])
        door = listener(path, pause_seconds=LONG)
        await door.bind()
        with capture_logs() as logs:
            door.open()
            assert await echoes(path)
        door.close()
        assert logs == []


class TestTheSocketFile:
    async def test_is_made_again(self, path: Path) -> None:
        door = listener(path, watch_seconds=0.01)
        await door.bind()
        door.open()
        with capture_logs() as logs:
            os.unlink(path)
            async with asyncio.timeout(LONG):
                while not await echoes(path):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        door.close()
        assert [entry["event"] for entry in logs] == ["socket_made_again"]

    async def test_of_another_is_left_alone(self, path: Path) -> None:
        door = listener(path, watch_seconds=0.01)
        await door.bind()
        door.open()
        os.unlink(path)
        with socket.socket(socket.AF_UNIX) as another, capture_logs() as logs:
            another.bind(str(path))
            another.listen(1000)
            async with asyncio.timeout(LONG):
                while not logs:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        door.close()
        assert [entry["event"] for entry in logs] == ["socket_lost"]
        assert "another process is listening there" in logs[0]["reason"]

"""Of a host's addresses the first to answer is talked to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from waypost.route import Host
from waypost.smtp_client.racing import connect, race
from waypost.testing.next_hop import free_port


class Sockets:
    """Connects as it is told, and knows which sockets were closed."""

    def __init__(self) -> None:
        self.made: dict[str, socket.socket] = {}
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.hanging = asyncio.Event()

    async def connect(self, address: str) -> socket.socket:
        self.asked.append(address)
        if address.startswith("refuses"):
            raise ConnectionRefusedError(address)
        if address.startswith("hangs"):
            self.hanging.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(address)
                raise
        self.made[address] = socket.socket()
        return self.made[address]


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    sockets = Sockets()
    yield sockets
    for sock in sockets.made.values():
        sock.close()


async def test_the_first_address_is_enough(sockets: Sockets) -> None:
    assert (await race(["good", "better"], sockets.connect, 60))[0] == "good"
    assert sockets.asked == ["good"]


async def test_the_next_is_tried_while_the_first_hangs(sockets: Sockets) -> None:
    address, sock = await race(["hangs 1", "hangs 2", "good"], sockets.connect, 0.01)
    assert address == "good"
    assert sock is sockets.made["good"]
    assert sockets.cancelled == ["hangs 1", "hangs 2"]


async def test_the_next_is_tried_at_once_when_the_first_fails(sockets: Sockets) -> None:
    address, _ = await asyncio.wait_for(race(["refuses", "good"], sockets.connect, 60), 30)
    assert address == "good"


async def test_when_all_fail_the_last_one_is_told(sockets: Sockets) -> None:
    with pytest.raises(ConnectionRefusedError, match="refuses 2"):
        await race(["refuses 1", "refuses 2"], sockets.connect, 60)


async def test_who_loses_is_closed(sockets: Sockets) -> None:
    both = asyncio.Barrier(2)

    async def connect_together(address: str) -> socket.socket:
        await both.wait()
        return await sockets.connect(address)

    await race(["one", "two"], connect_together, 0)
    assert len(sockets.made) == 2
    assert sorted(sock.fileno() == -1 for sock in sockets.made.values()) == [False, True]


async def test_nothing_goes_on_when_nobody_waits_any_more(sockets: Sockets) -> None:
    racing = asyncio.ensure_future(race(["hangs"], sockets.connect, 0))
    await sockets.hanging.wait()
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await racing
    assert sockets.cancelled == ["hangs"]


@pytest.fixture
def port() -> Iterator[int]:
    """Somebody listens there, at 127.0.0.1 only."""
    with socket.create_server(("127.0.0.1", free_port())) as listening:
        yield listening.getsockname()[1]


async def test_a_real_host_with_one_address_that_refuses(port: int) -> None:
    address, sock = await connect(Host(("127.0.0.2", "127.0.0.1"), port), None)
    assert address == "127.0.0.1"
    assert sock.getpeername() == ("127.0.0.1", port)
    sock.close()


async def test_a_real_host_is_connected_to_from_the_address_that_is_configured(port: int) -> None:
    _, sock = await connect(Host(("127.0.0.1",), port), "127.0.0.3")
    assert sock.getsockname()[0] == "127.0.0.3"
    sock.close()


async def test_a_real_host_that_is_down() -> None:
    with pytest.raises(ConnectionRefusedError):
        await connect(Host(("127.0.0.2", "127.0.0.1"), free_port()), None)

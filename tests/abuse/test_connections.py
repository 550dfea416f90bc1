"""More connections than there can be, and connections that are none."""

from __future__ import annotations

import resource
import socket
import struct
from contextlib import ExitStack
from pathlib import Path

from tests.abuse.clients import OFFER, Good, connect, lines, packet, receive
from tests.abuse.world import running
from waypost.testing.daemon import Waypost
from waypost.testing.next_hop import free_port
from waypost.testing.waiting import wait_until

# With SO_LINGER on and 0 seconds, close() resets the connection (socket(7)).
RESET = struct.pack("ii", 1, 0)


def test_reset_at_once_again_and_again(tmp_path: Path) -> None:
    milter, transport = (f"inet:127.0.0.1:{free_port()}" for _ in range(2))
    with (
        running(tmp_path, milter=milter, transport=transport) as world,
        Good.of(world) as good,
    ):
        for number in range(1000):
            for address, octets in ((milter, packet(b"Ox")[:7]), (transport, b"LHLO c")):
                with connect(address) as bad:
                    bad.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    if number % 2:
                        bad.sendall(octets)
            if number % 100 == 0:
                good.both()


def test_too_many_are_refused_and_told_of_once(tmp_path: Path) -> None:
    with (
        running(tmp_path, through=["prlimit", "--nofile=200:200"]) as world,
        Good.of(world) as good,
    ):
        with ExitStack() as stack:
            # The good client's last session may still be on its way out.
            inside = [
                stack.enter_context(wait_until(lambda: _greeted(world.transport), "room"))
                for _ in range(50)
            ]
            for _ in range(100):
                with connect(world.transport) as refused:
                    assert list(lines(refused)) == [b"421 4.3.2 too many connections"]
            good.asks(good.session)  # the other door is another matter
            inside[0].close()
            wait_until(lambda: _is_greeted(world.transport), "room for another one")
        wait_until(lambda: _is_greeted(world.transport), "room")

        with ExitStack() as stack:
            for _ in range(49):  # and the good one
                stack.enter_context(connect(world.milter))
            for _ in range(100):
                with connect(world.milter) as refused:
                    assert receive(refused) == b""
            good.delivers()
        wait_until(lambda: _is_open(world.milter), "room")
        told = world.waypost.events("too_many_connections")
        assert [(event["listen"], event["most"]) for event in told] == [
            (world.transport, 50),
            (world.milter, 50),
        ]


def _greeted(transport: str) -> socket.socket | None:
    """A connection that was taken; None if it was refused."""
    sock = connect(transport)
    if next(lines(sock)) == b"220 mx.mydomain.net LMTP Waypost":
        return sock
    sock.close()
    return None


def _is_greeted(transport: str) -> bool:
    sock = _greeted(transport)
    if sock is not None:
        sock.close()
    return sock is not None


def _is_open(milter: str) -> bool:
    with connect(milter) as sock:
        sock.sendall(packet(OFFER))
        return receive(sock).startswith(b"O")


def test_without_files_it_waits_and_goes_on(
    waypost: Waypost, good: Good, milter: str, transport: str
) -> None:
    open_files = len(list(Path(f"/proc/{waypost.pid}/fd").iterdir()))
    usual = resource.prlimit(waypost.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(waypost.pid, resource.RLIMIT_NOFILE, (open_files + 5, usual[1]))
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(milter))
            stack.enter_context(connect(transport))
        waypost.wait_for_event("accept_failed")
        good.asks(good.session)  # who is in, is served
        resource.prlimit(waypost.pid, resource.RLIMIT_NOFILE, usual)
        good.both()
        assert len(waypost.events("accept_failed")) <= 2  # one for each door


def test_a_socket_file_that_was_removed_is_made_again(
    waypost: Waypost, good: Good, transport: str
) -> None:
    path = Path(transport.removeprefix("unix:"))
    path.unlink()
    waypost.wait_for_event("socket_made_again", listen=transport)
    good.both()

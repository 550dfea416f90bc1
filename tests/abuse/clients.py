"""Clients of the daemon's two sockets: one that is good, and what bad ones are made of.

    with Good.of(world) as good:
        ...
        good.both()             # asserts that everything it asks gets its right answer

Addresses are as in waypost.toml: "unix:/path" or "inet:127.0.0.1:port".
"""

from __future__ import annotations

import contextlib
import secrets
import smtplib
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.abuse.world import World
from waypost.testing.daemon import Waypost
from waypost.testing.smtp import plain_message
from waypost.testing.waiting import LONG

OFFER = b"O" + bytes.fromhex("00000006000001ff001fffff")
"""What Postfix 3.7 offers."""
ENVELOPE = b"MAIL FROM:<s@example.org>\r\nRCPT TO:<me@mydomain.net>\r\n"


def packet(payload: bytes) -> bytes:
    """A milter packet."""
    return len(payload).to_bytes(4) + payload


def rcpt(address: str | bytes, *parameters: bytes) -> bytes:
    """A RCPT packet."""
    written = address.encode() if isinstance(address, str) else address
    return packet(b"\0".join([b"R<" + written + b">", *parameters, b""]))


def end(queue_id: bytes = b"4bX9") -> bytes:
    """The packets at the end of a message."""
    return packet(b"DEi\0" + queue_id + b"\0") + packet(b"E")


def connect(address: str) -> socket.socket:
    """A connection whose every operation ends in time."""
    kind, _, place = address.partition(":")
    if kind == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(LONG)
        sock.connect(place)
        return sock
    host, _, port = place.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=LONG)


def receive(sock: socket.socket) -> bytes:
    """The payload of the next packet of a milter; empty when it has hung up."""
    length = int.from_bytes(_exactly(sock, 4))
    return _exactly(sock, length)


def _exactly(sock: socket.socket, count: int) -> bytes:
    octets = b""
    while len(octets) < count:
        with contextlib.suppress(ConnectionResetError):
            more = sock.recv(count - len(octets))
            if more:
                octets += more
                continue
        return b""
    return octets


def negotiated(address: str) -> socket.socket:
    """A connection with the milter that may begin a message."""
    sock = connect(address)
    sock.sendall(packet(OFFER))
    assert receive(sock).startswith(b"O")
    return sock


def greeted(address: str) -> socket.socket:
    """A connection with the transport that has said LHLO."""
    sock = connect(address)
    sock.sendall(b"LHLO client.example\r\n")
    assert_says(sock, b"250 ")
    return sock


def assert_says(sock: socket.socket, start: bytes) -> None:
    """Read lines up to one that starts like this."""
    for line in lines(sock):
        if line.startswith(start):
            return
    raise AssertionError(f"{start!r} was never said")


def lines(sock: socket.socket) -> Iterator[bytes]:
    """The lines of a transport's replies, read octet by octet: nothing beyond is taken."""
    line = b""
    while octet := _exactly(sock, 1):
        line += octet
        if octet == b"\n":
            yield line.removesuffix(b"\r\n")
            line = b""


def flood(sock: socket.socket, octets: bytes, most: int) -> int:
    """Send `octets` again and again without reading, until `most` are sent or nobody takes them any
    more for a second; how many were sent.
    """
    sock.settimeout(1)
    sent = 0
    with contextlib.suppress(TimeoutError, ConnectionError):
        while sent < most:
            sent += sock.send(octets)
    sock.settimeout(LONG)
    return sent


class Good:
    """Somebody else, who must notice nothing. Use `Good.of`."""

    def __init__(self, world: World) -> None:
        self._milter = world.milter
        self._transport = world.transport
        self._next_hop = world.gmail
        self.session = negotiated(world.milter)
        """A connection with the milter that it keeps."""

    @classmethod
    @contextlib.contextmanager
    def of(cls, world: World) -> Iterator[Good]:
        """One who must get right answers in the beginning and at the end, too."""
        good = cls(world)
        with good.session:
            good.both()
            yield good
            good.both()

    def both(self) -> None:
        """A message by each socket, on a new connection, and one on a connection that is kept."""
        self.asks(self.session)
        with negotiated(self._milter) as session:
            self.asks(session)
        self.delivers()

    def asks(self, session: socket.socket) -> None:
        """A message with a recipient that is routed and one that is unknown."""
        session.sendall(packet(b"M<s@example.org>\0") + rcpt("me@mydomain.net"))
        assert receive(session) == b"c"
        session.sendall(rcpt("nobody@mydomain.net"))
        assert receive(session) == b"y550 5.1.1 no such address here\0"
        session.sendall(end())
        added = receive(session)
        assert added.startswith(b"2<")
        assert b".me=mydomain.net@waypost.invalid>\0ORCPT=rfc822;me@mydomain.net\0" in added
        assert receive(session) == b"-<me@mydomain.net>\0"
        assert receive(session) == b"c"

    def delivers(self) -> None:
        """A message that reaches its next hop."""
        subject = secrets.token_hex(8)
        with connect(self._transport) as sock:
            client = smtplib.LMTP("")
            client.sock = sock
            client.file = sock.makefile("rb")
            assert client.getreply()[0] == 220
            refused = client.sendmail("s@example.org", ["me@mydomain.net"], plain_message(subject))
            assert refused == {}
            client.quit()
        got = self._next_hop.messages[-1]
        assert f"Subject: {subject}\r\n".encode() in got.data


@contextlib.contextmanager
def growing_at_most(waypost: Waypost, octets: int) -> Iterator[None]:
    """Asserts that the daemon has never had more than `octets` in addition, in here."""
    process = Path(f"/proc/{waypost.pid}")
    (process / "clear_refs").write_text("5")  # the peak starts anew (proc(5))
    before = _octets(process, "VmRSS")
    yield
    grown = _octets(process, "VmHWM") - before
    assert grown <= octets, f"the daemon has grown by {grown >> 20} MiB"


def _octets(process: Path, name: str) -> int:
    [line] = [
        line for line in (process / "status").read_text().splitlines() if line.startswith(name)
    ]
    return int(line.split()[1]) * 1024

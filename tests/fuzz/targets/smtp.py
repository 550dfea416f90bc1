r"""What next hops answer, at every stage of two messages in a row.

An input: an octet of flags, then parts that NUL ends: the content of the message, then what a host
sends on connection and after each command or content. A part that begins with 0x01 ends the
connection when it is sent, one with 0x02 is silence (for ever). When there are no more, the host
closes or is silent, as the flags say.

Held to: an outcome, in time; `Sent` only for a message that the host took whole; nothing but our
commands and one content per attempt, and no line end in it that is not CRLF (RFC 5321 2.3.8); no
password, and under `require` no mail, in plaintext.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import cache
from unittest.mock import patch

from tests.fuzz.virtual import Violation, VirtualLoop, Wire, run
from waypost import tls
from waypost.address import Address
from waypost.connections import Connections
from waypost.next_hop import HostFinder
from waypost.outcome import Bounced, Deferred, Sent
from waypost.route import Host, Login, NextHop, Tls, TlsPolicy
from waypost.smtp_client import Mail

_TO = Address("a,b c", "gmail.com")
_RCPT = b'RCPT TO:<"a,b c"@gmail.com>'
_SECRET = re.compile(rb"AUTH [ -~]+|(?!STARTTLS)[A-Za-z0-9+/=]{5,}\Z")
_COMMAND = re.compile(
    rb"(?:EHLO mx|MAIL FROM:<|RCPT TO:<)[ -~]*|HELO [ -~]*|DATA|RSET|QUIT|STARTTLS|"
    + _SECRET.pattern
)
# By the first digit alone (RFC 5321 section 4.3.2), and of a reply whose lines differ by the last.
_GO_ON = re.compile(rb"(?:[^\n]{3}-[^\n]*\n)*3\d\d")
_make_context = cache(tls.make_context)  # takes longer than all else together
_NO_TLS = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
_NO_TLS.reason = "WRONG_VERSION_NUMBER"  # as OpenSSL's own have it
_HANDSHAKES = (
    None,
    _NO_TLS,
    ConnectionResetError(104, "Connection reset by peer"),
    TimeoutError("the handshake took too long"),
)
_DEADLINE = 1800.0
_SLACK = 2000.0
"""Seconds after the deadline: the final dot's 10 minutes, RSET's five, QUIT."""


def one(data: bytes) -> None:
    """Run one input."""
    flags = data[0] if data else 0
    content, *answers = data[1:].split(b"\0")
    network = _Network(iter(answers), flags)
    with patch.object(tls, "make_context", _make_context):
        run(_attempts(content, flags, network), network)


async def _attempts(content: bytes, flags: int, network: _Network) -> None:
    connections = Connections(_Hosts(), helo="mx.mydomain.net")
    mail = Mail("s@example.org", _TO, content, bool(flags & 4), bool(flags & 8))
    login = Login("user", "password") if flags & 0x80 else None
    next_hop = NextHop("gmail.com", tls=Tls(network.policy), login=login)
    for _ in range(2):
        began, taken = network.time(), len(network.taken)
        outcome = await connections.attempt(next_hop, mail, until=network.time() + _DEADLINE)
        if not isinstance(outcome, Sent | Deferred | Bounced):
            raise Violation(f"{outcome!r} is no outcome")
        if network.time() - began > _DEADLINE + _SLACK:
            raise Violation(f"{outcome!r} after {network.time() - began} s")
        contents = network.taken[taken:]
        if len(contents) > 1 or (isinstance(outcome, Sent) and not contents):
            raise Violation(f"{outcome!r}, while the host took {contents!r}")
        for each in contents:
            _check_content(each, content)
    await connections.close()


def _check_content(got: bytes, given: bytes) -> None:
    if re.search(rb"(?<!\r)\n|\r(?!\n)", got):
        raise Violation(f"a bare line end in {got!r}")
    wanted = re.sub(rb"\r\n|\r|\n", b"\r\n", given)
    if not wanted.endswith(b"\r\n"):
        wanted += b"\r\n"
    if re.sub(rb"(?m)^\.", b"", got) != wanted:
        raise Violation(f"{given!r} arrived as {got!r}")


class _Hosts(HostFinder):
    async def find(self, _: NextHop) -> list[Host]:
        return [Host(("192.0.2.1", "2001:db8::1"), 25), Host(("192.0.2.2",), 25)]


class _Network(VirtualLoop):
    """All hosts there are: they share one list of answers."""

    def __init__(self, answers: Iterator[bytes], flags: int) -> None:
        super().__init__()
        self.answers = answers
        self.silent = bool(flags & 1)
        self.policy = TlsPolicy.REQUIRE if flags & 0x40 else TlsPolicy.OPPORTUNISTIC
        self.taken: list[bytes] = []
        """The contents that a host has read to the final dot."""
        self._refuses = bool(flags & 2)
        self._handshake = _HANDSHAKES[flags >> 4 & 3]

    async def sock_connect(self, _: socket.socket, __: object) -> None:
        if self._refuses:
            self._refuses = False
            raise ConnectionRefusedError(111, "Connection refused")

    async def create_connection(  # type: ignore[override]
        self, factory: Callable[[], asyncio.Protocol], *, sock: socket.socket, **_: object
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        sock.close()
        protocol = factory()
        host = _Host(protocol, self)
        host.connect()
        host.answer()
        return host, protocol

    async def start_tls(  # type: ignore[override]
        self, transport: asyncio.BaseTransport, *_: object, **__: object
    ) -> asyncio.BaseTransport:
        assert isinstance(transport, _Host)
        if self._handshake is not None:
            raise self._handshake
        transport.in_tls = True
        return transport


class _Host(Wire):
    """The client's side of a connection to a host."""

    def __init__(self, protocol: asyncio.Protocol, network: _Network) -> None:
        super().__init__(protocol)
        self._network = network
        self._position = 0
        self._within_content = False
        self.in_tls = False

    def answer(self) -> bytes:
        """Send the next answer."""
        answer = next(self._network.answers, b"\2" if self._network.silent else b"\1")
        said = answer.lstrip(b"\1\2")
        if not answer.startswith(b"\2"):
            self._network.call_soon(self._say, said, answer.startswith(b"\1"))
        return said

    def _say(self, said: bytes, ends: bool) -> None:
        if said and not self.closed:
            self.receive(said)
        if ends:
            self.close()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        while not self.closed:
            mark = b"\r\n.\r\n" if self._within_content else b"\r\n"
            # The CRLF of DATA itself is the line end before a dot that comes first.
            start = self._position - 2 * self._within_content
            end = self.written.find(mark, start)
            if end < 0:
                return
            self._read(bytes(self.written[start:end]))
            self._position = end + len(mark)

    def _read(self, what: bytes) -> None:
        if self._within_content:
            self._within_content = False
            self._network.taken.append((what + b"\r\n")[2:])
            self.answer()
            return
        if not _COMMAND.fullmatch(what) or (what.startswith(b"RCPT") and what != _RCPT):
            raise Violation(f"no command of ours: {what!r}")
        if not self.in_tls and (
            _SECRET.match(what)
            or (what.startswith(b"MAIL") and self._network.policy is TlsPolicy.REQUIRE)
        ):
            raise Violation(f"in plaintext: {what!r}")
        self._within_content = _GO_ON.match(self.answer()) is not None and what == b"DATA"

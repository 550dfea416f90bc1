r"""What the daemon answers to waypost-pipe.

An input: an octet of flags (the size of what one `recv` gives; its high bit: two recipients), then
all that the daemon sends before it closes the connection.

Held to: an exit status that pipe(8) understands and that agrees with the line; 0 only when the
daemon said 250 for every recipient after 354.
"""

from __future__ import annotations

import _socket
import re
from collections.abc import Iterator
from unittest.mock import patch

from tests.fuzz.virtual import Violation
from waypost import pipe

_LINE = re.compile(r"([245])\.\d{1,3}\.\d{1,3} ?[ -~]*")
_STATUS = {"2": 0, "4": pipe.EX_TEMPFAIL, "5": pipe.EX_UNAVAILABLE}
_PARENT = 1


def one(data: bytes) -> None:
    """Run one input."""
    flags, answers = (data[0] if data else 0), data[1:]
    recipients = ["a@mydomain.net", "j\xf6rg@mydomain.net"][: 1 + (flags >> 7)]
    daemon = _Daemon(answers, flags & 0x7F or len(answers) or 1)
    with (
        patch.object(pipe, "Message", _Message),
        patch.object(_socket, "socket", lambda *_: daemon),
    ):
        status, line = pipe.outcome([*_OPTIONS, *recipients], _PARENT)
    match = _LINE.fullmatch(line)
    if not match or _STATUS[match[1]] != status or len(line) > pipe.LONGEST_OUTPUT:
        raise Violation(f"exit status {status} with {line!r}")
    if "trouble in waypost-pipe" in line:
        raise Violation(line)
    if status == 0:
        _check_sent(answers, len(recipients), bytes(daemon.heard))


def _check_sent(answers: bytes, recipients: int, heard: bytes) -> None:
    after_data = re.split(rb"(?m)^354[ \r\n]", answers, maxsplit=1)[1:]
    accepted = sum(len(re.findall(rb"(?m)^250(?:[ \r\n]|\Z)", each)) for each in after_data)
    if accepted < recipients or not heard.endswith(b"\r\n.\r\nQUIT\r\n"):
        raise Violation(f"taken for sent: {answers!r}")


_OPTIONS = ("--socket", "unix:/x", "--queue-id", "4bX9", "--sender", "s@example.org", "--")


class _Message(pipe.Message):
    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._first = b"Subject: x\n\n.hello\n"
        self._rest = iter(())


class _Daemon:
    """A connected socket from which all of `answers` can be read."""

    def __init__(self, answers: bytes, size: int) -> None:
        self._pieces = self._cut(answers, size)
        self.heard = bytearray()

    @staticmethod
    def _cut(answers: bytes, size: int) -> Iterator[bytes]:
        for start in range(0, len(answers), size):
            yield answers[start : start + size]

    def settimeout(self, seconds: float) -> None:
        """Nothing here waits."""

    def connect(self, address: object) -> None:
        """Somebody listens."""

    def sendall(self, octets: bytes) -> None:
        self.heard += octets

    def recv(self, _: int) -> bytes:
        return next(self._pieces, b"")

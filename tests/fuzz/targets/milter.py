r"""The whole session of a milter connection.

An input: an octet of flags (`virtual.feed`), then a packet per line. A line `O` is Postfix's offer,
`!...` goes out without a length in front, `*n...` is a packet sent 4**n times, n below 4.

Held to: one answer for each command that wants one, whatever comes after; nothing but packets;
recipients added before any is deleted; no more taken in ahead than promised.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

from tests.fuzz import world
from tests.fuzz.virtual import Violation, Wire, feed, idle, run
from waypost.milter.codec import MAX_PACKET
from waypost.milter.session import AHEAD, Session

_OFFER = b"O" + bytes.fromhex("00000006000001ff001fffff")
_CHANGE = re.compile(rb"2<[^\0]+>\0[^\0]*\0|-[^\0]*\0", re.DOTALL)
_VERDICT = re.compile(rb"c|y[45]\d\d [45]\.\d+\.\d+ [ -~]*\0")


def one(data: bytes) -> None:
    """Run one input."""
    flags = data[0] if data else 0
    stream = b"".join(map(_written, data[1:].split(b"\n")))
    answered, closed = run(_answered(stream, flags))
    _check(_packets(stream), _packets(answered), closed)


def _written(line: bytes) -> bytes:
    if line == b"O":
        return _packet(_OFFER)
    if line[:1] == b"!":
        return line[1:]
    if line[:1] == b"*":
        times: int = 4 ** ((line[1:2] or b"\0")[0] % 4)
        return _packet(line[2:]) * times
    return _packet(line)


def _packet(payload: bytes) -> bytes:
    return len(payload).to_bytes(4) + payload


async def _answered(stream: bytes, flags: int) -> tuple[bytes, bool]:
    """What was answered, and whether the milter closed the connection."""
    session = world.milter(lambda _: None).protocol()
    assert isinstance(session, Session)

    def watch(piece: int) -> None:
        ahead = session._buffer  # noqa: SLF001  # no public way to ask
        if len(ahead) > AHEAD + piece and next(_packets(bytes(ahead)), None) is not None:
            raise Violation(f"{len(ahead)} octets are taken in ahead")

    wire = Wire(session)
    wire.connect()
    await feed(wire, stream, flags, watch)
    # The slow matcher takes a second; an hour of silence would be another matter.
    said = -1
    while said != len(wire.written):
        said = len(wire.written)
        await asyncio.sleep(3)
    closed = wire.closed
    wire.close()
    await idle()
    return bytes(wire.written), closed


def _packets(stream: bytes) -> Iterator[bytes]:
    """The payloads in `stream`; an empty one is the last, and stands for a length that is wrong."""
    while len(stream) >= 4:
        length = int.from_bytes(stream[:4])
        if not 0 < length <= MAX_PACKET:
            yield b""
            return
        if len(stream) < 4 + length:
            return
        yield stream[4 : 4 + length]
        stream = stream[4 + length :]


def _check(commands: Iterator[bytes], answers: Iterator[bytes], closed: bool) -> None:
    if _goes_on(commands, answers) and closed:
        raise Violation("closed without a reason")
    left = list(answers)
    if left:
        raise Violation(f"answers that nobody asked for: {left}")


def _goes_on(commands: Iterator[bytes], answers: Iterator[bytes]) -> bool:
    """Whether there is no reason to close the connection."""
    offer = next(commands, None)
    if offer is None:
        return True
    if offer[:1] != b"O" or not next(answers, b"").startswith(b"O"):
        return False
    for command in commands:
        verb = command[:1]
        if verb == b"R" and command.endswith(b"\0"):
            _verdict(next(answers, b""), command)
        elif verb == b"E":
            _changes_and_verdict(answers)
        elif verb not in (b"M", b"A", b"K", b"D") or _bad_macros(command):
            return False
    return True


def _bad_macros(command: bytes) -> bool:
    # Only those before the end of a message are read.
    if command[:2] != b"DE" or len(command) == 2:
        return False
    return not command.endswith(b"\0") or command.count(b"\0") % 2 == 1


def _changes_and_verdict(answers: Iterator[bytes]) -> None:
    deleting = False
    for answer in answers:
        if not _CHANGE.fullmatch(answer):
            _verdict(answer, b"E")
            return
        deletes = answer[:1] == b"-"
        if deleting and not deletes:
            raise Violation(f"added after a recipient was deleted: {answer!r}")
        deleting = deletes
    raise Violation("no verdict at the end of the message")


def _verdict(answer: bytes, command: bytes) -> None:
    if not _VERDICT.fullmatch(answer):
        raise Violation(f"{answer!r} answers {command!r}")

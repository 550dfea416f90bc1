r"""The whole session of an LMTP connection.

An input: an octet of flags (`virtual.feed`), then what the client sends. A recipient with "no" in
it is refused, one with "slow" is delivered after an hour.

Held to: one reply to each command and one per recipient after the final dot; what is delivered is
what stood between DATA and CRLF.CRLF, for the recipients that were accepted, and nothing else: read
here a second time, along the replies.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

from tests.fuzz.virtual import Violation, Wire, closed, feed, run
from waypost.delivery import Delivery, Envelope
from waypost.lmtp import LmtpServer
from waypost.reply import Reply

_Given = tuple[Envelope, str, bytes]
_REPLY = re.compile(rb"((?:(\d{3})-[ -~]*\r\n)*)(\d{3}) [ -~]*\r\n")
_LONGEST_LINE = 512


def one(data: bytes) -> None:
    """Run one input."""
    flags, stream = (data[0] if data else 0), data[1:]
    delivery = _Delivery()
    said = run(_said(stream, flags, delivery))
    _check(stream, _replies(said), delivery)


class _Delivery(Delivery):
    def __init__(self) -> None:
        self.accepted: list[str] = []
        self.given: list[_Given] = []

    async def check(self, recipient: str) -> Reply | None:
        if "no" in recipient:
            return Reply.own("550 5.1.1 no such address here")
        self.accepted.append(recipient)
        return None

    async def deliver(self, envelope: Envelope, recipient: str, content: bytes) -> Reply:
        self.given.append((envelope, recipient, content))
        if "slow" in recipient:
            await asyncio.sleep(3600)
        return Reply.own("250 2.0.0 1 of 1 legs sent")


async def _said(stream: bytes, flags: int, delivery: Delivery) -> bytes:
    protocol = LmtpServer(delivery, hostname="mx.mydomain.net").protocol()
    wire = Wire(protocol)
    wire.connect()
    await feed(wire, stream, flags)
    if not wire.closed:
        protocol.eof_received()
    await closed(wire)
    return bytes(wire.written)


def _replies(said: bytes) -> Iterator[int]:
    """The codes of the replies."""
    position = 0
    while position < len(said):
        match = _REPLY.match(said, position)
        if not match:
            raise Violation(f"no reply: {said[position:]!r}")
        lines = match[0].split(b"\r\n")
        if len({line[:3] for line in lines if line}) > 1 or max(map(len, lines)) > _LONGEST_LINE:
            raise Violation(f"a reply that is none: {match[0]!r}")
        yield int(match[3])
        position = match.end()


def _check(stream: bytes, replies: Iterator[int], delivery: _Delivery) -> None:
    if next(replies) != 220:
        raise Violation("no greeting")
    given, accepted = iter(delivery.given), iter(delivery.accepted)
    recipients: list[str] = []
    position = 0
    while (end := stream.find(b"\r\n", position)) >= 0:
        verb = stream[position : position + 4].upper()
        position = end + 2
        code = next(replies, None)
        if code is None:
            raise Violation(f"no reply to {verb!r}")
        if code in (221, 421):
            break
        if code == 354:
            # The CRLF of DATA itself is the line end before a dot that comes first.
            dot = stream.find(b"\r\n.\r\n", end)
            if dot < 0:
                break
            content = (stream[end:dot] + b"\r\n").replace(b"\r\n.", b"\r\n")[2:]
            _check_delivered(recipients, content, given, replies)
            position = dot + 5
            recipients = []
        elif code == 250 and verb == b"RCPT":
            recipients.append(next(accepted))
        elif code == 250 and verb in (b"LHLO", b"RSET"):
            recipients = []
    _check_nothing_left(replies, given)


def _check_delivered(
    recipients: list[str], content: bytes, given: Iterator[_Given], replies: Iterator[int]
) -> None:
    for recipient in recipients:
        delivered = next(given, None)
        if delivered is None or delivered[1:] != (recipient, content):
            raise Violation(f"{content!r} for {recipient!r} became {delivered!r}")
    for recipient in recipients:
        if next(replies, None) != 250:
            raise Violation(f"no reply for {recipient!r}")


def _check_nothing_left(replies: Iterator[int], given: Iterator[_Given]) -> None:
    if next(given, None) is not None:
        raise Violation("delivered what nobody sent")
    left = list(replies)
    # A client that says no more is sent away.
    if left and left != [421]:
        raise Violation(f"replies to nothing: {left}")

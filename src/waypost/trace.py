"""Trace information: what a message's header tells of its way, and what we put on top of it.

Owns the reading of the header section (hop count, Delivered-To, what makes a fingerprint) and the
Received and Delivered-To headers that Waypost adds. Pure.

Promises: existing bytes are never changed; headers are only added in front (RFC 5321 section 4.4).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from waypost.address import Address

HOP_LIMIT = 50
"""Received headers a message may carry: Postfix's own default (postconf(5), hopcount_limit)."""

# No header section of a real message is longer, and what a loop leaves is on top. A stranger may
# well send megabytes of header, and each recipient would wait until all of it is read.
_READ_OCTETS = 1 << 18
# At the start of a line only: text inside a line is no field, and a long line is read but once.
_FIELD = re.compile(
    rb"(?mi)^(?P<name>received|delivered-to|message-id|date)[ \t]*:"
    rb"(?P<value>.*(?:\r?\n[ \t].*)*)"
)
# An empty line that comes first ends a header section without fields.
_END_OF_HEADER = re.compile(rb"(?:\A|\r?\n)\r?\n")


@dataclass(frozen=True, slots=True)
class Trace:
    """What the header section of a message tells."""

    hops: int
    """How many Received headers it carries."""
    delivered_to: frozenset[bytes]
    """The values of its Delivered-To headers, in lower case."""
    message_id: bytes
    date: bytes
    entry: bytes
    """The message's entry into this Postfix: the topmost Received header (Postfix always adds one).
    A digest of the message where there is none."""
    eight_bit_header: bool
    eight_bit: bool
    """Whether the header or the body has octets beyond ASCII."""

    def was_delivered_to(self, recipient: Address) -> bool:
        """Whether the message has been delivered to `recipient` before: a loop."""
        return ascii_form(recipient).lower().encode() in self.delivered_to

    def fingerprint(self, sender: str, *, with_entry: bool) -> str:
        """What tells this message from another one that claims the same id.

        `with_entry` adds the message's entry into this Postfix, for ids that rest on a queue id
        alone: those are used again.
        """
        parts = [sender.encode(errors="surrogateescape"), self.message_id, self.date]
        if with_entry:
            parts.append(self.entry)
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def read(content: bytes) -> Trace:
    """Read the header section of `content`; a message without one has an empty trace."""
    top = content[:_READ_OCTETS]
    end = _END_OF_HEADER.search(top)
    header = top[: end.start()] if end else top
    eight_bit = not content.isascii()
    fields = list(_fields(header))
    received = _values(fields, b"received")
    return Trace(
        hops=len(received),
        delivered_to=frozenset(value.lower() for value in _values(fields, b"delivered-to")),
        message_id=b"".join(_values(fields, b"message-id")[:1]),
        date=b"".join(_values(fields, b"date")[:1]),
        entry=received[0] if received else hashlib.sha256(content).digest(),
        # Of a header section that was not read to its end, nothing better is known.
        eight_bit_header=not header.isascii() if end else eight_bit,
        eight_bit=eight_bit,
    )


def _fields(header: bytes) -> Iterator[tuple[bytes, bytes]]:
    for match in _FIELD.finditer(header):
        yield match["name"].lower(), match["value"].strip()


def _values(fields: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for each, value in fields if each == name]


def on_top(recipient: Address, message_id: str, host: str, at: float) -> bytes:
    """The headers that a message gets on its way through Waypost, to be put in front of it.

    `at` is the time in seconds since the epoch, `host` the name this system goes by.
    """
    shown = ascii_form(recipient)
    date = format_datetime(datetime.fromtimestamp(at, UTC))
    return (
        f"Delivered-To: {shown}\r\n"
        f"Received: by {host} (Waypost) with LMTP id {message_id}\r\n"
        f"\tfor <{shown}>; {date}\r\n"
    ).encode()


def ascii_form(address: Address) -> str:
    r"""The address in ASCII, other characters as `\x{F6}` (RFC 6533 section 3).

    Our own headers must not be what makes a message need SMTPUTF8.
    """
    return "".join(char if char.isascii() else f"\\x{{{ord(char):X}}}" for char in str(address))

"""What the header section of a message tells.

An input: the message.

Held to: our headers on top are found again, count as one more hop, and change nothing else.
"""

from __future__ import annotations

from tests.fuzz.virtual import Violation
from waypost.address import Address
from waypost.trace import on_top, read

_RECIPIENT = Address("J\xf6rg", "mydomain.net")


def one(data: bytes) -> None:
    """Run one input."""
    before = read(data)
    after = read(on_top(_RECIPIENT, "a" * 16, "mx.mydomain.net", 1e9) + data)
    if after.hops != before.hops + 1 or not after.was_delivered_to(_RECIPIENT):
        raise Violation(f"our own headers are not found: {after!r}")
    if before.delivered_to - after.delivered_to or before.eight_bit != after.eight_bit:
        raise Violation(f"{before!r} became {after!r}")
    if (before.message_id, before.date) != (after.message_id, after.date):
        raise Violation(f"{before!r} became {after!r}")
    if before.eight_bit_header and not before.eight_bit:
        raise Violation(f"{before!r} contradicts itself")
    if len(before.fingerprint("s@example.org", with_entry=True)) != 32:
        raise Violation("no fingerprint")

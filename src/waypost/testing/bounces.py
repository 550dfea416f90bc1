"""Delivery status notifications, read for a test: what a sender is told when mail comes back.

Use: `read_bounce(message)` of a message that a fake next hop took. RFC 3464 names the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage

from waypost.testing.conversation import Message


@dataclass(frozen=True, slots=True)
class Bounce:
    """A DSN, from the null sender to the sender of the message that it is about."""

    to: str
    text: str
    """What a person reads: the first part, on one line, since Postfix breaks lines anywhere."""
    recipients: tuple[Mapping[str, str], ...]
    """For each recipient its fields, names in lower case: `action`, `status`, `original-recipient`,
    `final-recipient`, `diagnostic-code`."""
    data: bytes
    """All of it."""


def read_bounce(message: Message) -> Bounce | None:
    """The DSN in `message`; None when it is none."""
    whole = message.parsed
    if message.sender or whole.get_content_type() != "multipart/report":
        return None
    text, status, *_ = (part for part in whole.iter_parts() if isinstance(part, EmailMessage))
    groups = list(status.iter_parts())
    # The first group is about the message (RFC 3464 section 2.2), one per recipient follows.
    fields = tuple({name.lower(): str(value) for name, value in group.items()} for group in groups)
    return Bounce(
        message.recipients[0], " ".join(text.get_content().split()), fields[1:], message.data
    )

"""SMTP replies and what they tell.

Owns `Reply` (RFC 5321 section 4.2), `EnhancedStatus` (RFC 3463), and the words for what a reply
means (`ReplyClass`) and whom it concerns (`Scope`); `reply_classes` tells which. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?!\S)", re.ASCII)


@dataclass(frozen=True, slots=True)
class EnhancedStatus:
    """An enhanced status code, `class.subject.detail`."""

    category: int
    subject: int
    detail: int

    @classmethod
    def parse(cls, text: str) -> EnhancedStatus:
        """Read `x.y.z`. Raises ValueError."""
        match = _STATUS.fullmatch(text)
        if not match:
            raise ValueError(f'"{text}" is no enhanced status code')
        return cls(int(match[1]), int(match[2]), int(match[3]))

    def __str__(self) -> str:
        return f"{self.category}.{self.subject}.{self.detail}"

    def as_category(self, category: int) -> EnhancedStatus:
        """The same subject and detail in another category (2, 4 or 5)."""
        return EnhancedStatus(category, self.subject, self.detail)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: three digits, an enhanced status where one was given, and the text behind them."""

    code: int
    status: EnhancedStatus | None
    text: str
    """Lines are separated by LF; the enhanced status is not part of it."""

    @classmethod
    def read(cls, code: int, text: str) -> Reply:
        """A reply as a client library hands it over: its text may start with an enhanced status.

        Of a status whose category contradicts the code, the code is believed.
        """
        match = _STATUS.match(text)
        if not match or int(match[1]) != code // 100:
            return cls(code, None, text)
        status = EnhancedStatus(int(match[1]), int(match[2]), int(match[3]))
        # The status is repeated on every line of a multi-line reply (RFC 2034 section 4).
        lines = [_without(match[0], line) for line in text.split("\n")]
        return cls(code, status, "\n".join(lines))

    @classmethod
    def own(cls, line: str) -> Reply:
        """A reply of our own, written out: `own("451 4.3.0 try again later")`."""
        code, _, text = line.partition(" ")
        return cls.read(int(code), text)

    @property
    def effective_status(self) -> EnhancedStatus:
        """The enhanced status, or `x.0.0` by the code when the reply has none."""
        return self.status or EnhancedStatus(self.code // 100, 0, 0)

    def __str__(self) -> str:
        status = f" {self.status}" if self.status else ""
        return f"{self.code}{status} {self.text}"


def _without(status: str, line: str) -> str:
    first, _, rest = line.strip().partition(" ")
    return rest.strip() if first == status else line.strip()


class ReplyClass(StrEnum):
    """What kind of answer it is: the words of `failover_after`, of our replies and of the logs."""

    ACCEPTED = "accepted"
    DNS = "dns"
    CONNECT = "connect"
    TIMEOUT = "timeout"
    THROTTLED = "throttled"
    REPEATED = "repeated"
    GREYLISTED = "greylisted"
    MAILBOX_FULL = "mailbox_full"
    UNAVAILABLE = "unavailable"
    REJECTED = "rejected"
    UNKNOWN_RECIPIENT = "unknown_recipient"
    MESSAGE = "message"
    MISCONFIGURED = "misconfigured"


class Scope(StrEnum):
    """Whom an answer concerns: every message to that host, one mailbox, or this message alone."""

    HOST = "host"
    MAILBOX = "mailbox"
    MESSAGE = "message"

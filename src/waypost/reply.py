"""SMTP replies and what they tell.

Owns `Reply` (RFC 5321 section 4.2), `EnhancedStatus` (RFC 3463) and the reply classes: a table in
which each row says what a receiver means by a reply. Pure.

Promises: `classify` answers for every reply; a row added to `ROWS` needs no other change.
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


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a reply is of this kind when all three patterns are found in it.

    `code` and `status` are matched whole, `text` is searched without regard to case. An empty
    pattern matches everything; `receiver` only says where the row was seen.
    """

    receiver: str
    code: str
    status: str
    text: str
    reply_class: ReplyClass
    scope: Scope

    def matches(self, reply: Reply) -> bool:
        """Whether this row describes `reply`."""
        return (
            (not self.code or re.fullmatch(self.code, str(reply.code)) is not None)
            and (not self.status or re.fullmatch(self.status, str(reply.status)) is not None)
            and (not self.text or re.search(self.text, reply.text, re.IGNORECASE) is not None)
        )


# The first row that matches decides: the receivers' own words first, general rows last.
_CLASS, _SCOPE = ReplyClass, Scope
ROWS: tuple[Row, ...] = (
    Row("Outlook", "451", r"4\.7\.650", "", _CLASS.THROTTLED, _SCOPE.HOST),
    Row("Outlook", "550", r"5\.7\.1", "network is on our block", _CLASS.REJECTED, _SCOPE.HOST),
    Row("any", "4..", "", "gr[ae]y[- ]?list|postgrey", _CLASS.GREYLISTED, _SCOPE.MESSAGE),
    Row("Gmail", "4..", r"4\.7\.28", "", _CLASS.THROTTLED, _SCOPE.HOST),
    Row("Gmail", "421", r"4\.7\.0", "", _CLASS.THROTTLED, _SCOPE.HOST),
    Row("Gmail", "450", r"4\.2\.1", "", _CLASS.THROTTLED, _SCOPE.MAILBOX),
    Row("Gmail", "...", r"[45]\.7\.26", "", _CLASS.MESSAGE, _SCOPE.MESSAGE),
    Row("Yahoo", "421", "", r"\[TSS?\d\d\]", _CLASS.THROTTLED, _SCOPE.HOST),
    Row("any", "", r"[45]\.2\.2", "", _CLASS.MAILBOX_FULL, _SCOPE.MAILBOX),
    Row("any", "", "", "over ?quota|mailbox (is )?full|quota exceeded",
        _CLASS.MAILBOX_FULL, _SCOPE.MAILBOX),
    Row("any", "4..", r"4\.7\.1", "try again|temporarily deferred",
        _CLASS.GREYLISTED, _SCOPE.MESSAGE),
    Row("any", "4..", "", "rate.?limit|too many|throttl|reputation",
        _CLASS.THROTTLED, _SCOPE.HOST),
    Row("any", "5..", r"5\.3\.4", "", _CLASS.MESSAGE, _SCOPE.MESSAGE),
    Row("any", "530", "", "", _CLASS.MISCONFIGURED, _SCOPE.HOST),
    Row("any", "5..", r"5\.1\.(1|2|10)", "", _CLASS.UNKNOWN_RECIPIENT, _SCOPE.MAILBOX),
    Row("any", "550|551|553", "", "user unknown|unknown user|no such user|does not exist",
        _CLASS.UNKNOWN_RECIPIENT, _SCOPE.MAILBOX),
    Row("any", "421", "", "", _CLASS.UNAVAILABLE, _SCOPE.HOST),
    Row("any", "4..", "", "", _CLASS.UNAVAILABLE, _SCOPE.MESSAGE),
    Row("any", "5..", r"5\.2\..*", "", _CLASS.REJECTED, _SCOPE.MAILBOX),
    Row("any", "5..", "", "", _CLASS.REJECTED, _SCOPE.MESSAGE),
)  # fmt: skip


def classify(reply: Reply) -> tuple[ReplyClass, Scope]:
    """What a next hop means by `reply`, and whom it concerns."""
    if reply.code // 100 in (2, 3):
        return ReplyClass.ACCEPTED, Scope.MESSAGE
    for row in ROWS:
        if row.matches(reply):
            return row.reply_class, row.scope
    return ReplyClass.UNAVAILABLE, Scope.MESSAGE

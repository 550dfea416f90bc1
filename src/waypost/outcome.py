"""What became of one attempt, and of a recipient.

Owns `Sent`, `Deferred`, `Bounced`, the `Attempt` that the journal keeps, and the answer table:
which reply at which stage of a conversation makes which outcome. Pure.

Promises: every reply at every stage has exactly one outcome; a permanent answer that only shows a
misconfiguration of ours never bounces mail.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from waypost.address import Address
from waypost.reply import Reply, ReplyClass, Scope
from waypost.reply_classes import classify


class Stage(StrEnum):
    """How far a conversation with a next hop had come when its outcome was decided."""

    DNS = "dns"
    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"


@dataclass(frozen=True, slots=True)
class Sent:
    """A next hop accepted the message after the final dot."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not now: the same destination may accept later."""

    reply: Reply
    reply_class: ReplyClass
    scope: Scope
    stage: Stage
    ambiguous: bool = False
    """The connection was lost after the final dot: the message may have been accepted."""


@dataclass(frozen=True, slots=True)
class Bounced:
    """Never: this destination will not take this message."""

    reply: Reply
    reply_class: ReplyClass
    scope: Scope
    stage: Stage


Outcome = Sent | Deferred | Bounced

# A 5xx before the envelope speaks of our set-up, not of the message (DESIGN: the answer table).
_BEFORE_THE_ENVELOPE = frozenset({Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.AUTH})


def judge(stage: Stage, reply: Reply) -> Outcome:
    """The outcome of an attempt whose last word was `reply` to what was said at `stage`.

    A positive reply anywhere but after the final dot is not an outcome; asking for one is an error
    of the caller. A code outside 2xx, 4xx and 5xx where an answer was due is trouble, hence
    deferred.
    """
    reply_class, scope = classify(reply)
    if stage is Stage.DOT and reply.code // 100 == 2:
        return Sent(reply)
    if reply_class is ReplyClass.ACCEPTED:
        return Deferred(reply, ReplyClass.UNAVAILABLE, Scope.HOST, stage)
    # 530 is "authentication required" (RFC 4954 section 6): ours to mend, at every stage.
    if stage in _BEFORE_THE_ENVELOPE or reply.code == 530:
        permanent = reply.code // 100 == 5
        told = ReplyClass.MISCONFIGURED if permanent else reply_class
        return Deferred(reply, told, Scope.HOST, stage)
    if reply.code // 100 == 5:
        return Bounced(reply, reply_class, scope, stage)
    return Deferred(reply, reply_class, scope, stage)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to hand one message to one destination; what the journal records."""

    recipient: str
    """The key of the recipient it was made for (`Address.key`)."""
    leg: str
    """The name of the leg it was made for."""
    to: Address
    next_hop: str
    """The name of the next hop asked (`NextHop.name`)."""
    at: float
    """When the answer came: seconds since the epoch."""
    outcome: Outcome

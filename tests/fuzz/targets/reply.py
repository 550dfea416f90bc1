r"""Replies of next hops, and what they become.

An input: attempts, one per NUL; each an octet for its stage, three digits, and the text.

Held to: a reply at any stage has one outcome; what the client and Postfix hear of it is lines of
ASCII in our own words (invariant 7), 4xx or 5xx as the outcome says.
"""

from __future__ import annotations

import re

from tests.fuzz.virtual import Violation
from waypost.address import Address
from waypost.lmtp.wire import MAX_REPLY_OCTETS, written
from waypost.milter import codec
from waypost.outcome import Attempt, Bounced, Stage, judge
from waypost.plan import LegReport, Rest, Summary
from waypost.reply import EnhancedStatus, Reply
from waypost.reply_classes import classify
from waypost.status import summary_reply

_WAY = r"\d{1,3} [a-z_]+(?: \(ambiguous\))?"
_LEG = rf"leg \d+: (?:sent|not asked yet|{_WAY}(?:, {_WAY})*)"
_OURS = re.compile(rf"\d+ of \d+ legs sent(?:; {_LEG})*")
_REFUSAL = re.compile(rb"y([45])\d\d \1\.\d+\.\d+[ -~]*\0")
_TO = Address("u", "gmail.com")


def one(data: bytes) -> None:
    """Run one input."""
    attempts = tuple(_attempt(each) for each in data.split(b"\0"))
    half = len(attempts) // 2
    for state in (Rest.WAITING, Rest.SPENT, Rest.DONE):
        legs = tuple(LegReport(state, part) for part in (attempts[:half], attempts[half:]))
        _check_ours(summary_reply(Summary(state, legs)), state)


def _attempt(data: bytes) -> Attempt:
    stage = list(Stage)[(data[:1] or b"\0")[0] % len(Stage)]
    code = int(data[1:4]) if data[1:4].isdigit() else sum(data[1:4]) % 1000
    reply = Reply.read(code, data[4:].decode("utf-8", "surrogateescape"))
    if reply.status and (
        EnhancedStatus.parse(str(reply.status)) != reply.status
        or reply.status.category != code // 100
    ):
        raise Violation(f"{reply!r} has a status that it cannot have")
    classify(reply)
    _check_refusal(reply)
    outcome = judge(stage, reply)
    if isinstance(outcome, Bounced) and (code // 100 != 5 or code == 530):
        raise Violation(f"{reply!r} at {stage} bounces")
    return Attempt("r@mydomain.net", "u@gmail.com", _TO, "mx:gmail.com", 1e9, outcome)


def _check_ours(reply: Reply, state: Rest) -> None:
    category = {Rest.WAITING: 4, Rest.SPENT: 5, Rest.DONE: 2}[state]
    if reply.code // 100 != category or reply.effective_status.category != category:
        raise Violation(f"{reply!r} for what is {state}")
    if not _OURS.fullmatch(reply.text.replace("\n", " ")):
        raise Violation(f"{reply!r} holds more than our own words")
    lines = written(reply).split(b"\r\n")
    start = re.compile(rb"%d[- ]%d\.\d+\.\d+ [ -~]*" % (reply.code, category))
    if lines.pop() or not all(map(start.fullmatch, lines)):
        raise Violation(f"{reply!r} is written {lines!r}")
    if max(map(len, lines)) > MAX_REPLY_OCTETS - 2:
        raise Violation(f"{reply!r} is written in lines that are too long")


def _check_refusal(reply: Reply) -> None:
    """No text breaks out of a milter packet, whoever wrote it."""
    try:
        packet = codec.refuse.__wrapped__(reply)  # else every reply would be kept
    except ValueError:
        return
    if not _REFUSAL.fullmatch(packet, 4):
        raise Violation(f"{reply!r} becomes {packet!r}")

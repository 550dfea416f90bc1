"""The answer table: what a next hop's last word makes of an attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.strategies import replies
from waypost.outcome import Bounced, Deferred, Outcome, Sent, Stage, judge
from waypost.reply import Reply, ReplyClass, Scope
from waypost.reply_classes import classify

OURS = ReplyClass.MISCONFIGURED
BEFORE_THE_ENVELOPE = [Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.AUTH]
THE_ENVELOPE_AND_AFTER = [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT]

TABLE = [
    # accepted after the final dot
    (Stage.DOT, "250 2.0.0 Ok: queued", Sent, None, None),
    (Stage.DOT, "200 whatever", Sent, None, None),
    # DNS trouble, refused, timeout, TLS failure; 4xx anywhere
    (Stage.DNS, "451 4.4.3 no answer from DNS", Deferred, ReplyClass.UNAVAILABLE, Scope.MESSAGE),
    (Stage.CONNECT, "451 4.4.1 refused", Deferred, ReplyClass.UNAVAILABLE, Scope.MESSAGE),
    (Stage.GREETING, "421 4.3.2 busy", Deferred, ReplyClass.UNAVAILABLE, Scope.HOST),
    (Stage.GREETING, "451 4.7.650 limited", Deferred, ReplyClass.THROTTLED, Scope.HOST),
    (Stage.EHLO, "450 4.7.1 try again", Deferred, ReplyClass.GREYLISTED, Scope.HOST),
    (Stage.STARTTLS, "454 4.7.0 no TLS now", Deferred, ReplyClass.UNAVAILABLE, Scope.HOST),
    (Stage.AUTH, "454 4.7.0 later", Deferred, ReplyClass.UNAVAILABLE, Scope.HOST),
    (Stage.MAIL, "451 4.7.650 limited", Deferred, ReplyClass.THROTTLED, Scope.HOST),
    (Stage.RCPT, "450 4.2.0 greylisted", Deferred, ReplyClass.GREYLISTED, Scope.MESSAGE),
    (Stage.RCPT, "452 4.2.2 full", Deferred, ReplyClass.MAILBOX_FULL, Scope.MAILBOX),
    (Stage.DATA, "451 4.3.0 trouble", Deferred, ReplyClass.UNAVAILABLE, Scope.MESSAGE),
    (Stage.DOT, "421 4.7.26 unauthenticated", Deferred, ReplyClass.MESSAGE, Scope.MESSAGE),
    # 5xx at greeting, EHLO, STARTTLS, AUTH, and 530: our own misconfiguration
    (Stage.GREETING, "554 5.7.1 go away", Deferred, OURS, Scope.HOST),
    (Stage.EHLO, "550 5.7.1 bad HELO name", Deferred, OURS, Scope.HOST),
    (Stage.STARTTLS, "502 5.5.1 what?", Deferred, OURS, Scope.HOST),
    (Stage.AUTH, "535 5.7.8 wrong password", Deferred, OURS, Scope.HOST),
    (Stage.MAIL, "530 5.7.0 STARTTLS first", Deferred, OURS, Scope.HOST),
    (Stage.RCPT, "530 5.7.0 log in first", Deferred, OURS, Scope.HOST),
    (Stage.DATA, "530 5.7.0 log in first", Deferred, OURS, Scope.HOST),
    (Stage.DOT, "530 5.7.0 log in first", Deferred, OURS, Scope.HOST),
    # 5xx at MAIL, RCPT, DATA or final dot
    (Stage.MAIL, "550 5.7.1 not you", Bounced, ReplyClass.REJECTED, Scope.MESSAGE),
    (Stage.RCPT, "550 5.1.1 who?", Bounced, ReplyClass.UNKNOWN_RECIPIENT, Scope.MAILBOX),
    (Stage.RCPT, "552 5.2.2 full", Bounced, ReplyClass.MAILBOX_FULL, Scope.MAILBOX),
    (Stage.DATA, "554 5.7.1 no", Bounced, ReplyClass.REJECTED, Scope.MESSAGE),
    (Stage.DOT, "550 5.7.26 unauthenticated", Bounced, ReplyClass.MESSAGE, Scope.MESSAGE),
    # null MX, no such domain
    (Stage.DNS, "556 5.1.10 null MX", Bounced, ReplyClass.UNKNOWN_RECIPIENT, Scope.MAILBOX),
    (Stage.DNS, "550 5.1.2 no such domain", Bounced, ReplyClass.UNKNOWN_RECIPIENT, Scope.MAILBOX),
    # larger than SIZE; 8BITMIME or SMTPUTF8 needed and not offered
    (Stage.MAIL, "552 5.3.4 larger than SIZE", Bounced, ReplyClass.MESSAGE, Scope.MESSAGE),
    # no reply of SMTP's, or none that was due
    (Stage.DOT, "354 go on", Deferred, ReplyClass.UNAVAILABLE, Scope.HOST),
    (Stage.RCPT, "250 2.1.5 fine", Deferred, ReplyClass.UNAVAILABLE, Scope.HOST),
    (Stage.DATA, "250 fine", Deferred, ReplyClass.UNAVAILABLE, Scope.HOST),
    (Stage.DOT, "999 what", Deferred, ReplyClass.UNAVAILABLE, Scope.MESSAGE),
    (Stage.MAIL, "100 hm", Deferred, ReplyClass.UNAVAILABLE, Scope.MESSAGE),
]


@pytest.mark.parametrize(
    ("stage", "line", "kind", "reply_class", "scope"),
    TABLE,
    ids=[f"{row[0]}: {row[1]}" for row in TABLE],
)
def test_the_answer_table(
    stage: Stage,
    line: str,
    kind: type[Outcome],
    reply_class: ReplyClass | None,
    scope: Scope | None,
) -> None:
    reply = Reply.own(line)
    outcome = judge(stage, reply)
    assert type(outcome) is kind
    assert outcome.reply == reply
    if not isinstance(outcome, Sent):
        assert (outcome.reply_class, outcome.scope, outcome.stage) == (reply_class, scope, stage)


any_reply = replies(0, 1, 2, 3, 4, 5, 6, 9)


@given(st.sampled_from(Stage), any_reply)
def test_sent_is_2xx_after_the_final_dot_and_nothing_else(stage: Stage, reply: Reply) -> None:
    accepted = stage is Stage.DOT and 200 <= reply.code <= 299
    assert isinstance(judge(stage, reply), Sent) is accepted


@given(st.sampled_from(BEFORE_THE_ENVELOPE), any_reply)
def test_nothing_bounces_before_the_envelope(stage: Stage, reply: Reply) -> None:
    outcome = judge(stage, reply)
    assert isinstance(outcome, Deferred)
    assert outcome.scope is Scope.HOST
    if 500 <= reply.code <= 599:
        assert outcome.reply_class is OURS


@given(st.sampled_from(THE_ENVELOPE_AND_AFTER), any_reply)
def test_only_5xx_bounces_and_530_does_not(stage: Stage, reply: Reply) -> None:
    permanent = 500 <= reply.code <= 599 and reply.code != 530
    assert isinstance(judge(stage, reply), Bounced) is permanent


@given(st.sampled_from(THE_ENVELOPE_AND_AFTER), replies(4, 5))
def test_the_reply_classes_decide_class_and_scope(stage: Stage, reply: Reply) -> None:
    outcome = judge(stage, reply)
    assert not isinstance(outcome, Sent)
    if reply.code != 530:
        assert (outcome.reply_class, outcome.scope) == classify(reply)


@given(st.sampled_from(Stage), any_reply)
def test_a_reply_is_never_ambiguous(stage: Stage, reply: Reply) -> None:
    # Only its absence is, and that is for the client to say.
    outcome = judge(stage, reply)
    assert not (isinstance(outcome, Deferred) and outcome.ambiguous)

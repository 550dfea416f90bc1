"""Replies: how they are read, and what receivers mean by them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.strategies import replies, statuses
from waypost.reply import ROWS, EnhancedStatus, Reply, ReplyClass, Scope, classify


@given(statuses)
def test_a_status_reads_as_it_is_written(status: EnhancedStatus) -> None:
    assert EnhancedStatus.parse(str(status)) == status


@pytest.mark.parametrize(
    "text",
    ["", "4.7", "3.1.1", "5.1.1 ", " 5.1.1", "5.1.1x", "5.1.1000", "5.1.", "5.1.\u0661", "5.1.1\n"],
)
def test_other_texts_are_no_status(text: str) -> None:
    with pytest.raises(ValueError, match="no enhanced status code"):
        EnhancedStatus.parse(text)


def test_a_status_keeps_subject_and_detail_in_another_category() -> None:
    assert str(EnhancedStatus(5, 1, 10).as_category(4)) == "4.1.10"


@pytest.mark.parametrize(
    ("code", "text", "status", "kept"),
    [
        (250, "2.0.0 Ok: queued as 1234", "2.0.0", "Ok: queued as 1234"),
        (250, "Ok", None, "Ok"),
        (250, "", None, ""),
        (421, "4.7.0", "4.7.0", ""),
        (451, "4.7.650 The mail server has been\n4.7.650 limited", "4.7.650",
         "The mail server has been\nlimited"),
        (550, "5.1.1 no such user\nsee 5.1.1 in the manual", "5.1.1",
         "no such user\nsee 5.1.1 in the manual"),
        # Not the beginning of another status, nor one that is only part of a word.
        (550, "5.7.1 first\n5.7.10 second", "5.7.1", "first\n5.7.10 second"),
        (550, "5.7.1first", None, "5.7.1first"),
        # The code is believed.
        (450, "5.1.1 later", None, "5.1.1 later"),
        (550, "2.0.0 never", None, "2.0.0 never"),
        (550, "192.0.2.1 is listed", None, "192.0.2.1 is listed"),
    ],
)  # fmt: skip
def test_reads_the_status_that_a_text_starts_with(
    code: int, text: str, status: str | None, kept: str
) -> None:
    reply = Reply.read(code, text)
    assert (reply.code, reply.text) == (code, kept)
    assert reply.status == (EnhancedStatus.parse(status) if status else None)


@given(replies(2, 4, 5))
def test_a_reply_of_our_own_reads_as_it_is_written(reply: Reply) -> None:
    line = Reply(reply.code, reply.effective_status.as_category(reply.code // 100), "one line")
    assert Reply.own(str(line)) == line


def test_without_a_status_the_code_tells_its_category() -> None:
    assert str(Reply(451, None, "").effective_status) == "4.0.0"
    assert str(Reply(451, EnhancedStatus(4, 7, 1), "").effective_status) == "4.7.1"


@given(st.builds(Reply, st.integers(-1, 1100), st.none() | statuses, st.text()))
def test_every_reply_has_a_class(reply: Reply) -> None:
    reply_class, _ = classify(reply)
    assert (reply_class is ReplyClass.ACCEPTED) == (reply.code // 100 in (2, 3))


H, M, ONE = Scope.HOST, Scope.MAILBOX, Scope.MESSAGE

# As receivers were seen to write them; what is meant decides whether a leg waits, and whether other
# messages are kept from that host.
SEEN = {
    "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP"
    " reputation. For e-mail delivery information, see https://postmaster.live.com (S775)":
        (ReplyClass.THROTTLED, H),
    "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet"
    " service provider since part of their network is on our block list (S3140).":
        (ReplyClass.REJECTED, H),
    "421 4.7.0 [192.0.2.1 15] Our system has detected an unusual rate of unsolicited mail":
        (ReplyClass.THROTTLED, H),
    "421 4.7.28 Gmail has detected an unusual rate of mail with this Message-ID":
        (ReplyClass.THROTTLED, H),
    "450 4.7.28 Our system has detected an unusual rate": (ReplyClass.THROTTLED, H),
    "450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents":
        (ReplyClass.THROTTLED, M),
    "452 4.2.2 The recipient's inbox is out of storage space": (ReplyClass.MAILBOX_FULL, M),
    "421 4.7.26 This mail has been blocked because the sender is unauthenticated":
        (ReplyClass.MESSAGE, ONE),
    "550 5.7.26 This mail is unauthenticated": (ReplyClass.MESSAGE, ONE),
    "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints":
        (ReplyClass.THROTTLED, H),
    "421 [TS01] Messages temporarily deferred": (ReplyClass.THROTTLED, H),
    "450 4.2.0 <a@b>: Recipient address rejected: Greylisted, see http://postgrey.example":
        (ReplyClass.GREYLISTED, ONE),
    "451 4.7.0 Grey-listed, come back in 300 seconds": (ReplyClass.GREYLISTED, ONE),
    "451 4.7.1 Greylisting in action, please come back later": (ReplyClass.GREYLISTED, ONE),
    "450 gray listed": (ReplyClass.GREYLISTED, ONE),
    "451 4.7.1 Try again later": (ReplyClass.GREYLISTED, ONE),
    "451 4.7.0 Temporary server error. Please try again later. PRX2":
        (ReplyClass.UNAVAILABLE, ONE),
    "454 4.7.0 TLS not available due to temporary reason": (ReplyClass.UNAVAILABLE, ONE),
    "450 4.7.1 Too many connections from your address": (ReplyClass.THROTTLED, H),
    "450 4.2.2 too many messages in this mailbox": (ReplyClass.MAILBOX_FULL, M),
    "552 5.2.2 mailbox full": (ReplyClass.MAILBOX_FULL, M),
    "552 Quota exceeded": (ReplyClass.MAILBOX_FULL, M),
    "552 5.3.4 Message too big for system": (ReplyClass.MESSAGE, ONE),
    "530 5.7.0 Authentication required": (ReplyClass.MISCONFIGURED, H),
    "550 5.1.1 The email account that you tried to reach does not exist":
        (ReplyClass.UNKNOWN_RECIPIENT, M),
    "556 5.1.10 no mail for this domain": (ReplyClass.UNKNOWN_RECIPIENT, M),
    "550 No such user here": (ReplyClass.UNKNOWN_RECIPIENT, M),
    "550 5.2.1 mailbox disabled": (ReplyClass.REJECTED, M),
    "421 4.3.2 Service not available": (ReplyClass.UNAVAILABLE, H),
    "451 4.3.0 trouble": (ReplyClass.UNAVAILABLE, ONE),
    "554 5.7.1 spam": (ReplyClass.REJECTED, ONE),
    "250 2.0.0 accepted": (ReplyClass.ACCEPTED, ONE),
    "354 go on": (ReplyClass.ACCEPTED, ONE),
    "200 4.7.1 greylisted": (ReplyClass.ACCEPTED, ONE),
}  # fmt: skip


@pytest.mark.parametrize(("line", "meant"), SEEN.items(), ids=lambda value: str(value)[:40])
def test_knows_what_receivers_mean(line: str, meant: tuple[ReplyClass, Scope]) -> None:
    assert classify(Reply.own(line)) == meant


def test_every_row_is_met_by_a_reply_that_was_seen() -> None:
    deciding = {
        next((row for row in ROWS if row.matches(Reply.own(line))), None)
        for line, (reply_class, _) in SEEN.items()
        if reply_class is not ReplyClass.ACCEPTED
    }
    assert set(ROWS) - deciding == set()

"""Replies: how they are read."""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.unit.strategies import replies, statuses
from waypost.reply import EnhancedStatus, Reply


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

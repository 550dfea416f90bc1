"""What is recorded is on disk, and comes back as it was."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from waypost.address import Address
from waypost.journal import Journal, JournalTrouble
from waypost.outcome import Attempt, Bounced, Deferred, Sent, Stage
from waypost.reply import EnhancedStatus, Reply, ReplyClass, Scope

replies = st.builds(
    Reply,
    st.integers(200, 599),
    st.none() | st.builds(EnhancedStatus, st.sampled_from([2, 4, 5]), st.just(7), st.just(650)),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
judged = (replies, st.sampled_from(ReplyClass), st.sampled_from(Scope), st.sampled_from(Stage))
outcomes = (
    st.builds(Sent, replies)
    | st.builds(Deferred, *judged, st.booleans())
    | st.builds(Bounced, *judged)
)
attempts = st.builds(
    Attempt,
    st.just("user1@mydomain.net"),
    st.sampled_from(["a@gmail.com", "b@gmail.com"]),
    st.sampled_from([Address.parse("a@gmail.com"), Address.parse('"a b"@xn--bcher-kva.de')]),
    st.just("mx:gmail.com"),
    st.floats(0, 4e9),
    outcomes,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(made=st.lists(attempts, max_size=5))
async def test_attempts_come_back_in_order_from_a_journal_opened_anew(
    tmp_path_factory: pytest.TempPathFactory, made: list[Attempt]
) -> None:
    state = tmp_path_factory.mktemp("state")
    journal = Journal.open(state)
    for attempt in made:
        await journal.record("id1", "print1", attempt)
    await journal.close()
    again = Journal.open(state)
    assert await again.load("id1", "print1") == made
    await again.close()


async def test_rows_of_another_message_are_not_ours(tmp_path: Path) -> None:
    reply = Reply.own("250 2.0.0 ok")
    attempt = Attempt("r", "l", Address.parse("a@b"), "mx:b", 1.0, Sent(reply))
    journal = Journal.open(tmp_path)
    await journal.record("id1", "print1", attempt)
    assert await journal.load("id1", "print2") == []
    assert await journal.load("id2", "print1") == []
    await journal.close()


async def test_text_that_is_no_utf8_is_kept_readable(tmp_path: Path) -> None:
    reply = Reply(250, None, b"\xfc ok".decode("utf-8", "surrogateescape"))
    journal = Journal.open(tmp_path)
    await journal.record("i", "p", Attempt("r", "l", Address.parse("a@b"), "n", 1.0, Sent(reply)))
    [attempt] = await journal.load("i", "p")
    assert attempt.outcome.reply.text == "\\udcfc ok"
    await journal.close()


async def test_a_journal_that_cannot_be_written_is_trouble(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    other = sqlite3.connect(tmp_path / "journal.sqlite")
    other.execute("DROP TABLE attempts")
    other.commit()
    other.close()
    with pytest.raises(JournalTrouble, match="no such table"):
        await journal.load("i", "p")
    await journal.close()


def test_a_file_that_is_no_database_is_trouble_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"this is no database, whatever it may be " * 50)
    with pytest.raises(JournalTrouble, match=r"journal\.sqlite: file is not a database"):
        Journal.open(tmp_path)


def test_a_journal_of_another_version_is_not_touched(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "journal.sqlite") as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(JournalTrouble, match="schema 99, this one has 1"):
        Journal.open(tmp_path)

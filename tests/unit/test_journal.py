"""What is recorded is on disk, comes back as it was, and is missed by nobody."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from waypost.address import Address
from waypost.delivery.ledger import Ledgers
from waypost.health import Circuit
from waypost.journal import Identity, Journal, JournalTrouble, Offer
from waypost.journal.schema import MIGRATIONS, VERSION
from waypost.outcome import Attempt, Bounced, Deferred, Sent, Stage
from waypost.reply import EnhancedStatus, Reply, ReplyClass, Scope

OFFER = Offer("4ABC", "entry1", "me@mydomain.net", "a" * 16, "print1")
ME = Identity("a" * 16, "print1")
NOW = 1e9

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


def attempt(at: float = NOW, text: str = "ok") -> Attempt:
    outcome = Sent(Reply(250, None, text))
    return Attempt(
        "me@mydomain.net", "me@gmail.com", Address.parse("a@b.de"), "mx:b.de", at, outcome
    )


def opened(state: Path) -> Journal:
    return Journal(state, clock=lambda: NOW)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = opened(tmp_path)
    yield journal
    await journal.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(made=st.lists(attempts, max_size=5))
async def test_attempts_come_back_in_order_from_a_journal_opened_anew(
    tmp_path_factory: pytest.TempPathFactory, made: list[Attempt]
) -> None:
    state = tmp_path_factory.mktemp("state")
    journal = opened(state)
    identity = await journal.identify(OFFER)
    for each in made:
        await journal.record(identity, each)
    await journal.close()
    again = opened(state)
    assert await again.load(await again.identify(OFFER)) == made
    await again.close()


async def test_what_is_not_waited_for_is_written_in_its_turn(journal: Journal) -> None:
    journal.record(ME, attempt())
    assert await journal.load(ME) == [attempt()]


async def test_many_at_once_are_all_written(journal: Journal) -> None:
    made = [attempt(NOW + number) for number in range(200)]
    await asyncio.gather(*(journal.record(ME, each) for each in made))
    assert await journal.load(ME) == made


async def test_closing_waits_for_what_was_started(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in range(50):
        journal.record(ME, attempt(NOW + number))
    await journal.close()
    again = opened(tmp_path)
    assert len(await again.load(ME)) == 50
    await again.close()


async def test_rows_of_another_message_are_not_ours(journal: Journal) -> None:
    await journal.record(ME, attempt())
    assert await journal.load(Identity(ME.id, "print2")) == []
    assert await journal.load(Identity("b" * 16, ME.fingerprint)) == []


async def test_the_first_offer_of_a_queue_file_names_the_message(journal: Journal) -> None:
    by_net = Offer(OFFER.queue_id, OFFER.entry, OFFER.recipient, "0net", "entry1")
    assert await journal.identify(OFFER) == ME
    assert await journal.identify(by_net) == ME
    # Another recipient, another queue file under a reused id: other messages.
    other = Offer(OFFER.queue_id, OFFER.entry, "you@mydomain.net", "0net", "entry1")
    reused = Offer(OFFER.queue_id, "entry2", OFFER.recipient, "0net", "entry2")
    assert await journal.identify(other) == Identity("0net", "entry1")
    assert await journal.identify(reused) == Identity("0net", "entry2")


async def test_the_milter_s_id_survives_a_new_queue_id(journal: Journal) -> None:
    requeued = Offer("4DEF", "entry2", OFFER.recipient, OFFER.id, OFFER.fingerprint)
    assert await journal.identify(OFFER) == await journal.identify(requeued)


async def test_text_that_is_no_utf8_is_kept_readable(journal: Journal) -> None:
    text = b"\xfc ok".decode("utf-8", "surrogateescape")
    await journal.record(ME, attempt(text=text))
    [kept] = await journal.load(ME)
    assert kept.outcome.reply.text == "\\udcfc ok"


async def test_circuits_survive_a_restart(tmp_path: Path) -> None:
    circuit = Circuit("mx:gmail.com", 3, NOW, 60.0, NOW + 60, None, "421 throttled")
    journal = opened(tmp_path)
    journal.save_circuit(circuit)
    await journal.close()
    again = opened(tmp_path)
    assert await again.circuits() == [circuit]
    await again.close()


async def test_pruning_forgets_what_is_old_and_nothing_else(journal: Journal) -> None:
    for number in range(1500):
        journal.record(ME, attempt(NOW - 100 - number))
    await journal.record(ME, attempt(NOW))
    assert await journal.prune(NOW - 50) == 1500
    assert await journal.load(ME) == [attempt(NOW)]
    assert await journal.prune(NOW - 50) == 0


async def test_pruning_forgets_identities(tmp_path: Path) -> None:
    now = NOW
    journal = Journal(tmp_path, clock=lambda: now)
    await journal.identify(OFFER)
    assert await journal.prune(NOW + 1) == 1
    assert await journal.identify(Offer("4ABC", "entry1", OFFER.recipient, "0", "e")) == Identity(
        "0", "e"
    )
    await journal.close()


async def test_an_attempt_that_could_not_be_written_is_written_before_any_other_try(
    tmp_path: Path,
) -> None:
    journal = opened(tmp_path)
    await journal.identify(OFFER)
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite")) as other:
        # As a full disk does: reading goes on, and no row can be added.
        other.execute(
            "CREATE TRIGGER full BEFORE INSERT ON attempts"
            " BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
        with pytest.raises(JournalTrouble, match="disk is full"):
            await journal.record(ME, attempt())
        with pytest.raises(JournalTrouble, match="disk is full"):
            await journal.identify(OFFER)
        other.execute("DROP TRIGGER full")
    assert await journal.load(await journal.identify(OFFER)) == [attempt()]
    await journal.close()


async def test_a_try_that_begins_while_an_attempt_fails_to_be_written_knows_of_it(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await journal.identify(OFFER)
    writing, go_on = threading.Event(), threading.Event()

    def disk_full(*_: object) -> None:
        writing.set()
        go_on.wait(30)
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("waypost.journal.journal._insert", disk_full)
        written = journal.record(ME, attempt())
        await asyncio.to_thread(writing.wait, 30)
    trying = asyncio.create_task(journal.identify(OFFER))
    await asyncio.sleep(0)
    go_on.set()
    assert await journal.load(await trying) == [attempt()]
    with pytest.raises(JournalTrouble):
        await written


async def test_a_journal_that_cannot_be_written_is_trouble_before_any_attempt(
    tmp_path: Path,
) -> None:
    journal = opened(tmp_path)
    await journal.identify(OFFER)
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite")) as other:
        other.execute(
            "CREATE TRIGGER full BEFORE UPDATE ON identities"
            " BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
    with pytest.raises(JournalTrouble, match="disk is full"):
        await journal.identify(OFFER)
    await journal.close()


async def test_a_file_that_is_no_database_is_trouble_until_it_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite"
    file.write_bytes(b"this is no database, whatever it may be " * 50)
    journal = opened(tmp_path)
    for _ in range(2):
        with pytest.raises(JournalTrouble, match=r"journal\.sqlite: file is not a database"):
            await journal.identify(OFFER)
    file.unlink()
    assert await journal.identify(OFFER) == ME
    await journal.close()


async def test_a_journal_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite")) as other:
        other.execute("PRAGMA user_version = 99")
    journal = opened(tmp_path)
    with pytest.raises(JournalTrouble, match="schema 99, this one has"):
        await journal.identify(OFFER)
    await journal.close()


@pytest.mark.parametrize("version", range(1, VERSION))
async def test_a_journal_of_an_older_version_is_carried_over(tmp_path: Path, version: int) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite")) as old:
        for migration in MIGRATIONS[:version]:
            old.executescript(migration)
        old.execute(f"PRAGMA user_version = {version}")
        values = (ME.id, ME.fingerprint, "r", "l", "a@b.de", "mx:b.de", 1.0, "sent")
        old.execute(
            "INSERT INTO attempts VALUES (?,?,?,?,?,?,?,?,NULL,NULL,NULL,0,250,NULL,'ok')", values
        )
        old.commit()
    journal = opened(tmp_path)
    assert len(await journal.load(ME)) == 1
    assert await journal.identify(OFFER) == ME
    await journal.close()


async def test_a_row_that_cannot_be_read_is_trouble_of_its_message_only(tmp_path: Path) -> None:
    """Damage, or a class that only a newer version knows."""
    journal = opened(tmp_path)
    await journal.record(ME, attempt())
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite")) as other:
        other.execute("UPDATE attempts SET stage = 'dot', class = 'no such', scope = 'host'")
        other.commit()
    with pytest.raises(JournalTrouble, match="no such"):
        await journal.load(ME)
    another = Identity("b" * 16, "print2")
    await journal.record(another, attempt())
    assert await journal.load(another) == [attempt()]
    await journal.close()


async def test_who_stops_waiting_stops_nothing(journal: Journal) -> None:
    async with Ledgers(journal).open(OFFER) as ledger:
        waiting = asyncio.create_task(ledger.record(attempt(), wait=True))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await journal.load(ME) == [attempt()]

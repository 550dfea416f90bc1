"""The journal of one state directory.

Owns the file `journal.sqlite`: attempts, identities and circuits. The developer documentation
(architecture, "What the journal knows") says why each is kept. One daemon at a time works with a
state directory, so nothing here guards against another one.

Promises: what `record` is done with is on disk; `load` gives back what was recorded, in order.
Every trouble is a `JournalTrouble`, to which the only answer is 4xx. An attempt that could not be
written is kept in memory and written before any other try begins, so that a full disk makes nothing
twice.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from waypost.health import Circuit
from waypost.journal.database import Database, JournalTrouble
from waypost.journal.reading import FILE
from waypost.journal.rows import COLUMNS, from_circuit, to_attempt, to_circuit, to_row
from waypost.outcome import Attempt

PRUNE_AT_ONCE = 1000
"""Rows deleted in one transaction, so that no delivery waits for long."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Offer:
    """A recipient of a message as Postfix offers it."""

    queue_id: str
    """Empty when it is not known."""
    entry: str
    """The fingerprint with the topmost Received: what tells this queue file from a later one."""
    recipient: str
    id: str
    """By the route address, or made for a recipient without one."""
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Identity:
    """What the journal knows a message by: the first id that its queue file was offered by, and the
    fingerprint that binds the id to this message.
    """

    id: str
    fingerprint: str


class Journal:
    """The journal under `state`. `clock` gives seconds since the epoch."""

    def __init__(self, state: Path, *, clock: Callable[[], float]) -> None:
        self._database = Database(state / FILE)
        self._clock = clock
        self._unwritten: list[tuple[Identity, Attempt]] = []
        self._writing_what_is_left = asyncio.Lock()

    async def identify(self, offer: Offer) -> Identity:
        """What the message that is offered is known by.

        Raises JournalTrouble also when nothing can be written: what could not be recorded must not
        be attempted.
        """
        now = self._clock()
        identity = await self._database.run(lambda each: _identify(each, offer, now), durable=False)
        # Behind it, for what was recorded before may have failed only now.
        await self._write_what_is_left()
        return identity

    async def load(self, identity: Identity) -> list[Attempt]:
        """The attempts for a message, whichever recipients they served, oldest first.

        Raises JournalTrouble.
        """
        return await self._database.run(lambda each: _load(each, identity), durable=False)

    def record(self, identity: Identity, attempt: Attempt) -> asyncio.Future[None]:
        """Write an attempt; it is on disk when what is returned is done. Raises JournalTrouble."""

        def keep_if_unwritten(done: asyncio.Future[None]) -> None:
            if done.exception() is not None:
                self._unwritten.append((identity, attempt))

        written = self._database.start(
            lambda each: _insert(each, [(identity, attempt)]), durable=True
        )
        written.add_done_callback(keep_if_unwritten)
        return written

    async def circuits(self) -> list[Circuit]:
        """The circuits as they were last saved. Raises JournalTrouble."""
        return await self._database.run(_circuits, durable=False)

    def save_circuit(self, circuit: Circuit) -> None:
        """Keep a circuit over a restart, in time; trouble is logged and otherwise no matter."""
        self._database.start(lambda each: _save(each, circuit), durable=False)

    async def prune(self, before: float) -> int:
        """Forget what is older than `before` (seconds since the epoch); the number of rows.

        Raises JournalTrouble.
        """
        total = 0
        while deleted := await self._database.run(lambda each: _prune(each, before), durable=False):
            total += deleted
        return total

    async def close(self) -> None:
        """Write what is left, as far as that is possible, and close the file."""
        try:
            await self._write_what_is_left()
        except JournalTrouble:
            _log.error("journal_incomplete", attempts=len(self._unwritten))
        await self._database.close()

    async def _write_what_is_left(self) -> None:
        # One at a time: nothing may be begun while what was not written is still on its way.
        async with self._writing_what_is_left:
            rows = list(self._unwritten)
            if rows:
                await self._database.run(lambda each: _insert(each, rows), durable=True)
                del self._unwritten[: len(rows)]


def _identify(connection: sqlite3.Connection, offer: Offer, now: float) -> Identity:
    # Of two offers of one queue file, by the milter's id and by none, the first one names it. The
    # time is written again and again, so that a full disk shows before the attempt.
    message_id, fingerprint = connection.execute(
        "INSERT INTO identities VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET at = excluded.at RETURNING id, fingerprint",
        (offer.queue_id, offer.entry, offer.recipient, offer.id, offer.fingerprint, now),
    ).fetchone()
    return Identity(message_id, fingerprint)


def _load(connection: sqlite3.Connection, identity: Identity) -> list[Attempt]:
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM attempts WHERE id = ? AND fingerprint = ? ORDER BY rowid",
        (identity.id, identity.fingerprint),
    )
    return [to_attempt(*row) for row in rows]


def _insert(connection: sqlite3.Connection, rows: Iterable[tuple[Identity, Attempt]]) -> None:
    connection.executemany(
        "INSERT INTO attempts VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        [(identity.id, identity.fingerprint, *to_row(attempt)) for identity, attempt in rows],
    )


def _circuits(connection: sqlite3.Connection) -> list[Circuit]:
    return [to_circuit(row) for row in connection.execute("SELECT * FROM circuits")]


def _save(connection: sqlite3.Connection, circuit: Circuit) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO circuits VALUES (?, ?, ?, ?, ?, ?)", from_circuit(circuit)
    )


_PRUNING = (
    "DELETE FROM attempts WHERE rowid IN (SELECT rowid FROM attempts WHERE at < ? LIMIT ?)",
    """
    DELETE FROM identities WHERE (queue_id, entry, recipient) IN
        (SELECT queue_id, entry, recipient FROM identities WHERE at < ? LIMIT ?)
    """,
)


def _prune(connection: sqlite3.Connection, before: float) -> int:
    return sum(
        connection.execute(statement, (before, PRUNE_AT_ONCE)).rowcount for statement in _PRUNING
    )

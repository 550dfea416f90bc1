"""The memory of attempts, so that a retry repeats nothing that succeeded.

Owns the SQLite database `journal.sqlite` in the state directory. One thread of its own does the
reading and writing, so that an fsync never holds up the event loop.

Promises: when `record` returns, the attempt is on disk (WAL with synchronous=FULL, see
"PRAGMA synchronous" in SQLite's documentation); `load` gives back what was recorded, in order.
Every trouble is a `JournalTrouble`, to which the only answer is 4xx.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from waypost.address import Address
from waypost.outcome import Attempt, Bounced, Deferred, Outcome, Sent, Stage
from waypost.reply import EnhancedStatus, Reply, ReplyClass, Scope

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE attempts (
    id TEXT NOT NULL, fingerprint TEXT NOT NULL,
    recipient TEXT NOT NULL, leg TEXT NOT NULL, destination TEXT NOT NULL, next_hop TEXT NOT NULL,
    at REAL NOT NULL, outcome TEXT NOT NULL, stage TEXT, class TEXT, scope TEXT,
    ambiguous INTEGER NOT NULL, code INTEGER NOT NULL, status TEXT, text TEXT NOT NULL
) STRICT;
CREATE INDEX attempts_of_message ON attempts (id, fingerprint);
"""

_T = TypeVar("_T")


class JournalTrouble(Exception):  # it reads as what it says
    """The journal cannot be read or written; mail has to wait."""


class Journal:
    """The journal of one state directory. Create it with `Journal.open`."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread

    @classmethod
    def open(cls, state: Path) -> Journal:
        """Open or create the journal under `state`. Raises JournalTrouble."""
        path = state / "journal.sqlite"
        thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        try:
            return cls(thread.submit(_connect, path).result(), thread)
        except sqlite3.Error as error:
            thread.shutdown()
            raise JournalTrouble(f"{path}: {error}") from error

    async def load(self, message_id: str, fingerprint: str) -> list[Attempt]:
        """The attempts for one message, oldest first. Raises JournalTrouble."""
        return await self._in_thread(lambda: self._load(message_id, fingerprint))

    async def record(self, message_id: str, fingerprint: str, attempt: Attempt) -> None:
        """Put one attempt on disk. Raises JournalTrouble."""
        await self._in_thread(lambda: self._record(message_id, fingerprint, attempt))

    async def close(self) -> None:
        """Close the database; pending writes are finished first."""
        await self._in_thread(self._connection.close)
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            # A write under way is finished even if nobody waits for it any more.
            return await asyncio.shield(
                asyncio.get_running_loop().run_in_executor(self._thread, work)
            )
        except sqlite3.Error as error:
            raise JournalTrouble(str(error)) from error

    def _load(self, message_id: str, fingerprint: str) -> list[Attempt]:
        rows = self._connection.execute(
            "SELECT recipient, leg, destination, next_hop, at, outcome, stage, class, scope,"
            " ambiguous, code, status, text FROM attempts"
            " WHERE id = ? AND fingerprint = ? ORDER BY rowid",
            (message_id, fingerprint),
        )
        return [_attempt(*row) for row in rows]

    def _record(self, message_id: str, fingerprint: str, attempt: Attempt) -> None:
        with self._connection:
            self._connection.execute(
                "INSERT INTO attempts VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (message_id, fingerprint, *_row(attempt)),
            )


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10.0)
    try:
        _prepare(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")
    elif version != SCHEMA_VERSION:
        raise sqlite3.DatabaseError(
            f"written by another version of Waypost (schema {version}, this one has"
            f" {SCHEMA_VERSION})"
        )


def _row(attempt: Attempt) -> tuple[str | float | None, ...]:
    outcome, reply = attempt.outcome, attempt.outcome.reply
    told: tuple[str | int | None, ...]
    if isinstance(outcome, Sent):
        told = ("sent", None, None, None, 0)
    else:
        name = "deferred" if isinstance(outcome, Deferred) else "bounced"
        ambiguous = isinstance(outcome, Deferred) and outcome.ambiguous
        told = (name, outcome.stage, outcome.reply_class, outcome.scope, int(ambiguous))
    status = str(reply.status) if reply.status else None
    # A receiver's text may hold bytes that are not UTF-8 (as lone surrogates); SQLite takes none.
    text = reply.text.encode(errors="backslashreplace").decode()
    return (
        attempt.recipient, attempt.leg, str(attempt.to), attempt.next_hop, attempt.at,
        *told, reply.code, status, text,
    )  # fmt: skip


def _attempt(
    recipient: str, leg: str, destination: str, next_hop: str, at: float,
    outcome: str, stage: str | None, reply_class: str | None, scope: str | None,
    ambiguous: int, code: int, status: str | None, text: str,
) -> Attempt:  # fmt: skip
    reply = Reply(code, EnhancedStatus.parse(status) if status else None, text)
    return Attempt(
        recipient, leg, Address.parse(destination), next_hop, at,
        _outcome(outcome, reply, stage, reply_class, scope, bool(ambiguous)),
    )  # fmt: skip


def _outcome(
    name: str,
    reply: Reply,
    stage: str | None,
    reply_class: str | None,
    scope: str | None,
    ambiguous: bool,
) -> Outcome:
    if stage is None or reply_class is None or scope is None:
        return Sent(reply)
    told = (ReplyClass(reply_class), Scope(scope), Stage(stage))
    return Bounced(reply, *told) if name == "bounced" else Deferred(reply, *told, ambiguous)

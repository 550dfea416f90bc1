"""The thread that the database lives in, and transactions that concurrent deliveries share.

Owns the SQLite connection. Work is handed over as functions; what has gathered while a transaction
was under way goes into the next one, so that many deliveries wait for one fsync.

Promises: when a durable `run` returns, its work is on disk (WAL with synchronous=FULL; see
"PRAGMA synchronous" in SQLite's documentation). Work that is not durable survives the end of this
process, not that of the machine. Trouble with the file is a `JournalTrouble`; the next work opens
the file anew, so that a repaired one is used at once.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from waypost.journal.schema import prepare

LOCK_SECONDS = 10.0
"""How long another process may hold the file before that is trouble."""

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class JournalTrouble(Exception):
    """The journal cannot be read or written; mail has to wait."""


@dataclass(frozen=True, slots=True)
class _Job(Generic[T]):
    work: Work[T]
    durable: bool
    done: asyncio.Future[T]


class Database:
    """The database in the file `path`. Every method belongs to one event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._connection: sqlite3.Connection | None = None
        self._jobs: list[_Job[object]] = []
        self._working: asyncio.Task[None] | None = None

    async def run(self, work: Work[T], *, durable: bool) -> T:
        """Do `work` in a transaction. It goes on even if nobody waits for it any more.

        Raises JournalTrouble; then nothing of it has happened.
        """
        return await asyncio.shield(self.start(work, durable=durable))

    def start(self, work: Work[T], *, durable: bool) -> asyncio.Future[T]:
        """Have `work` done in its turn, without waiting for it."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        # Whoever waits gets the exception; it has been logged, so nobody needs to.
        done.add_done_callback(lambda each: each.cancelled() or each.exception())
        self._jobs.append(_Job(work, durable, done))  # type: ignore[arg-type]
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return done

    async def close(self) -> None:
        """Finish what was started, and close the file."""
        while self._working is not None:
            await asyncio.wait([self._working])
        await asyncio.get_running_loop().run_in_executor(self._thread, self._hang_up)
        self._thread.shutdown()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._jobs:
            jobs, self._jobs = self._jobs, []
            try:
                results = await loop.run_in_executor(self._thread, self._transact, jobs)
            except Exception as error:  # of SQLite, or of a row that is not what it should be
                _log.error("journal_trouble", file=str(self._path), error=str(error))
                for job in jobs:
                    job.done.set_exception(JournalTrouble(f"{self._path}: {error}"))
            else:
                for job, result in zip(jobs, results, strict=True):
                    job.done.set_result(result)
        self._working = None

    def _transact(self, jobs: list[_Job[object]]) -> list[object]:
        try:
            connection = self._connection = self._connection or _connect(self._path)
            mode = "FULL" if any(job.durable for job in jobs) else "NORMAL"
            connection.execute(f"PRAGMA synchronous = {mode}")
            connection.execute("BEGIN IMMEDIATE")
            results = [job.work(connection) for job in jobs]
            connection.execute("COMMIT")
        except Exception:
            self._hang_up()
            raise
        return results

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        prepare(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection

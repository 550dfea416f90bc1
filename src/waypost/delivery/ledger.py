"""What is known of a message while it is being delivered.

Owns the attempts for one message, read from the journal once and kept in step with it, and the
locks that keep attempts at one mailbox from overlapping, whichever recipients they serve.

Promises: an attempt is known to every walk as soon as it is on disk, and not before.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from waypost.journal import Journal
from waypost.outcome import Attempt
from waypost.plan import History


class Ledger:
    """The attempts for one message. Get it from `Ledgers.open`."""

    def __init__(self, message_id: str, fingerprint: str, journal: Journal) -> None:
        self.id = message_id
        self._fingerprint = fingerprint
        self._journal = journal
        self._attempts: list[Attempt] = []
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._loaded: asyncio.Task[None] | None = None
        self.users = 0

    async def load(self) -> None:
        """Read the journal, once. Raises JournalTrouble."""
        if self._loaded is None:
            self._loaded = asyncio.create_task(self._load())
        await asyncio.shield(self._loaded)

    async def _load(self) -> None:
        self._attempts = await self._journal.load(self.id, self._fingerprint)

    @property
    def length(self) -> int:
        """How many attempts are known: where a try that begins now starts."""
        return len(self._attempts)

    def history(self, start: int) -> History:
        """The attempts as a try sees them that began when `start` attempts were known."""
        return History(self._attempts[:start], self._attempts[start:])

    def lock(self, destination: str) -> asyncio.Lock:
        """Held during an attempt at the mailbox with this key."""
        return self._locks[destination]

    async def record(self, attempt: Attempt) -> None:
        """Put an attempt on disk, then make it known. Raises JournalTrouble."""
        await self._journal.record(self.id, self._fingerprint, attempt)
        self._attempts.append(attempt)


class Ledgers:
    """The ledgers in use."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._open: dict[tuple[str, str], Ledger] = {}

    @asynccontextmanager
    async def open(self, message_id: str, fingerprint: str) -> AsyncIterator[Ledger]:
        """The ledger of a message, shared by all that use it at the time. Raises JournalTrouble."""
        key = (message_id, fingerprint)
        ledger = self._open.get(key)
        if ledger is None:
            ledger = self._open[key] = Ledger(message_id, fingerprint, self._journal)
        ledger.users += 1
        try:
            await ledger.load()
            yield ledger
        finally:
            ledger.users -= 1
            if ledger.users == 0:
                del self._open[key]

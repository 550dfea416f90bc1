"""What is known of a message while it is being delivered.

Owns the attempts for one message, read from the journal once and kept in step with it, and the
locks that keep attempts at one mailbox from overlapping, whichever recipients they serve.

Promises: an attempt is known to every walk of this message at once; `record` has it on disk when it
returns, unless told that nobody needs to wait for that.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from waypost.journal import Identity, Journal, Offer
from waypost.outcome import Attempt
from waypost.plan import History


class Ledger:
    """The attempts for one message. Get it from `Ledgers.open`."""

    def __init__(self, identity: Identity, journal: Journal) -> None:
        self.id = identity.id
        self.users = 0
        self._identity = identity
        self._journal = journal
        self._attempts: list[Attempt] = []
        self._loaded: asyncio.Task[None] | None = None
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def load(self) -> None:
        """Read the journal, once. Raises JournalTrouble."""
        if self._loaded is None:
            self._loaded = asyncio.create_task(self._load())
        await asyncio.shield(self._loaded)

    async def _load(self) -> None:
        self._attempts = await self._journal.load(self._identity)

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

    async def record(self, attempt: Attempt, *, wait: bool) -> None:
        """Make an attempt known and put it on disk. Raises JournalTrouble if it is to `wait`."""
        self._attempts.append(attempt)
        written = self._journal.record(self._identity, attempt)
        if wait:
            await asyncio.shield(written)


class Ledgers:
    """The ledgers in use."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._open: dict[Identity, Ledger] = {}

    @asynccontextmanager
    async def open(self, offer: Offer) -> AsyncIterator[Ledger]:
        """The ledger of a message, shared by all that use it at the time. Raises JournalTrouble."""
        identity = await self._journal.identify(offer)
        # Opened before it is read: an attempt recorded meanwhile is in it, or was written earlier.
        ledger = self._open.get(identity)
        if ledger is None:
            ledger = self._open[identity] = Ledger(identity, self._journal)
        ledger.users += 1
        try:
            await ledger.load()
            yield ledger
        finally:
            ledger.users -= 1
            if ledger.users == 0:
                del self._open[identity]

"""How many conversations each next hop has at once, and who has to wait for one.

Owns the bounds per next hop and the fairness between next hops. Used by `waypost.connections`:

    async with slots.take("mx:gmail.com", until=until) as slot:
        ...
        slot.ends_with(outcome)

Who has to wait for something else before it may take a slot waits by `wait`, so that it counts.

Promises: a next hop has at most `limit` conversations at once, fewer after it has complained, and
who came first goes first; next hops that make no progress hold no more than `share` deliveries of
all that Postfix has under way, so that mail for the others goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from waypost.outcome import Deferred, Outcome, Sent
from waypost.reply import ReplyClass, Scope

LIMIT = 20
"""Conversations with one next hop (postconf(5), default_destination_concurrency_limit)."""
SHARE = 50
"""Deliveries that next hops without progress may hold together: half of what the fragments for
master.cf let Postfix have under way."""
SLOW_SECONDS = 10.0
"""A next hop makes no progress when no conversation with it has ended for so long."""

T = TypeVar("T")

_COMPLAINTS = frozenset({ReplyClass.THROTTLED, ReplyClass.UNAVAILABLE})


class NoRoom(Exception):
    """Next hops without progress hold their share already; this delivery has to come again."""


@dataclass(slots=True)
class Slot:
    """One conversation; say how it ended."""

    outcome: Outcome | None = None

    def ends_with(self, outcome: Outcome) -> None:
        """What the next hop said: a complaint makes its limit smaller, a success larger."""
        self.outcome = outcome


@dataclass(slots=True, eq=False)
class _Line:
    limit: float
    progress: float
    """When a conversation last ended, or when there was none to wait for; by the clock."""
    talking: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    waiting_elsewhere: int = 0
    """How many wait for something else before they may take a slot."""

    @property
    def held(self) -> int:
        return self.talking + len(self.waiting) + self.waiting_elsewhere


class Slots:
    """The slots of all next hops."""

    def __init__(
        self,
        *,
        limit: int = LIMIT,
        share: int = SHARE,
        slow_seconds: float = SLOW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._share = share
        self._slow_seconds = slow_seconds
        self._clock = clock
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def take(self, next_hop: str, *, until: float) -> AsyncIterator[Slot]:
        """A slot, in its turn. Raises NoRoom, and TimeoutError at `until` (the loop's time)."""
        with self._line(next_hop) as line:
            await self._acquire(line, until)
            slot = Slot()
            try:
                yield slot
            finally:
                self._release(line, slot.outcome)

    async def wait(self, next_hop: str, what: Coroutine[object, object, T], *, until: float) -> T:
        """Wait for `what` as one that waits for `next_hop`: it is held up by it all the same.

        Raises NoRoom and TimeoutError like `take`; `what` is cancelled then.
        """
        task = asyncio.create_task(what)
        with self._line(next_hop) as line:
            line.waiting_elsewhere += 1
            try:
                self._refuse_beyond_share(line, 1)
                await self._wait(line, task, until)
            finally:
                line.waiting_elsewhere -= 1
                task.cancel()
        return task.result()

    @contextmanager
    def _line(self, next_hop: str) -> Iterator[_Line]:
        """The line of a next hop, forgotten when nobody is left in it."""
        now = self._clock()
        line = self._lines.get(next_hop)
        if line is None:
            line = self._lines[next_hop] = _Line(float(self._limit), now)
        if line.held == 0:
            line.progress = now
        try:
            yield line
        finally:
            if line.held == 0 and line.limit == self._limit:
                self._lines.pop(next_hop, None)

    async def _acquire(self, line: _Line, until: float) -> None:
        self._refuse_beyond_share(line, 0)
        if line.talking < int(line.limit) and not line.waiting:
            line.talking += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.waiting.append(turn)
        try:
            await self._wait(line, turn, until)
        except BaseException:
            if turn in line.waiting:
                line.waiting.remove(turn)
            else:
                self._release(line, None)
            raise

    async def _wait(self, line: _Line, turn: asyncio.Future[T], until: float) -> None:
        loop = asyncio.get_running_loop()
        while not turn.done():
            left = until - loop.time()
            if left <= 0:
                raise TimeoutError
            await asyncio.wait([turn], timeout=min(left, self._slow_seconds))
            if not turn.done():
                self._refuse_beyond_share(line, 1)

    def _refuse_beyond_share(self, line: _Line, own: int) -> None:
        """Raise NoRoom if `line` is slow and the slow ones hold the share without us (`own`)."""
        now = self._clock()
        slow = [each for each in self._lines.values() if now - each.progress >= self._slow_seconds]
        if line in slow and sum(each.held for each in slow) - own >= self._share:
            raise NoRoom

    def _release(self, line: _Line, outcome: Outcome | None) -> None:
        line.talking -= 1
        line.progress = self._clock()
        line.limit = self._adapted(line.limit, outcome)
        while line.waiting and line.talking < int(line.limit):
            line.talking += 1
            line.waiting.popleft().set_result(None)

    def _adapted(self, limit: float, outcome: Outcome | None) -> float:
        # Halved at a complaint, one more after as many successes as it has conversations.
        if isinstance(outcome, Sent):
            return min(limit + 1 / limit, float(self._limit))
        if (
            isinstance(outcome, Deferred)
            and outcome.scope is Scope.HOST
            and outcome.reply_class in _COMPLAINTS
        ):
            return max(limit / 2, 1.0)
        return limit

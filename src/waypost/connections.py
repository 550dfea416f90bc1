"""Connections to next hops: kept for reuse, and bounded.

Owns the idle connections and the number of conversations per next hop.

Promises: `attempt` always returns an outcome; a kept connection that turns out to be closed costs
one fresh connection and nothing else; no more than `limit` conversations with one next hop at once.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

from waypost.next_hop import HostFinder, Unreachable
from waypost.outcome import Deferred, Outcome, Stage
from waypost.reply import Reply, ReplyClass, Scope
from waypost.route import NextHop
from waypost.smtp_client import Connection, Mail, NoAnswer, Unavailable

LIMIT = 20
"""Conversations with one next hop at once (postconf(5), default_destination_concurrency_limit)."""
IDLE_SECONDS = 5.0
"""How long a connection is kept without work: receivers dislike idle ones (postconf(5),
smtp_connection_cache_time_limit is 2 s)."""

_Idle = tuple[Connection, asyncio.TimerHandle]


@dataclass(slots=True)
class _Line:
    """What is open to one next hop."""

    slots: asyncio.Semaphore
    idle: list[_Idle] = field(default_factory=list)


class Connections:
    """All connections of one configuration."""

    def __init__(
        self,
        hosts: HostFinder,
        *,
        helo: str,
        bind: str | None = None,
        limit: int = LIMIT,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._hosts = hosts
        self._helo = helo
        self._bind = bind
        self._idle_seconds = idle_seconds
        self._lines: dict[str, _Line] = defaultdict(lambda: _Line(asyncio.Semaphore(limit)))
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def attempt(self, next_hop: NextHop, mail: Mail, *, until: float) -> Outcome:
        """One attempt at one destination. `until` is the loop's time at which to give up, up to the
        answer to DATA.
        """
        line = self._lines[next_hop.name]
        try:
            async with asyncio.timeout_at(until):
                await line.slots.acquire()
        except TimeoutError:
            return _too_busy()
        try:
            return await self._attempt(line, next_hop, mail, until)
        finally:
            line.slots.release()

    async def close(self) -> None:
        """Hang up everywhere. Conversations under way go on; their connections are not kept."""
        self._closed = True
        for line in self._lines.values():
            while line.idle:
                connection, timer = line.idle.pop()
                timer.cancel()
                self._hang_up(connection)
        await asyncio.gather(*self._closing)

    async def _attempt(self, line: _Line, next_hop: NextHop, mail: Mail, until: float) -> Outcome:
        kept = self._take(line)
        if kept is not None:
            try:
                return await self._send(line, kept, mail, until, reused=True)
            except NoAnswer:
                pass
        try:
            connection = await self._open(next_hop, until)
        except (Unreachable, Unavailable) as error:
            return error.outcome
        return await self._send(line, connection, mail, until, reused=False)

    async def _open(self, next_hop: NextHop, until: float) -> Connection:
        """A connection to the first host that will talk. Raises Unreachable, Unavailable."""
        try:
            async with asyncio.timeout_at(until):
                hosts = await self._hosts.find(next_hop)
        except TimeoutError:
            raise Unavailable(_too_busy()) from None
        for host in hosts[:-1]:
            try:
                return await Connection.open(host, helo=self._helo, bind=self._bind, until=until)
            except Unavailable:
                continue
        return await Connection.open(hosts[-1], helo=self._helo, bind=self._bind, until=until)

    async def _send(
        self, line: _Line, connection: Connection, mail: Mail, until: float, *, reused: bool
    ) -> Outcome:
        try:
            return await connection.send(mail, until=until, reused=reused)
        finally:
            self._keep(line, connection)

    def _take(self, line: _Line) -> Connection | None:
        while line.idle:
            connection, timer = line.idle.pop()
            timer.cancel()
            if connection.usable:
                return connection
            self._hang_up(connection)
        return None

    def _keep(self, line: _Line, connection: Connection) -> None:
        if self._closed or not connection.usable:
            self._hang_up(connection)
            return
        timer = asyncio.get_running_loop().call_later(
            self._idle_seconds, self._expire, line, connection
        )
        line.idle.append((connection, timer))

    def _expire(self, line: _Line, connection: Connection) -> None:
        line.idle = [each for each in line.idle if each[0] is not connection]
        self._hang_up(connection)

    def _hang_up(self, connection: Connection) -> None:
        task = asyncio.create_task(connection.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _too_busy() -> Deferred:
    reply = Reply.own("451 4.4.5 the next hop was not free in time")
    return Deferred(reply, ReplyClass.TIMEOUT, Scope.HOST, Stage.CONNECT)

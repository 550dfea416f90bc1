"""Connections to next hops: kept for reuse, and bounded.

Owns the idle connections. How many conversations a next hop has at once is up to `slots`: whoever
calls `attempt` holds a slot from `slot`. A next hop is its whole value here, not its name: what was
opened with one TLS policy or login serves no other.

Promises: `attempt` always returns an outcome; a kept connection that turns out to be closed costs
one fresh connection and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TypeVar

from waypost.next_hop import HostFinder, Unreachable
from waypost.outcome import Deferred, Outcome, Stage
from waypost.reply import Reply, ReplyClass, Scope
from waypost.route import Host, NextHop
from waypost.slots import Slot, Slots
from waypost.smtp_client import Connection, Mail, NoAnswer, Opener, Unavailable

MESSAGES = 100
"""Messages given to one connection: receivers end longer ones by themselves, not always well."""
IDLE_SECONDS = 5.0
"""How long a connection is kept without work: receivers dislike idle ones (postconf(5),
smtp_connection_cache_time_limit is 2 s)."""

T = TypeVar("T")

_Idle = tuple[Connection, asyncio.TimerHandle]


@dataclass(slots=True)
class _Line:
    """What is open to one next hop."""

    opener: Opener
    idle: list[_Idle] = field(default_factory=list)


class Connections:
    """All connections of one configuration."""

    def __init__(
        self,
        hosts: HostFinder,
        *,
        helo: str,
        bind: str | None = None,
        idle_seconds: float = IDLE_SECONDS,
        slots: Slots | None = None,
    ) -> None:
        """`slots` may be shared by several, so that the bounds hold for all of them together."""
        self._hosts = hosts
        self._helo = helo
        self._bind = bind
        self._idle_seconds = idle_seconds
        self._slots = slots or Slots()
        self._lines: dict[NextHop, _Line] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def slot(self, next_hop: NextHop, *, until: float) -> AbstractAsyncContextManager[Slot]:
        """The right to one conversation (`Slots.take`); raises NoRoom and TimeoutError."""
        return self._slots.take(next_hop.name, until=until)

    async def wait(self, next_hop: NextHop, what: Coroutine[object, object, T], until: float) -> T:
        """Wait for `what` in the line of a next hop (`Slots.wait`); raises like `slot`."""
        return await self._slots.wait(next_hop.name, what, until=until)

    async def attempt(self, next_hop: NextHop, mail: Mail, *, until: float) -> Outcome:
        """One attempt at one destination. `until` is the loop's time at which to give up, up to the
        answer to DATA.
        """
        line = self._line(next_hop)
        kept = self._take(line)
        if kept is not None:
            try:
                return await self._send(line, kept, mail, until, reused=True)
            except NoAnswer:
                pass
        try:
            connection = await self._open(line.opener, until)
        except (Unreachable, Unavailable) as error:
            return error.outcome
        return await self._send(line, connection, mail, until, reused=False)

    async def close(self) -> None:
        """Hang up everywhere. Conversations under way go on; their connections are not kept."""
        self._closed = True
        for line in self._lines.values():
            while line.idle:
                connection, timer = line.idle.pop()
                timer.cancel()
                self._hang_up(connection)
        await asyncio.gather(*self._closing)
        # A transport that was aborted closes its socket in one of the loop's next turns.
        for _ in range(10):
            await asyncio.sleep(0)

    def _line(self, next_hop: NextHop) -> _Line:
        if next_hop not in self._lines:
            opener = Opener(next_hop, self._helo, self._bind)
            self._lines[next_hop] = _Line(opener)
        return self._lines[next_hop]

    async def _open(self, opener: Opener, until: float) -> Connection:
        """A connection to the first host that will talk. Raises Unreachable, Unavailable."""
        try:
            async with asyncio.timeout_at(until):
                hosts = await self._hosts.find(opener.next_hop)
        except TimeoutError:
            raise Unavailable(_no_hosts_in_time()) from None
        for host in hosts[:-1]:
            with contextlib.suppress(Unavailable):
                return await _open_by_any_address(opener, host, until)
        return await _open_by_any_address(opener, hosts[-1], until)

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
        if self._closed or not connection.usable or connection.messages >= MESSAGES:
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


async def _open_by_any_address(opener: Opener, host: Host, until: float) -> Connection:
    """A connection to the host at the first of its addresses that will talk. Raises Unavailable."""
    while True:
        try:
            return await opener.open(host, until=until)
        except Unavailable as error:
            others = tuple(each for each in host.addresses if each != error.address)
            # Elsewhere the same password would be as wrong, and the account be locked the sooner.
            if error.address is None or error.outcome.stage is Stage.AUTH or not others:
                raise
            host = Host(others, host.port)


def _no_hosts_in_time() -> Deferred:
    reply = Reply.own("451 4.4.3 no answer from DNS in time")
    return Deferred(reply, ReplyClass.DNS, Scope.HOST, Stage.DNS)

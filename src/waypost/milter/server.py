"""The milter that Postfix talks to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from waypost.address import RouteAddresses
from waypost.events import Event
from waypost.milter.conversation import Services
from waypost.milter.session import Patience, Session
from waypost.resolver import Resolver


class Milter:
    """Every connection of one milter; `protocol` is the factory for `loop.create_server` and
    `loop.create_unix_server`, whose listeners stay with the caller.
    """

    def __init__(
        self,
        *,
        resolver: Callable[[], Resolver],
        route_addresses: Callable[[], RouteAddresses],
        new_id: Callable[[], str],
        observe: Callable[[Event], None],
        clock: Callable[[], float],
        patience: Patience | None = None,
    ) -> None:
        """`resolver` and `route_addresses` are asked for with every recipient, so that a reload
        takes effect at once; `observe` must neither raise nor wait; `clock` gives seconds since the
        epoch.
        """
        self._services = Services(resolver, route_addresses, new_id, observe, clock)
        self._patience = patience or Patience()
        self._sessions: set[Session] = set()
        self._draining = False
        self._none_left = asyncio.Event()

    def protocol(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        return Session(self._services, self._patience, made=self._made, lost=self._lost)

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._sessions)

    async def drain(self, seconds: float) -> None:
        """Take no new message: close idle connections now, each other one at the end of its
        message, and after `seconds` all that are left. Close the listeners first.
        """
        self._draining = True
        for session in list(self._sessions):
            session.leave()
        try:
            async with asyncio.timeout(seconds):
                await self._wait_for_none_left()
        except TimeoutError:
            for session in list(self._sessions):
                session.abort()
            await self._wait_for_none_left()

    async def _wait_for_none_left(self) -> None:
        while self._sessions:
            self._none_left.clear()
            await self._none_left.wait()

    def _made(self, session: Session) -> None:
        self._sessions.add(session)
        if self._draining:
            session.leave()

    def _lost(self, session: Session) -> None:
        self._sessions.discard(session)
        self._none_left.set()

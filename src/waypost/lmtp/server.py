"""The server: a session for each connection, and the end of all of them."""

from __future__ import annotations

import asyncio
from typing import Final

from waypost.delivery import Delivery
from waypost.lmtp.room import Room
from waypost.lmtp.session import Session
from waypost.lmtp.wire import written
from waypost.reply import Reply

IDLE_SECONDS: Final = 600.0
"""How long a client may take for a command or for a content, and for reading our replies; RFC 5321
section 4.5.3.2.7 asks for at least 5 minutes."""
TOO_MANY_CONNECTIONS: Final = written(Reply.own("421 4.3.2 too many connections"))
"""The greeting for whom the server is not there."""
# A client that sends faster than we work is held back at twice this many octets.
_BUFFERED: Final = 1 << 16


class LmtpServer:
    """Answers on every delivery socket. `hostname` is the name it greets with."""

    def __init__(
        self,
        delivery: Delivery,
        *,
        hostname: str,
        idle_seconds: float = IDLE_SECONDS,
        room: Room | None = None,
    ) -> None:
        self._delivery = delivery
        self._hostname = hostname
        self._idle_seconds = idle_seconds
        self._room = room or Room()
        self._sessions: dict[asyncio.Task[None], Session] = {}
        self._draining = False

    def protocol(self) -> asyncio.Protocol:
        """One for each connection, for `loop.create_server` and `loop.create_unix_server`."""
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(_BUFFERED), self._start)

    def _start(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(
            reader, writer, self._delivery, self._room, self._hostname, self._idle_seconds
        )
        if self._draining:
            session.take_leave()
        task = asyncio.create_task(session.run())
        self._sessions[task] = session
        task.add_done_callback(self._sessions.pop)

    @property
    def connections(self) -> int:
        """How many there are; one whose client has gone counts until its deliveries are done."""
        return len(self._sessions)

    async def drain(self, seconds: float) -> None:
        """Take leave of all clients: of those past DATA after their replies, of others at once.

        Whoever is still there after `seconds` is disconnected; what is being delivered for them is
        `Delivery`'s to finish. Call it when the listening sockets are closed.
        """
        self._draining = True
        for session in self._sessions.values():
            session.take_leave()
        if self._sessions:
            await asyncio.wait(self._sessions, timeout=seconds)
        for session in self._sessions.values():
            session.disconnect()

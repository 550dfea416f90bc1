"""The doors: the sockets that Postfix connects to, and who is let in.

Owns binding, accepting, and the number of connections. Use:

    door = Listener(config.transport, "transport.listen", lmtp, most=1000)
    await door.bind()                     # raises CannotListen
    door.open()
    ...
    door.close()                          # those who are in stay in

Promises: accepting goes on whatever accept(2) says (out of files, say), and never spins; beyond
`most` a connection is refused at once; a socket file that was removed under us is made again. What
a burst does a thousand times is in the log once.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from waypost.config import Listen

BACKLOG: Final = 1024
"""Connections that wait to be accepted. With a full one Postfix's connect fails at once (unix(7),
EAGAIN)."""
_ACCEPTED_AT_ONCE: Final = 100
PAUSE_SECONDS: Final = 1.0
"""How long nobody is accepted after accept(2) has failed: nothing is freed by asking again."""
WATCH_SECONDS: Final = 5.0
"""How often a socket file is looked after."""
_QUIET_SECONDS: Final = 60.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class CannotListen(Exception):  # it reads as what it says
    """The place cannot be taken; the message names the thing, the place and the remedy."""


class Server(Protocol):
    """Who is behind a door."""

    def protocol(self) -> asyncio.Protocol:
        """The protocol of a new connection."""

    @property
    def connections(self) -> int:
        """How many connections there are."""


class Listener:
    """One `listen` of the configuration. `key` is its name there; beyond `most` connections each
    one is told `refusal` (octets, perhaps none) and closed.
    """

    def __init__(
        self,
        listen: Listen,
        key: str,
        server: Server,
        *,
        most: int,
        refusal: bytes = b"",
        pause_seconds: float = PAUSE_SECONDS,
        watch_seconds: float = WATCH_SECONDS,
    ) -> None:
        self._listen = listen
        self._key = key
        self._server = server
        self._most = most
        self._refusal = refusal
        self._pause_seconds = pause_seconds
        self._watch_seconds = watch_seconds
        self._sockets: list[socket.socket] = []
        self._entering: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._refusing = _Sparing("too_many_connections")
        self._failing = _Sparing("accept_failed")
        self._taken = _Sparing("socket_lost")

    async def bind(self) -> None:
        """Take the place; who connects has to wait until `open`. Raises CannotListen."""
        try:
            if self._listen.path is not None:
                self._sockets = [_bound_to_path(self._listen.path)]
            else:
                self._sockets = await _bound_to_port(self._listen)
        except OSError as error:
            reason = error.strerror or error
            raise CannotListen(f"{self._key}: cannot listen on {self._listen}: {reason}") from error

    def open(self) -> None:
        """Let them in."""
        self._resume()
        if self._listen.path is not None:
            self._inode = _inode(self._listen.path)
            self._later("watch", self._watch_seconds, self._watch)

    def close(self) -> None:
        """Let nobody in any more, and give the place up."""
        for timer in self._timers.values():
            timer.cancel()
        self._stop_accepting()
        for sock in self._sockets:
            sock.close()
        self._sockets = []

    def _later(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        self._timers[name] = asyncio.get_running_loop().call_later(seconds, action)

    def _resume(self) -> None:
        for sock in self._sockets:
            asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    def _stop_accepting(self) -> None:
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock)

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, _address = sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                # EMFILE and its like (accept(2)). Who waits goes on waiting, so that the socket
                # stays readable: looking at it at once would be all that is done from now on.
                self._failing.warn(listen=str(self._listen), reason=error.strerror)
                self._stop_accepting()
                self._later("pause", self._pause_seconds, self._resume)
                return
            connection.setblocking(False)
            if self._server.connections + len(self._entering) < self._most:
                self._let_in(connection)
            else:
                self._refuse(connection)

    def _let_in(self, connection: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._enter(connection))
        self._entering.add(task)
        task.add_done_callback(self._entering.discard)

    async def _enter(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(self._server.protocol, connection)
        except OSError:
            connection.close()  # it was gone before it was in

    def _refuse(self, connection: socket.socket) -> None:
        self._refusing.warn(listen=str(self._listen), most=self._most)
        with connection:
            try:
                connection.send(self._refusal)
            except OSError:
                return

    def _watch(self) -> None:
        """Listen anew where the socket file has gone: nobody could find us any more."""
        assert self._listen.path is not None
        self._later("watch", self._watch_seconds, self._watch)
        if _inode(self._listen.path) == self._inode:
            return
        try:
            sock = _bound_to_path(self._listen.path)
        except (CannotListen, OSError) as error:
            self._taken.warn(listen=str(self._listen), reason=str(error))
            return
        _log.warning("socket_made_again", listen=str(self._listen))
        [old] = self._sockets
        self._accept(old)  # who has found us before
        self._stop_accepting()
        old.close()
        self._sockets = [sock]
        self._inode = _inode(self._listen.path)
        self._resume()


class _Sparing:
    """An event that is logged once a minute, however often it happens."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._quiet_until = 0.0
        self._times = 0

    def warn(self, **fields: object) -> None:
        """It has happened; the field `times` tells how often since it was logged last."""
        self._times += 1
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until:
            _log.warning(self._event, times=self._times, **fields)
            self._quiet_until = now + _QUIET_SECONDS
            self._times = 0


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


async def _bound_to_port(listen: Listen) -> list[socket.socket]:
    loop = asyncio.get_running_loop()
    places = await loop.getaddrinfo(
        listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(places):
            sock = socket.create_server(address[:2], family=family, backlog=BACKLOG)
            sock.setblocking(False)
            sockets.append(sock)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bound_to_path(path: str) -> socket.socket:
    """Raises CannotListen and OSError."""
    _remove_stale_socket(path)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(path)
        # Who may connect is decided by the directory; Postfix's processes run as several users.
        os.chmod(path, 0o666)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale_socket(path: str) -> None:
    """Remove a socket that nobody listens on any more. Raises CannotListen for anything else."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        # Linux refuses to connect there, too, so that it would seem stale.
        raise CannotListen(f"unix:{path}: there is something that is no socket; name another path")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # its backlog is full (unix(7), EAGAIN)
        except OSError:
            return  # `bind` will say what it is
    raise CannotListen(f"unix:{path}: another process is listening there; stop it first")

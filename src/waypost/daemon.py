"""The daemon: milter and transport in one process.

Owns the listeners, the signals, reload and drain, and hands out the clock and the random bytes.

Promises: a reload that fails changes nothing and says why; SIGTERM lets what has been begun come to
its end, within `DRAIN_SECONDS`; the transport listens before the milter does, so that nothing is
rewritten that could not be delivered.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from waypost.address import RouteAddresses, make_id
from waypost.config import Config, ConfigError, Listen, Problem
from waypost.connections import Connections
from waypost.delivery import Delivery, Working
from waypost.journal import Journal
from waypost.lmtp import LmtpServer
from waypost.load import load, route_key
from waypost.milter import Milter
from waypost.next_hop import HostFinder
from waypost.plugins import Observers, Plugins
from waypost.resolver import FIND_SECONDS, Resolver

DRAIN_SECONDS = 60.0
"""How long SIGTERM waits for deliveries under way; what is not done then is deferred by Postfix."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class CannotStart(Exception):  # it reads as what it says
    """The daemon cannot start; the message names the thing, the place and the remedy."""


@dataclass(frozen=True, slots=True)
class _InForce:
    """A configuration and what works by it."""

    config: Config
    working: Working


class Daemon:
    """What `waypost serve` runs. Create it, then await `run` once."""

    def __init__(self, path: Path, plugins: Plugins) -> None:
        self._path = path
        self._plugins = plugins
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises ConfigError, CannotStart and JournalTrouble."""
        loaded = await asyncio.to_thread(load, self._path, self._plugins)
        self._key = route_key(loaded.config.state, create=True)
        self._in_force = self._put_in_force(loaded.config, loaded.resolver)
        journal = Journal.open(loaded.config.state)
        observers = Observers(self._plugins)
        try:
            await self._serve(journal, observers)
        finally:
            await journal.close()
            observers.close()

    async def _serve(self, journal: Journal, observers: Observers) -> None:
        config = self._in_force.config
        delivery = Delivery(
            working=lambda: self._in_force.working,
            journal=journal,
            observe=observers.observe,
            clock=time.time,
        )
        lmtp = LmtpServer(delivery, hostname=self._in_force.working.host)
        milter = Milter(
            resolver=lambda: self._in_force.working.resolver,
            route_addresses=lambda: self._in_force.working.route_addresses,
            new_id=lambda: make_id(os.urandom),
            observe=observers.observe,
            clock=time.time,
        )
        self._listen_to_signals()
        transport_door = await _listen(config.transport, "transport.listen", lmtp.protocol)
        milter_door = await _listen(config.milter, "milter.listen", milter.protocol)
        _log.info("ready", milter=str(config.milter), transport=str(config.transport))
        await self._stopping.wait()
        _log.info("stopping")
        milter_door.close()
        transport_door.close()
        await asyncio.gather(milter.drain(DRAIN_SECONDS), lmtp.drain(DRAIN_SECONDS))
        await self._in_force.working.connections.close()
        _log.info("stopped")

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, lambda: self._start(self._reload()))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        async with self._reloading:
            old = self._in_force
            try:
                loaded = await asyncio.to_thread(load, self._path, self._plugins)
                _refuse_what_needs_a_restart(old.config, loaded.config)
            except ConfigError as error:
                problems = [str(problem) for problem in error.problems]
                _log.error("config_refused", file=str(self._path), problems=problems)
                await _close(error.closers)
                return
            except Exception:
                _log.exception("config_refused", file=str(self._path), problems=[])
                return
            self._in_force = self._put_in_force(loaded.config, loaded.resolver)
        self._start(_retire(old))

    def _put_in_force(self, config: Config, resolver: Resolver) -> _InForce:
        for warning in config.warnings:
            _log.warning("config_warning", problem=str(warning))
        host = config.outgoing.helo or socket.getfqdn()
        connections = Connections(
            HostFinder(own=_own(config), family=config.outgoing.address_family),
            helo=host,
            bind=config.outgoing.bind,
        )
        working = Working(
            resolver=resolver,
            route_addresses=RouteAddresses(config.route_domain, self._key),
            connections=connections,
            host=host,
            deadline=config.deadline,
        )
        _log.info("config_loaded", file=str(self._path), routes=len(config.routes))
        return _InForce(config, working)


def _own(config: Config) -> frozenset[tuple[str, int]]:
    listens = (config.milter, config.transport)
    return frozenset(
        (each.host, each.port)
        for each in listens
        if each.host is not None and each.port is not None
    )


def _refuse_what_needs_a_restart(old: Config, new: Config) -> None:
    pairs: Sequence[tuple[str, object, object]] = (
        ("state", old.state, new.state),
        ("milter.listen", old.milter, new.milter),
        ("transport.listen", old.transport, new.transport),
    )
    problems = [
        Problem(key, f'"{now}" takes effect at a restart only; it was "{before}"')
        for key, before, now in pairs
        if before != now
    ]
    if problems:
        raise ConfigError(problems, new.closers)


async def _retire(old: _InForce) -> None:
    await old.working.connections.close()
    # No `find` outlives its time limit, so after that the old matchers are idle.
    await asyncio.sleep(FIND_SECONDS)
    await _close(old.config.closers)


async def _close(closers: Iterable[Callable[[], Awaitable[None]]]) -> None:
    for close in closers:
        try:
            await close()
        except Exception:
            _log.exception("matcher_close_failed")


async def _listen(
    listen: Listen, key: str, protocol: Callable[[], asyncio.Protocol]
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    try:
        if listen.path is not None:
            return await _listen_on_path(listen.path, protocol)
        assert listen.port is not None, "either a path or a port is set"
        return await loop.create_server(protocol, listen.host, listen.port)
    except OSError as error:
        raise CannotStart(f"{key}: cannot listen on {listen}: {error.strerror}") from error


async def _listen_on_path(path: str, protocol: Callable[[], asyncio.Protocol]) -> asyncio.Server:
    _remove_stale_socket(path)
    server = await asyncio.get_running_loop().create_unix_server(protocol, path)
    # Who may connect is decided by the directory; Postfix's processes run as several users.
    os.chmod(path, 0o666)
    return server


def _remove_stale_socket(path: str) -> None:
    """Remove a socket that nobody listens on any more. Raises CannotStart if somebody does."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError:
            return
    raise CannotStart(f"unix:{path}: another process is listening there; stop it first")

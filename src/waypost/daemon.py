"""The daemon: milter and transport in one process.

Owns the signals, start, reload and drain, the bounds that depend on the machine, and hands out the
clock and the random bytes.

Promises: a reload that fails changes nothing and says why; SIGTERM lets what has been begun come to
its end, within `DRAIN_SECONDS`, however often it comes; the transport listens before the milter
does, so that nothing is rewritten that could not be delivered; one daemon at a time works with a
state directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import resource
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from waypost.address import RouteAddresses, make_id
from waypost.config import Config, ConfigError, Problem
from waypost.connections import Connections
from waypost.delivery import Circuits, Delivery, Working
from waypost.journal import Journal, JournalTrouble
from waypost.listeners import Listener
from waypost.lmtp import TOO_MANY_CONNECTIONS, LmtpServer
from waypost.load import load, route_key
from waypost.milter import Milter
from waypost.next_hop import HostFinder
from waypost.plugins import Observers, Plugins
from waypost.resolver import FIND_SECONDS, Resolver
from waypost.slots import Slots

DRAIN_SECONDS = 60.0
"""How long SIGTERM waits for deliveries under way; what is not done then is deferred by Postfix."""
PRUNE_SECONDS = 3600.0
"""How often the journal forgets what is older than `keep`."""
MOST_CONNECTIONS = 1000
"""Of each door. Postfix has one with the milter for each smtpd and one with the transport for each
delivery, of either at most default_process_limit (postconf(5)), which is 100."""
MOST_FILES = 65536

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

    def __init__(
        self, path: Path, plugins: Plugins, *, drain_seconds: float = DRAIN_SECONDS
    ) -> None:
        self._path = path
        self._plugins = plugins
        self._drain_seconds = drain_seconds
        self._stopping = asyncio.Event()
        self._hung_up = asyncio.Event()
        self._slots = Slots()
        self._retiring: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises ConfigError, CannotStart and CannotListen.
        """
        # First of all: what a signal does by itself is to end us half-way.
        self._listen_to_signals()
        loaded = await asyncio.to_thread(load, self._path, self._plugins)
        self._key = route_key(loaded.config.state, create=True)
        with _alone(loaded.config.state):
            self._in_force = await self._put_in_force(loaded.config, loaded.resolver)
            journal = Journal(loaded.config.state, clock=time.time)
            observers = Observers(self._plugins)
            pruning = asyncio.create_task(self._prune(journal))
            try:
                await self._serve(journal, observers)
            finally:
                await _cancel({pruning})
                await journal.close()
                observers.close()
                await _close(self._in_force.config.closers)

    async def _serve(self, journal: Journal, observers: Observers) -> None:
        config = self._in_force.config
        delivery = Delivery(
            working=lambda: self._in_force.working,
            journal=journal,
            circuits=await Circuits.load(journal, clock=time.time, random=random.random),
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
        most = most_connections()
        doors = [
            Listener(
                config.transport,
                "transport.listen",
                lmtp,
                most=most,
                refusal=TOO_MANY_CONNECTIONS,
            ),
            Listener(config.milter, "milter.listen", milter, most=most),
        ]
        try:
            for door in doors:
                await door.bind()
            for door in doors:
                door.open()
            _log.info("ready", milter=str(config.milter), transport=str(config.transport))
            await self._reload_until_stopped()
            _log.info("stopping")
        finally:
            for door in doors:
                door.close()
        await self._drain(milter, lmtp, delivery)
        await _cancel(self._retiring)
        _log.info("stopped")

    async def _drain(self, milter: Milter, lmtp: LmtpServer, delivery: Delivery) -> None:
        until = asyncio.get_running_loop().time() + self._drain_seconds
        await asyncio.gather(milter.drain(self._drain_seconds), lmtp.drain(self._drain_seconds))
        try:
            async with asyncio.timeout_at(until):
                # A session stays until its deliveries are done, also when its client has gone
                # (invariant 4). So there are none now, or the time is up and they are cut off.
                await delivery.drain()
        except TimeoutError:
            _log.warning("drain_timed_out", seconds=self._drain_seconds)
        await self._in_force.working.connections.close()

    async def _prune(self, journal: Journal) -> None:
        while True:
            # Trouble is logged where it happens, and nothing is lost: it is tried again.
            with contextlib.suppress(JournalTrouble):
                await journal.prune(time.time() - self._in_force.config.keep)
            await asyncio.sleep(PRUNE_SECONDS)

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)

    async def _reload_until_stopped(self) -> None:
        """Reload at each SIGHUP, once for all that come during a reload; none when stopping."""
        reloading = asyncio.create_task(self._reload_for_ever())
        await self._stopping.wait()
        await _cancel({reloading})

    async def _reload_for_ever(self) -> None:
        while True:
            await self._hung_up.wait()
            self._hung_up.clear()
            await self._reload()

    async def _reload(self) -> None:
        old = self._in_force
        try:
            loaded = await asyncio.to_thread(load, self._path, self._plugins)
            _refuse_what_needs_a_restart(old.config, loaded.config)
            self._in_force = await self._put_in_force(loaded.config, loaded.resolver)
        except ConfigError as error:
            problems = [str(problem) for problem in error.problems]
            _log.error("config_refused", file=str(self._path), problems=problems)
            await _close(error.closers)
            return
        except Exception:
            _log.exception("config_refused", file=str(self._path), problems=[])
            return
        task = asyncio.create_task(_retire(old))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _put_in_force(self, config: Config, resolver: Resolver) -> _InForce:
        for warning in config.warnings:
            _log.warning("config_warning", problem=str(warning))
        # In a thread: it asks the DNS.
        host = config.outgoing.helo
        if host is None:
            host = await asyncio.to_thread(socket.getfqdn)
        connections = Connections(
            HostFinder(own=_own(config), family=config.outgoing.address_family),
            helo=host,
            bind=config.outgoing.bind,
            slots=self._slots,
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


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Keep other daemons from working with `state`. Raises CannotStart.

    What keeps a message from being delivered twice at a time is in the memory of one process.
    """
    try:
        file = (state / "lock").open("wb")
    except OSError as error:
        raise CannotStart(
            f"state: {state} cannot be written ({error.strerror}): make it writable for the user"
            " that runs the daemon, or name another directory"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                f"state: another `waypost serve` works with {state}; stop it first"
            ) from None
        yield


def most_connections() -> int:
    """How many connections each door may have, by the number of files we may open, which is raised
    as far as it goes. Half of them are left to next hops, the journal and reloads.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return min(MOST_CONNECTIONS, files // 4)


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
    try:
        await old.working.connections.close()
        # No `find` outlives its time limit, so after that the old matchers are idle.
        await asyncio.sleep(FIND_SECONDS)
    finally:
        await _close(old.config.closers)


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _close(closers: Iterable[Callable[[], Awaitable[None]]]) -> None:
    for close in closers:
        try:
            await close()
        except Exception:
            _log.exception("matcher_close_failed")

"""Connecting to a host that has several addresses (Happy Eyeballs, RFC 8305 section 5).

Owns the sockets until one is connected. Promises: no socket but the one that is returned stays
open, whatever happens.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from waypost.outcome import Stage
from waypost.route import Host
from waypost.smtp_client.limits import SECONDS, STAGGER_SECONDS

Connect = Callable[[str], Awaitable[socket.socket]]
"""Connects to an IP address. Raises OSError."""


async def connect(host: Host, bind: str | None) -> tuple[str, socket.socket]:
    """The address that answered first, and a socket connected to it. Raises OSError."""

    async def to(address: str) -> socket.socket:
        return await _connected(address, host.port, bind)

    return await race(host.addresses, to, STAGGER_SECONDS)


async def race(
    addresses: Sequence[str], connect: Connect, stagger: float
) -> tuple[str, socket.socket]:
    """Try `addresses` in order, `stagger` seconds apart, or at once when all before have failed.

    The first to connect wins and the others are closed. Raises the OSError of the last to fail.
    """
    waiting = list(addresses)
    trying: dict[asyncio.Future[socket.socket], str] = {}
    try:
        while True:
            if waiting:
                address = waiting.pop(0)
                trying[asyncio.ensure_future(connect(address))] = address
            done, _ = await asyncio.wait(
                trying, timeout=stagger if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                address = trying.pop(attempt)
                error = attempt.exception()
                if error is None:
                    return address, attempt.result()
                if not waiting and not trying:
                    raise error
    finally:
        await _give_up(trying)


async def _give_up(trying: dict[asyncio.Future[socket.socket], str]) -> None:
    for attempt in trying:
        attempt.cancel()
    for result in await asyncio.gather(*trying, return_exceptions=True):
        if isinstance(result, socket.socket):
            result.close()


async def _connected(address: str, port: int, bind: str | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if bind is not None:
            sock.bind((bind, 0))
        async with asyncio.timeout(SECONDS[Stage.CONNECT]):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock

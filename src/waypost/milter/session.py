"""One milter connection: bytes in, bytes out, in order.

Owns framing, order, back-pressure, time limits, TCP's delayed acknowledgements, and the end of a
connection. What is answered is the conversation's.

Promises: commands are answered one after another, also while a matcher is awaited; what the MTA
sends ahead is bounded, and so is what it does not read; a connection that is silent, or sends a
command octet by octet, or does not read, ends; one that sends without a pause does not keep the
others waiting; a lost connection ends what is awaited for it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import structlog

from waypost.milter import codec
from waypost.milter.conversation import Conversation, Services

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

AHEAD: Final = 64 * 1024
"""Octets that are taken in while an earlier command is being answered. The MTA waits for replies,
so that there is next to nothing in practice."""
_IN_A_ROW: Final = 100
"""Commands that are answered before other connections have their turn."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds an MTA is waited for."""

    between: float = 600.0
    """For a whole command between two messages, and for it to read our answers. Postfix waits for
    its client for smtpd_timeout, 300 s, and for us for milter_command_timeout, 30 s (postconf(5)).
    """
    within: float = 4 * 3600.0
    """For a whole command within a message. Nothing of its content comes here, and DATA takes as
    long as the sender's line takes."""


class Session(asyncio.Protocol):
    """One connection; `made` and `lost` are called when it begins and when it is over."""

    def __init__(
        self,
        services: Services,
        patience: Patience,
        *,
        made: Callable[[Session], None],
        lost: Callable[[Session], None],
    ) -> None:
        self._conversation = Conversation(services)
        self._patience = patience
        self._made = made
        self._lost = lost
        self._leaving = False
        self._buffer = bytearray()
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._paused = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        self._tcp = sock if sock.family in (socket.AF_INET, socket.AF_INET6) else None
        if self._tcp:
            self._tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._acknowledge_at_once()
        # One task for the whole connection: commands stay in order, and a matcher that does not
        # wait costs no switch. Kept here, since the loop holds tasks only weakly.
        self._task = asyncio.get_running_loop().create_task(self._serve())
        self._made(self)

    def data_received(self, data: bytes) -> None:
        if self._tcp:
            self._acknowledge_at_once()
        self._buffer += data
        self._arrived.set()
        if len(self._buffer) > AHEAD and not self._paused:
            self._transport.pause_reading()
            self._paused = True

    def connection_lost(self, _: Exception | None) -> None:
        self._task.cancel()
        self._lost(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # For the server

    def leave(self) -> None:
        """Close now, or at the end of the message that is under way."""
        self._leaving = True
        if not self._conversation.in_message:
            self._transport.close()

    def abort(self) -> None:
        """Close now, whatever is under way."""
        self._transport.abort()

    # The task

    async def _serve(self) -> None:
        try:
            await self._converse()
        except codec.BadPacket as error:
            peer = self._transport.get_extra_info("peername")
            log.warning("milter_bad_packet", reason=str(error), peer=peer)
        except TimeoutError:
            log.info("milter_silent", in_message=self._conversation.in_message)
        except Exception:
            # The MTA falls back to its milter_default_action: a temporary refusal, unless set.
            log.exception("milter_trouble", at="session")
        finally:
            self._transport.close()
        # To close is to wait until our last answer is read; when it is, this task is cancelled.
        await asyncio.sleep(self._patience.between)
        self._transport.abort()

    async def _converse(self) -> None:
        first = await self._next()
        if first[:1] != codec.NEGOTIATE:
            raise codec.BadPacket(f"command {first[:1]!r} before any negotiation")
        self._transport.write(codec.negotiate(first[1:]))
        answered = 0
        while self._conversation.in_message or not self._leaving:
            payload = await self._next()
            if payload[:1] == codec.QUIT:
                return
            self._transport.write(await self._conversation.answer(payload))
            if not self._writable.is_set():
                async with asyncio.timeout(self._patience.between):
                    await self._writable.wait()
            answered += 1
            if answered % _IN_A_ROW == 0:
                await asyncio.sleep(0)

    async def _next(self) -> bytes:
        payload = codec.take_packet(self._buffer)
        if payload is not None:
            return payload
        patience = self._patience
        seconds = patience.within if self._conversation.in_message else patience.between
        async with asyncio.timeout(seconds):
            return await self._arriving()

    async def _arriving(self) -> bytes:
        while (payload := codec.take_packet(self._buffer)) is None:
            if self._paused and not self._transport.is_closing():
                self._transport.resume_reading()
                self._paused = False
            self._arrived.clear()
            await self._arrived.wait()
        return payload

    def _acknowledge_at_once(self) -> None:
        # Postfix writes macros and command as separate small segments, and its Nagle waits for our
        # delayed acknowledgement: 40 ms a message. Linux forgets the option (tcp(7)).
        if self._tcp:
            self._tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

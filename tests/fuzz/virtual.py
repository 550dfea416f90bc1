"""An event loop whose time is virtual and that never meets the kernel, and a transport for it.

    run(main())     # what main() waits for by the clock passes at once

Owns what targets need to run a session without sockets: an hour of silence costs nothing, and what
would wait for ever is found out (`Stuck`). Promises: after `run` nothing is left running; what the
loop was told about (an exception that nobody awaited, say) is a `Violation`.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Callable, Coroutine
from typing import TypeVar

T = TypeVar("T")
LONGEST = 24 * 3600
"""Seconds. No limit of ours is longer."""
STEP = 100
"""Seconds. Every limit on silence is longer."""


class Violation(AssertionError):
    """A promise was broken; the text says which."""


class Stuck(Violation):
    """Everybody waits, and for nothing that could come."""


class _NoSelector(selectors.SelectSelector):
    """Nothing ever arrives from outside: to wait is to let the clock go on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("everybody waits for ever")
        self.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """See above."""

    def __init__(self) -> None:
        self._clock = _NoSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now

    def run_in_executor(
        self, _: object, function: Callable[..., T], *arguments: object
    ) -> asyncio.Future[T]:
        """At once: another thread's time is real."""
        done: asyncio.Future[T] = self.create_future()
        done.set_result(function(*arguments))
        return done


def run(main: Coroutine[object, object, T], loop: VirtualLoop | None = None) -> T:
    """What `main` returns. Raises what it raises, and Violation."""
    loop = loop or VirtualLoop()
    told: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        result = loop.run_until_complete(main)
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
            raise Violation(f"left running: {left}")
    finally:
        loop.close()
    if told:
        raise Violation(f"the loop was told of {told}")
    return result


async def idle() -> None:
    """Until nothing can go on but by the clock."""
    await asyncio.sleep(0.001)


class Wire(asyncio.Transport):
    """A transport that keeps what is written; closing it takes effect as asyncio's own does."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        with socket.socket(socket.AF_UNIX) as like:
            super().__init__({"socket": like, "peername": "", "sockname": ""})
        self._protocol = protocol
        self.written = bytearray()
        self.paused = False
        self.closed = False

    def connect(self) -> None:
        """Tell the protocol that it is connected."""
        self._protocol.connection_made(self)

    def receive(self, data: bytes) -> None:
        """Hand what arrived to the protocol."""
        self._protocol.data_received(data)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closed:
            self.written += data

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_reading(self) -> bool:
        return not (self.paused or self.closed)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


async def feed(
    wire: Wire, data: bytes, flags: int, watch: Callable[[int], None] = lambda _: None
) -> None:
    """Give `data` in pieces, as long as the other side reads.

    `flags` is one octet of the input: the size of a piece (0: all at once), and in its high bit
    whether pieces do not wait until nothing is left to do with those before. `watch` is called
    after each piece with its size. Returns when all is taken, or the connection is closed. Raises
    Violation when it is held back for hours.
    """
    size = flags & 0x7F or len(data) or 1
    for start in range(0, len(data), size):
        for _ in range(LONGEST // STEP):
            if wire.is_reading() or wire.closed:
                break
            await asyncio.sleep(STEP)
        else:
            raise Violation("the other side reads no more")
        if wire.closed:
            return
        wire.receive(data[start : start + size])
        watch(size)
        if flags < 0x80:
            await idle()


async def closed(wire: Wire) -> None:
    """Until the other side has closed the connection. Raises Violation when it does not."""
    for _ in range(LONGEST // STEP):
        if wire.closed:
            await idle()
            return
        await asyncio.sleep(STEP)
    raise Violation("the other side does not close the connection")

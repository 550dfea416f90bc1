"""What a fake next hop may do instead of giving its usual answer: see `FakeNextHop.at`.

A misbehaviour is a coroutine function that takes the Conversation. It returns the reply to give
(None: the usual one) or raises HangUp; before that it may `send` what it likes. To add one, write
a function here.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

from waypost.testing.conversation import Conversation, HangUp
from waypost.testing.waiting import LONG, wait_until


async def hang_up(_: Conversation) -> None:
    """Close the connection instead of answering."""
    raise HangUp


async def take_then_hang_up(conversation: Conversation) -> None:
    """At `dot`: keep the message, and close the connection before the client hears of it."""
    conversation.take()
    raise HangUp


class Hang:
    """Keep the client waiting until `release`, then give the usual answer, or `then`."""

    def __init__(self, then: str | None = None) -> None:
        self._then = then
        self._reached = threading.Event()
        self._released: Future[None] = Future()

    async def __call__(self, _: Conversation) -> str | None:
        self._reached.set()
        # Shielded: a connection that is closed meanwhile must not keep others from their answer.
        await asyncio.shield(asyncio.wrap_future(self._released))
        return self._then

    def wait_until_reached(self, seconds: float = LONG) -> None:
        """Return once a client is kept waiting. Raises TimeoutError."""
        wait_until(self._reached.is_set, "a client at the stage that hangs", seconds)

    def release(self) -> None:
        """Answer those who wait, and those who come, at once."""
        if not self._released.done():
            self._released.set_result(None)

"""How much message content is held in memory, by all sessions together.

    with Share(room) as share:
        if not share.grow_to(octets): ...     # refused, and what it had is given back

Postfix has every message on disk and offers it again: what finds no room waits there.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

TOTAL: Final = 256 << 20
"""Octets. Besides a message itself, each recipient that it is being delivered to counts: a message
gets headers of its own for each."""
LARGEST: Final = 128 << 20
"""Octets of one message, told in SIZE (RFC 1870): it finds room, at least when it is alone.
Postfix's message_size_limit is 10 MB by default (postconf(5))."""


class Room:
    """What is held, and what may be."""

    def __init__(self, total: int = TOTAL, largest: int = LARGEST) -> None:
        self.largest = largest
        self.free = total
        """Octets that nobody holds."""


class Share:
    """What one message, or one delivery of it, holds; given back at the end of `with`."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._give_back()

    def grow_to(self, octets: int) -> bool:
        """Hold that many in all. False: there is no room, and now nothing is held."""
        if octets > self._room.largest or octets - self._held > self._room.free:
            self._give_back()
            return False
        self._room.free -= octets - self._held
        self._held = octets
        return True

    def _give_back(self) -> None:
        self._room.free += self._held
        self._held = 0

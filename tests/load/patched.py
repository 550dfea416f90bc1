"""`waypost` with something in it changed, so that tests can break what they cannot reach.

    Waypost(config, directory, through=through(dies="before commit", on=3))
    Waypost(config, directory, through=through({"waypost.health.FIRST_PAUSE": 0.5}))

Owns the points inside the daemon where it dies, and what else is put in the place of its parts; the
daemon itself knows nothing of it. Run as a script it applies the changes in its first argument and
becomes the command that follows.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Literal, NoReturn, ParamSpec, TypeVar
from unittest import mock

P = ParamSpec("P")
T = TypeVar("T")

Point = Literal["before connect", "before commit", "after commit", "before reply", "before delete"]


def through(
    constants: Mapping[str, float] | None = None,
    *,
    dies: Point | None = None,
    on: int = 1,
    slow_seconds: float | None = None,
    read_only_if: Path | None = None,
) -> list[str]:
    """What `Waypost` is to be started `through`.

    `constants` are values by their full names. The daemon `dies` by SIGKILL at that point, when it
    comes there for the `on`th time. `slow_seconds` is what `waypost.slots` takes for slow. While
    the file `read_only_if` exists, the journal takes nothing.
    """
    changes = {
        "constants": dict(constants or {}),
        "dies": dies,
        "on": on,
        "slow_seconds": slow_seconds,
        "read_only_if": str(read_only_if) if read_only_if else None,
    }
    return [sys.executable, __file__, json.dumps(changes)]


def _apply(
    constants: dict[str, float],
    dies: Point | None,
    on: int,
    slow_seconds: float | None,
    read_only_if: str | None,
) -> None:
    for name, value in constants.items():
        module, _, constant = name.rpartition(".")
        _put(module, constant, value)
    if dies is not None:
        _POINTS[dies](on)
    if slow_seconds is not None:
        slots = importlib.import_module("waypost.slots").Slots
        _put("waypost.daemon", "Slots", functools.partial(slots, slow_seconds=slow_seconds))
    if read_only_if is not None:
        _read_only_while(Path(read_only_if))


def _put(module: str, name: str, value: object) -> None:
    """Put `value` in the place of a name of a module, which must exist."""
    mock.patch(f"{module}.{name}", value).start()


def _wrap(owner: object, name: str, wrapper: Callable[[Callable[P, T]], Callable[P, T]]) -> None:
    original = getattr(owner, name)
    mock.patch.object(owner, name, functools.wraps(original)(wrapper(original))).start()


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL cannot be survived")


def _before_connect(on: int) -> None:
    from waypost.smtp_client import Opener

    count = itertools.count(1)

    def dying(original: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        async def open_or_die(*args: P.args, **kwargs: P.kwargs) -> T:
            if next(count) == on:
                _die()
            return await original(*args, **kwargs)

        return open_or_die

    _wrap(Opener, "open", dying)


def _before_commit(on: int) -> None:
    from waypost.journal import journal

    _wrap(journal, "_insert", functools.partial(_then, itertools.count(1), on, _die))


def _after_commit(on: int) -> None:
    from waypost.journal import journal
    from waypost.journal.database import Database

    inserted: list[bool] = []
    _wrap(
        journal,
        "_insert",
        functools.partial(_then, itertools.count(1), on, lambda: inserted.append(True)),
    )

    def dying(original: Callable[P, T]) -> Callable[P, T]:
        def transact_and_die(*args: P.args, **kwargs: P.kwargs) -> T:
            results = original(*args, **kwargs)
            if inserted:
                _die()
            return results

        return transact_and_die

    _wrap(Database, "_transact", dying)


def _then(
    count: itertools.count[int], on: int, act: Callable[[], object], original: Callable[P, T]
) -> Callable[P, T]:
    """`original`, and `act` when it has been done for the `on`th time."""

    def done(*args: P.args, **kwargs: P.kwargs) -> T:
        result = original(*args, **kwargs)
        if next(count) == on:
            act()
        return result

    return done


def _before_reply(on: int) -> None:
    from waypost.lmtp.session import Session

    count = itertools.count(1)

    def dying(original: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        async def deliver_and_die(*args: P.args, **kwargs: P.kwargs) -> T:
            reply = await original(*args, **kwargs)
            if next(count) == on:
                _die()
            return reply

        return deliver_and_die

    _wrap(Session, "_deliver", dying)


def _before_delete(on: int) -> None:
    """In the milter: the recipients that are added have been written, no more."""
    import asyncio

    from waypost.milter import codec
    from waypost.milter.conversation import Conversation

    count = itertools.count(1)

    def only_added(original: Callable[..., Awaitable[bytes]]) -> Callable[..., Awaitable[bytes]]:
        async def answer(self: Conversation, payload: bytes) -> bytes:
            packets = bytearray(await original(self, payload))
            if payload[:1] != codec.END_OF_MESSAGE or next(count) != on:
                return bytes(packets)
            payloads = iter(lambda: codec.take_packet(packets), None)
            # SMFIR_ADDRCPT and SMFIR_ADDRCPT_PAR (libmilter, mfdef.h).
            added = [codec.packet(each) for each in payloads if each and each[:1] in b"+2"]
            # The loop writes when this task waits, and dies after that.
            asyncio.get_running_loop().call_later(0.1, _die)
            return b"".join(added)

        return answer

    _wrap(Conversation, "answer", only_added)


_POINTS: dict[Point, Callable[[int], None]] = {
    "before connect": _before_connect,
    "before commit": _before_commit,
    "after commit": _after_commit,
    "before reply": _before_reply,
    "before delete": _before_delete,
}


def _read_only_while(file: Path) -> None:
    """root writes where it likes: this is how it meets a file that may only be read."""
    from waypost.journal import database

    def asking(original: Callable[..., list[object]]) -> Callable[..., list[object]]:
        def transact(self: database.Database, jobs: list[object]) -> list[object]:
            connection = self._connection = self._connection or database._connect(self._path)  # noqa: SLF001
            connection.execute(f"PRAGMA query_only = {int(file.exists())}")
            return original(self, jobs)

        return transact

    _wrap(database.Database, "_transact", asking)


if __name__ == "__main__":
    _apply(**json.loads(sys.argv[1]))
    command = sys.argv[2:]
    from waypost.cli.main import main

    sys.exit(main(command[command.index("waypost.cli.main") + 1 :]))

"""What the tests that break things look at, and how they kill.

Owns reading a journal from outside, and the end of processes: only those of the daemon or the
Postfix that is given, by their ids.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from waypost.testing.conversation import Conversation, HangUp
from waypost.testing.daemon import Waypost
from waypost.testing.postfix import PrivatePostfix
from waypost.testing.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Row:
    """An attempt as the journal has it."""

    id: str
    recipient: str
    destination: str
    outcome: str


def rows(state: Path) -> list[Row]:
    """All attempts in the journal under `state`, oldest first."""
    with contextlib.closing(
        sqlite3.connect(f"file:{state}/journal.sqlite?mode=ro", uri=True)
    ) as it:
        found = it.execute(
            "SELECT id, recipient, destination, outcome FROM attempts ORDER BY rowid"
        )
        return [Row(*row) for row in found]


def outcomes(state: Path) -> list[tuple[str, str]]:
    """Destination and outcome of all attempts in the journal, sorted."""
    return sorted((row.destination, row.outcome) for row in rows(state))


class Killing:
    """A misbehaviour of a next hop: the daemon dies, then the connection is closed."""

    def __init__(self, daemon: Waypost, *, taking: bool = False) -> None:
        """With `taking`, for `dot`, the message is taken first."""
        self._daemon = daemon
        self._taking = taking

    async def __call__(self, conversation: Conversation) -> str | None:
        if self._taking:
            conversation.take()
        os.kill(self._daemon.pid, signal.SIGKILL)
        raise HangUp


def wait_until_dead(daemon: Waypost) -> None:
    """Return once it has ended by itself. Raises TimeoutError."""
    stat = Path(f"/proc/{daemon.pid}/stat")
    # Z: it has ended, and its parent, which we are, has not asked how (proc(5)).
    wait_until(
        lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z",
        lambda: f"the daemon to die\n{daemon.log()}",
    )
    daemon.kill()


def kill(postfix: PrivatePostfix, *, at_once: bool) -> None:
    """Take a Postfix away by SIGKILL: the master, then what is left of its processes.

    `at_once`: those are killed too; otherwise they may end by themselves when they see that their
    master has gone, as long as they are not busy.
    """
    master = int((postfix.queue_directory / "pid" / "master.pid").read_text())
    os.kill(master, signal.SIGKILL)
    if not at_once:
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not _processes(postfix), "the end of its processes", seconds=0.3)
    while left := _processes(postfix):
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _processes(postfix: PrivatePostfix) -> list[int]:
    """The processes of this instance: postfix(1) has told them so in their environment."""
    mark = f"MAIL_CONFIG={postfix.config_directory}".encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parent.name))
    return found

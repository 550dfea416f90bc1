"""The journal cannot be written: mail waits, and is delivered once when that is over."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.integration.conftest import MakeNextHop, StartWaypost
from tests.load.patched import through
from tests.load.world import outcomes
from waypost.testing.conversation import Conversation
from waypost.testing.daemon import Waypost
from waypost.testing.next_hop import FakeNextHop
from waypost.testing.postfix import PrivatePostfix
from waypost.testing.smtp import plain_message

pytestmark = pytest.mark.parametrize("door", ["lmtp"], indirect=True, scope="session")

FAMILY = """
[routes.family]
match.exact = ["family@mydomain.net"]
fan_out = ["a@gmail.com", "b@outlook.com"]
"""
LATER = "451 4.3.0 later"

Trouble = Callable[[Waypost, Path], AbstractContextManager[None]]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """The state directory, on a small disk of its own."""
    state = tmp_path / "state"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "waypost-test", str(state)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        if os.environ.get("CI") == "true":
            pytest.fail(mounted.stderr)
        pytest.skip(f"no small disk to be had here: {mounted.stderr.strip()}")
    try:
        yield state
    finally:
        # Lazily: a daemon that hangs on to it is ended by a fixture of its own.
        subprocess.run(["umount", "--lazy", str(state)], check=True)


def fill(state: Path) -> Path:
    """Take all that is left of the disk; the file that has it."""
    filling = state / "core"
    with filling.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filling


@contextmanager
def full(_: Waypost, state: Path) -> Iterator[None]:
    filling = fill(state)
    yield
    filling.unlink()


@contextmanager
def read_only(_: Waypost, state: Path) -> Iterator[None]:
    (state / "read-only").touch()
    yield
    (state / "read-only").unlink()


def _connect(state: Path) -> sqlite3.Connection:
    # A next hop opens it in its own thread, and the test closes it.
    return sqlite3.connect(state / "journal.sqlite", check_same_thread=False)


@contextmanager
def locked(_: Waypost, state: Path) -> Iterator[None]:
    with contextlib.closing(_connect(state)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def garbage(daemon: Waypost, state: Path) -> Iterator[None]:
    """Found at a start; the backup comes while the daemon runs."""
    journal, backup = state / "journal.sqlite", state / "backup"
    assert daemon.stop() == 0
    shutil.copy(journal, backup)
    journal.write_bytes(b"this is no database" * 1000)
    daemon.start()
    yield
    backup.rename(journal)


def of_message(subject: str, *hops: FakeNextHop) -> list[int]:
    """How many copies each next hop has."""
    return [sum(each.parsed["Subject"] == subject for each in hop.messages) for hop in hops]


def wait_until_refused(postfix: PrivatePostfix, sender: str) -> None:
    """Return once Postfix has been told of our own trouble with a message."""
    queue_id = postfix.send(sender, ["family@mydomain.net"], plain_message(sender)).queue_id
    postfix.wait_for_log(rf"{queue_id}: .*status=deferred .*451 4\.3\.0 trouble here")


@pytest.mark.parametrize("trouble", [full, read_only, locked, garbage])
def test_found_before_a_try(
    postfix: PrivatePostfix,
    next_hop: MakeNextHop,
    waypost: StartWaypost,
    state: Path,
    trouble: Trouble,
) -> None:
    gmail, outlook = next_hop("gmail.com"), next_hop("outlook.com")
    outlook.at("rcpt", LATER)
    quick = {"waypost.journal.database.LOCK_SECONDS": 0.2}
    daemon = waypost(FAMILY, through=through(quick, read_only_if=state / "read-only"))
    postfix.send("before@sender.example", ["family@mydomain.net"], plain_message("before"))
    postfix.wait_for_log("1 of 2 legs sent")

    with trouble(daemon, state):
        pid = daemon.pid
        for sender in ("first@sender.example", "second@sender.example"):
            wait_until_refused(postfix, sender)
            assert of_message(sender, gmail, outlook) == [0, 0]
        outlook.behave()
        troubles = len(daemon.events("journal_trouble"))
        # Each try meets it once; pruning, circuits and a start may, too.
        assert 2 <= troubles <= len(daemon.events("recipient_finished")) + 5

    postfix.flush()
    postfix.wait_until_empty()
    assert daemon.pid == pid
    for subject in ("before", "first@sender.example", "second@sender.example"):
        assert of_message(subject, gmail, outlook) == [1, 1]
    assert "status=bounced" not in postfix.log()


@pytest.mark.parametrize("trouble", [full, read_only, locked])
def test_found_when_a_leg_has_been_sent(
    postfix: PrivatePostfix,
    next_hop: MakeNextHop,
    waypost: StartWaypost,
    state: Path,
    trouble: Trouble,
) -> None:
    """What could not be written is kept in mind, and nothing else is begun until it is."""
    gmail, outlook = next_hop("gmail.com"), next_hop("outlook.com")
    outlook.at("rcpt", LATER)
    quick = {"waypost.journal.database.LOCK_SECONDS": 0.2}
    daemon = waypost(FAMILY, through=through(quick, read_only_if=state / "read-only"))
    with contextlib.ExitStack() as stack:

        async def break_it(_: Conversation) -> None:
            stack.enter_context(trouble(daemon, state))

        gmail.at("dot", break_it, times=1)
        wait_until_refused(postfix, "first@sender.example")
        wait_until_refused(postfix, "second@sender.example")
        assert of_message("first@sender.example", gmail, outlook) == [1, 0]
        assert of_message("second@sender.example", gmail, outlook) == [0, 0]
        assert ("a@gmail.com", "sent") not in outcomes(state)
        outlook.behave()

    postfix.flush()
    postfix.wait_until_empty()
    for sender in ("first@sender.example", "second@sender.example"):
        assert of_message(sender, gmail, outlook) == [1, 1]
    sent = Counter(destination for destination, outcome in outcomes(state) if outcome == "sent")
    assert sent == {"a@gmail.com": 2, "b@outlook.com": 2}

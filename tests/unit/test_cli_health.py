"""`waypost health`: what it tells, and what it says when there is nothing to tell."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest

from waypost.address import Address
from waypost.cli.main import main
from waypost.health import Circuit
from waypost.journal import Identity, Journal
from waypost.outcome import Attempt, Bounced, Deferred, Outcome, Sent, Stage
from waypost.reply import EnhancedStatus, Reply, ReplyClass, Scope

ME = Identity("a" * 16, "print1")
SENT = Sent(Reply.own("250 2.0.0 queued"))
THROTTLED = Deferred(
    Reply(421, EnhancedStatus(4, 7, 0), "unusual rate\nof mail"),
    ReplyClass.THROTTLED,
    Scope.HOST,
    Stage.MAIL,
)
UNKNOWN = Bounced(
    Reply.own("550 5.1.1 no such mailbox"), ReplyClass.UNKNOWN_RECIPIENT, Scope.MAILBOX, Stage.RCPT
)
GMAIL, OUTLOOK = "mx:gmail.com", "mx:outlook.com"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory, empty, of the configuration that the command reads."""
    (tmp_path / "waypost.toml").write_text(f"""
        domains = ["mydomain.net"]
        state = "{tmp_path}/state"
        [routes.me]
        match.exact = ["me@mydomain.net"]
        deliver = ["me@gmail.com"]
    """)
    monkeypatch.setenv("WAYPOST_CONFIG", str(tmp_path / "waypost.toml"))
    state = tmp_path / "state"
    state.mkdir()
    return state


def attempts(*outcomes: Outcome, at: float, next_hop: str = GMAIL) -> list[Attempt]:
    to = Address.parse("me@gmail.com")
    return [Attempt("me@mydomain.net", str(to), to, next_hop, at, each) for each in outcomes]


def write(state: Path, made: Sequence[Attempt] = (), circuits: Sequence[Circuit] = ()) -> None:
    """A journal as a daemon leaves it."""

    async def run() -> None:
        journal = Journal(state, clock=time.time)
        for circuit in circuits:
            journal.save_circuit(circuit)
        for attempt in made:
            await journal.record(ME, attempt)
        await journal.prune(0)  # opens the file even when there was nothing to write
        await journal.close()

    asyncio.run(run())


def shown(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def test_a_line_for_each_next_hop(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = time.time()
    made = [
        *attempts(SENT, SENT, UNKNOWN, at=now - 60),
        *attempts(THROTTLED, at=now - 30),
        *attempts(SENT, at=now - 10, next_hop=OUTLOOK),
        *attempts(*[SENT] * 5, at=now - 2 * 24 * 3600),  # too long ago
    ]
    opened, probe = now - 30, now + 30
    write(state, made, [Circuit(GMAIL, 3, opened, 60.0, probe, None, "421 throttled")])
    assert main(["health"]) == 3
    circuit = f"open since {shown(opened)}, 421 throttled; probe {shown(probe)}"
    width = len(circuit)
    gmail, outlook = (
        f"{shown(now - 30)} 421 4.7.0 unusual rate",
        f"{shown(now - 10)} 250 2.0.0 queued",
    )
    assert capsys.readouterr().out.splitlines() == [
        f"NEXT HOP        {'STATE':{width}}  SENT  DEFERRED  BOUNCED  LAST ANSWER",
        f"mx:gmail.com    {circuit}     2         1        1  {gmail}",
        f"mx:outlook.com  {'closed':{width}}     1         0        0  {outlook}",
    ]


def test_as_json(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = time.time()
    circuits = [
        Circuit(GMAIL, 4, now - 30, 120.0, now + 90, None, "421 throttled"),
        Circuit("mx:quiet.de", 1, None, 0.0, 0.0, None, "451 connect"),
    ]
    write(state, attempts(SENT, at=now - 6) + attempts(THROTTLED, at=now - 5), circuits)
    assert main(["health", "--json"]) == 3
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {
            "next_hop": GMAIL,
            "state": "open",
            "failures": 4,
            "reason": "421 throttled",
            "opened_at": now - 30,
            "probe_at": now + 90,
            "sent": 1,
            "deferred": 1,
            "bounced": 0,
            "last_at": now - 5,
            "last_reply": "421 4.7.0 unusual rate\nof mail",
        },
        {
            "next_hop": "mx:quiet.de",
            "state": "closed",
            "failures": 1,
            "reason": "451 connect",
            "opened_at": None,
            "probe_at": None,
            "sent": 0,
            "deferred": 0,
            "bounced": 0,
            "last_at": None,
            "last_reply": None,
        },
    ]


def test_nothing_to_tell(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(state)
    assert main(["health"]) == 0
    assert capsys.readouterr().out == (
        "no attempt in the last 24 hours, and no next hop in trouble\n"
    )
    assert main(["health", "--json"]) == 0
    assert capsys.readouterr().out == ""


def test_a_daemon_that_is_writing_is_no_obstacle(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(state, attempts(SENT, at=time.time()))
    with contextlib.closing(sqlite3.connect(state / "journal.sqlite")) as writing:
        writing.execute("BEGIN IMMEDIATE")
        assert main(["health"]) == 0
    assert "mx:gmail.com" in capsys.readouterr().out


def test_no_journal_yet(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health"]) == 1
    assert capsys.readouterr().err == (
        f"waypost health: {state}/journal.sqlite: there is none yet; the daemon makes it when it"
        " starts\n"
    )
    assert not list(state.iterdir()), "looking made a file"


def test_another_schema(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.closing(sqlite3.connect(state / "journal.sqlite")) as other:
        other.execute("PRAGMA user_version = 99")
    assert main(["health"]) == 1
    assert capsys.readouterr().err.startswith(
        f"waypost health: {state}/journal.sqlite: has schema 99, this version of Waypost reads "
    )


def test_a_file_that_is_no_journal(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (state / "journal.sqlite").write_bytes(b"no database" * 200)
    assert main(["health"]) == 1
    assert capsys.readouterr().err == (
        f"waypost health: {state}/journal.sqlite: file is not a database\n"
    )


def test_a_configuration_with_errors(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = state.parent / "waypost.toml"
    file.write_text(file.read_text().replace("exact", "exakt"))
    assert main(["health"]) == 1
    assert capsys.readouterr().err.startswith(f"{file}: routes.me.match.exakt: no matcher plugin")

"""Looking into a journal while a daemon writes it.

Owns what commands read of it. Promises: nothing is written, and nobody waits for it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from waypost.health import Circuit
from waypost.journal.database import JournalTrouble
from waypost.journal.rows import to_circuit
from waypost.journal.schema import VERSION

FILE = "journal.sqlite"
"""The name of the journal in its state directory."""


@dataclass(frozen=True, slots=True)
class NextHopSeen:
    """What the journal tells of one next hop."""

    name: str
    circuit: Circuit
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """How many attempts ended `sent`, `deferred` and `bounced`."""
    last_at: float | None = None
    """When the last attempt ended, in seconds since the epoch."""
    last_reply: str = ""


def next_hops(state: Path, since: float) -> list[NextHopSeen]:
    """Next hops with an attempt after `since` (seconds since the epoch) or in trouble, by name.

    Raises JournalTrouble.
    """
    with _reading(state / FILE) as connection:
        circuits = {
            circuit.next_hop: circuit
            for circuit in map(to_circuit, connection.execute("SELECT * FROM circuits"))
            if circuit.failures
        }
        outcomes: dict[str, dict[str, int]] = {}
        for name, outcome, count in connection.execute(
            "SELECT next_hop, outcome, count(*) FROM attempts WHERE at >= ? GROUP BY 1, 2", (since,)
        ):
            outcomes.setdefault(name, {})[outcome] = count
        # max() makes SQLite take the other columns from the row that has it.
        last = {
            name: (at, f"{code} {status or ''} {text}")
            for name, at, code, status, text in connection.execute(
                "SELECT next_hop, max(at), code, status, text FROM attempts WHERE at >= ?"
                " GROUP BY 1",
                (since,),
            )
        }
    return [
        NextHopSeen(
            name,
            circuits.get(name, Circuit(name)),
            outcomes.get(name, {}),
            *last.get(name, (None, "")),
        )
        for name in sorted(circuits.keys() | outcomes.keys())
    ]


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.exists():
        raise JournalTrouble(f"{path}: there is none yet; the daemon makes it when it starts")
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version != VERSION:
                raise JournalTrouble(
                    f"{path}: has schema {version}, this version of Waypost reads {VERSION};"
                    " start the daemon of this version once"
                )
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise JournalTrouble(f"{path}: {error}") from error

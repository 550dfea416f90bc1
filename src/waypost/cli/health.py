"""`waypost health`: how the next hops are, as the journal has it.

Owns the telling: a line per next hop, and as JSON one object a line: `{next_hop, state, failures,
reason, opened_at, probe_at, sent, deferred, bounced, last_at, last_reply}`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from waypost.config import ConfigError
from waypost.health import Circuit
from waypost.journal import JournalTrouble, NextHopSeen, next_hops
from waypost.load import load
from waypost.plugins import load_plugins

DAY = 24 * 3600.0
_HEAD = ("NEXT HOP", "STATE", "SENT", "DEFERRED", "BOUNCED", "LAST ANSWER")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "health",
        help="tell how the next hops are",
        description="Tell of each next hop whether its circuit is open, and how the attempts of the"
        " last 24 hours ended. Exit status 0: all circuits are closed, 3: one is open.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Tell of every next hop."""
    try:
        config = load(Path(args.config), load_plugins()).config
        seen = next_hops(config.state, time.time() - DAY)
    except ConfigError as error:
        for problem in error.problems:
            print(f"{args.config}: {problem}", file=sys.stderr)
        return 1
    except JournalTrouble as error:
        print(f"waypost health: {error}", file=sys.stderr)
        return 1
    if args.json:
        for each in seen:
            print(json.dumps(as_json(each)))
    else:
        for line in as_table(seen):
            print(line)
    return 3 if any(each.circuit.opened_at is not None for each in seen) else 0


def as_json(seen: NextHopSeen) -> dict[str, object]:
    """The object that `--json` prints; times are seconds since the epoch."""
    circuit = seen.circuit
    return {
        "next_hop": seen.name,
        "state": "closed" if circuit.opened_at is None else "open",
        "failures": circuit.failures,
        "reason": circuit.reason or None,
        "opened_at": circuit.opened_at,
        "probe_at": circuit.probe_at if circuit.opened_at is not None else None,
        **{name: seen.outcomes.get(name, 0) for name in ("sent", "deferred", "bounced")},
        "last_at": seen.last_at,
        "last_reply": seen.last_reply or None,
    }


def as_table(seen: Sequence[NextHopSeen]) -> Iterator[str]:
    """The lines that a person is shown."""
    if not seen:
        yield "no attempt in the last 24 hours, and no next hop in trouble"
        return
    rows = [_HEAD, *(_row(each) for each in seen)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    numbers = {_HEAD.index(name) for name in ("SENT", "DEFERRED", "BOUNCED")}
    for row in rows:
        cells: list[str] = []
        for column, width in enumerate(widths):
            justify: Callable[[int], str] = (
                row[column].rjust if column in numbers else row[column].ljust
            )
            cells.append(justify(width))
        yield "  ".join([*cells, row[-1]]).rstrip()


def _row(seen: NextHopSeen) -> tuple[str, ...]:
    counts = [str(seen.outcomes.get(name, 0)) for name in ("sent", "deferred", "bounced")]
    last = f"{_clock(seen.last_at)} {seen.last_reply.splitlines()[0]}" if seen.last_at else ""
    return (seen.name, _state(seen.circuit), *counts, last)


def _state(circuit: Circuit) -> str:
    if circuit.opened_at is None:
        return "closed"
    since, probe = _clock(circuit.opened_at), _clock(circuit.probe_at)
    return f"open since {since}, {circuit.reason}; probe {probe}"


def _clock(at: float | None) -> str:
    return datetime.fromtimestamp(at or 0, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")

"""The table as a page of the documentation: `make answers` writes it, and a test compares it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from tests.matrix.cells import CELLS, Cell
from waypost.testing.misbehaviours import BY_NAME

PAGE = Path(__file__).parents[2] / "docs" / "answers.md"

INTRODUCTION = """\
# What a next hop does, and what comes of it

<!-- Made of tests/matrix/cells.py by `make answers`; `make test` holds Waypost to every row. -->

Whatever a next hop does, an attempt is *sent*, *deferred* (the same destination may accept later)
or *bounced* (it will not take this message). The *class* says what kind of answer it was
([classes](replies.md)); `misconfigured` is ours to mend, and an error in the log. The leg then is
*done*, *goes on* to its next destination at once, or *stays*: the same destination is asked again
when Postfix comes back. *Ambiguous* is an answer that is lost after the whole message has been
sent: the next hop may have it, so nobody else is asked yet.

The last two columns are what Postfix hears, by either door. `250` (`waypost-pipe`: exit status 0):
the message leaves the queue. `451` (75): it is tried again. `554` (69): the sender gets a bounce.
A backup is another destination of the same leg; here it accepts.

A next hop is given 30 seconds to connect, 2 minutes for the answer to DATA, 10 minutes after the
end of the message, and 5 minutes for every other answer (RFC 5321 section 4.5.3.2). What each
misbehaviour is precisely, and how to have one in a test of your own, is told in
[waypost.testing.misbehaviours](../src/waypost/testing/misbehaviours.py).
"""

HEADINGS = {
    "connect": "Connecting",
    "greeting": "Greeting",
    "ehlo": "EHLO",
    "helo": "HELO",
    "starttls": "STARTTLS",
    "auth": "AUTH",
    "mail": "MAIL",
    "rcpt": "RCPT",
    "data": "DATA",
    "dot": "End of the message",
}


def page() -> str:
    """The whole of it."""
    sections = [_section(stage, list(cells)) for stage, cells in groupby(CELLS, _stage)]
    return "\n".join([INTRODUCTION, *sections])


def _stage(cell: Cell) -> str:
    return cell.stage


def _section(stage: str, cells: list[Cell]) -> str:
    return "".join(f"{line}\n" for line in _lines(stage, cells))


def _lines(stage: str, cells: list[Cell]) -> Iterator[str]:
    yield f"## {HEADINGS[stage]}"
    yield ""
    yield "| the next hop | attempt | class | leg | Postfix hears | with a backup |"
    yield "|---|---|---|---|---|---|"
    for cell in cells:
        row = [
            _what(cell), _attempt(cell), cell.reply_class, cell.leg, cell.alone, cell.with_backup
        ]  # fmt: skip
        yield f"| {' | '.join(row)} |"


def _what(cell: Cell) -> str:
    does = cell.does if cell.does in BY_NAME or cell.does == "refuse" else f"`{cell.does}`"
    return f"{does} ({cell.situation.words})" if cell.situation.words else does


def _attempt(cell: Cell) -> str:
    in_tls = "in TLS" if cell.situation.tls and cell.attempt == "sent" else ""
    anew = "on a new connection" if cell.connections == 2 else ""
    return " ".join(filter(None, [cell.attempt, in_tls, anew, cell.note]))


if __name__ == "__main__":
    PAGE.write_text(page())

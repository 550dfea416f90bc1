"""Runs cells: every one by both doors, with and without a backup, all at once.

Each run has a recipient, a route and a next hop of its own (what one next hop does may keep later
messages from it); only the backup, which always accepts, is everybody's.
"""

from __future__ import annotations

import itertools
import re
import smtplib
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from tests.certificates import authority
from tests.matrix.cells import ACCEPTED, Cell
from waypost import pipe
from waypost.address import Address
from waypost.postfix import Door
from waypost.reply import Reply
from waypost.testing.daemon import Event, Waypost
from waypost.testing.next_hop import FakeNextHop
from waypost.testing.smtp import deliver, plain_message
from waypost.testing.waiting import LONG

LOGINS = {"waypost": "a secret"}
CODES = {0: 250, 75: 451, 69: 554}
"""What the exit statuses of waypost-pipe stand for."""
AT_ONCE = 40
"""Runs under way: as many as a small machine can serve without keeping anybody waiting."""


@dataclass(frozen=True, slots=True)
class Course:
    """What became of a message; that of `expected` and that which was seen must be equal."""

    reply: str
    """What Postfix is told: code and enhanced status."""
    told: str
    """What it is told beyond that, without the next hop's code."""
    attempt: str
    reply_class: str
    decided_at: str
    loud: bool
    """Whether it is an error in the log: what is ours to mend."""
    asked: tuple[str, ...]
    """The next hops that were asked, in order."""
    connections: int
    """With the first of them."""
    taken: int
    """Messages that the first of them has."""
    backup_taken: int


@dataclass(frozen=True)
class Run:
    """One cell by one door; `course` is what came of it."""

    cell: Cell
    door: Door
    backup: bool
    number: int
    hop: FakeNextHop = field(repr=False)

    @property
    def name(self) -> str:
        """Of the relay, the route and the local part."""
        return f"run{self.number}"

    def config(self, secret: Path) -> str:
        """The relay and the route. `secret` is the file that holds the password."""
        situation = self.cell.situation
        login = f'username = "waypost"\npassword_file = "{secret}"' if situation.login else ""
        first = f'{{ to = "{{local}}@first.example", via = "{self.name}" }}'
        backup = '{ to = "{local}@backup.example", via = "backup" }'
        return f"""
            [relays.{self.name}]
            url = "{self.hop.url}"
            tls = "{situation.tls or "opportunistic"}"
            {login}
            [routes.{self.name}]
            match.exact = ["{self.name}@mydomain.net", "before-{self.name}@mydomain.net"]
            deliver = [{first}{f", {backup}" if self.backup else ""}]
        """

    def send(self, transport: str) -> Reply:
        """Have the next hop misbehave, hand a message to the daemon, and return its reply."""
        cell = self.cell
        if cell.situation.kept:
            assert self._hand_over(transport, f"before-{self.name}@mydomain.net").code == 250
        if cell.situation.helo:
            self.hop.at("ehlo", "502 5.5.1 no such command")
        if cell.does == "refuse":
            self.hop.down()
        else:
            self.hop.at(cell.stage, cell.does, times=1 if cell.situation.kept else float("inf"))
        return self._hand_over(transport, f"{self.name}@mydomain.net")

    def _hand_over(self, transport: str, recipient: str) -> Reply:
        situation = self.cell.situation
        sender = "jürgen@sender.example" if situation.smtputf8 else "alice@sender.example"
        message = plain_message(self.name, "Grüße" if situation.eight_bit else "Hello.")
        by = _by_lmtp if self.door == "lmtp" else _by_pipe
        return by(transport, sender, recipient, message)

    def course(self, reply: Reply, attempts: Sequence[Event], backup: FakeNextHop) -> Course:
        """What came of it, by the reply, the attempts in the log, and what the next hops have."""
        first = attempts[0] if attempts else {}
        taken = [each for each in self.hop.messages if each.recipients[0].startswith(self.name)]
        attempt = str(first.get("outcome"))
        if attempt == "sent" and self.cell.situation.tls and not taken[0].tls:
            attempt = "sent in plaintext"
        if first.get("ambiguous"):
            attempt += ", ambiguous"
        return Course(
            f"{reply.code} {reply.status}",
            # A next hop's code is told, its words are not (invariant 7).
            re.sub(r"(?<=leg 1: )\d{3} ", "", reply.text),
            attempt,
            str(first.get("reply_class", "accepted")),
            str(first.get("stage", "dot")),
            first.get("level") == "error",
            tuple(str(each["next_hop"]) for each in attempts),
            self.hop.connections,
            len(taken),
            sum(each.recipients == (f"{self.name}@backup.example",) for each in backup.messages),
        )

    @property
    def expected(self) -> Course:
        """What the table says."""
        cell = self.cell
        asks_backup = self.backup and cell.leg == "goes on"
        reply = cell.with_backup if self.backup else cell.alone
        sent = cell.attempt.startswith("sent")
        return Course(
            reply,
            _told(cell, reply),
            cell.attempt,
            cell.reply_class,
            "dot" if sent else cell.decided_at or cell.stage,
            cell.reply_class == "misconfigured",
            (self.name, "backup") if asks_backup else (self.name,),
            cell.connections,
            int(sent or cell.does == "take and drop"),
            int(asks_backup),
        )


def _told(cell: Cell, reply: str) -> str:
    if reply == ACCEPTED:
        return "1 of 1 legs sent"
    doubt = " (ambiguous)" if cell.attempt == "deferred, ambiguous" else ""
    return f"0 of 1 legs sent; leg 1: {cell.reply_class}{doubt}"


def all_runs(cells: Sequence[Cell]) -> list[tuple[Cell, Door, bool]]:
    """Every cell by each door, with a backup and without."""
    return list(itertools.product(cells, get_args(Door), (True, False)))


def courses(
    cells: Sequence[Cell], directory: Path, *, through: Sequence[str] = ()
) -> Mapping[tuple[Cell, Door, bool], tuple[Course, Course]]:
    """What the table says, and what came of it, for each of `all_runs(cells)`.

    `through`: see `Waypost`.
    """
    with ExitStack() as stack:
        backup = stack.enter_context(FakeNextHop("backup.example"))
        runs = [
            Run(*run, number, stack.enter_context(_next_hop(run[0])))
            for number, run in enumerate(all_runs(cells))
        ]
        config = "\n".join(_config(runs, directory, backup))
        waypost = stack.enter_context(Waypost(config, directory, through=through))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            replies = list(pool.map(lambda run: _reply(run, f"{directory}/lmtp.sock"), runs))
        assert all(event["event"] == "attempt" for event in waypost.events(level="error"))
        attempts = _attempts(waypost)
        return {
            (run.cell, run.door, run.backup): (
                run.expected,
                run.course(reply, attempts[f"{run.name}@mydomain.net"], backup),
            )
            for run, reply in zip(runs, replies, strict=True)
        }


def _reply(run: Run, transport: str) -> Reply:
    """The reply; of a run that goes wrong, one that nobody expects, so that the others count."""
    try:
        return run.send(transport)
    except Exception as error:
        return Reply(0, None, repr(error))


def _next_hop(cell: Cell) -> FakeNextHop:
    situation = cell.situation
    return FakeNextHop(
        "first.example",
        tls=authority().server() if situation.tls else None,
        logins=LOGINS if situation.login else None,
    )


def _config(runs: Sequence[Run], directory: Path, backup: FakeNextHop) -> Iterator[str]:
    secret = directory / "secret"
    secret.touch(mode=0o600)
    secret.write_text(LOGINS["waypost"])
    yield f"""
        domains = ["mydomain.net"]
        state = "{directory}/state"
        [milter]
        listen = "unix:{directory}/milter.sock"
        [transport]
        listen = "unix:{directory}/lmtp.sock"
        [outgoing]
        helo = "mx.mydomain.net"
        [relays.backup]
        url = "{backup.url}"
    """
    for run in runs:
        yield run.config(secret)


def _attempts(waypost: Waypost) -> Mapping[str, Sequence[Event]]:
    found = defaultdict(list)
    for event in waypost.events("attempt"):
        found[str(event["recipient"])].append(event)
    return found


def _by_lmtp(transport: str, sender: str, recipient: str, message: bytes) -> Reply:
    utf8 = "" if sender.isascii() else "SMTPUTF8"
    with smtplib.LMTP(transport, local_hostname="mx.mydomain.net", timeout=LONG) as client:
        answers = deliver(client, sender, [recipient], message, mail=utf8)
    assert answers.dot is not None, answers
    return answers.dot


def _by_pipe(transport: str, sender: str, recipient: str, message: bytes) -> Reply:
    queue_id = Address.parse(recipient).local
    command = [
        sys.executable, "-I", "-S", pipe.__file__,
        "--socket", f"unix:{transport}", "--queue-id", queue_id, "--sender", sender,
        "--", recipient,
    ]  # fmt: skip
    # pipe(8) hands lines over that end with LF.
    ended = subprocess.run(
        command, input=message.replace(b"\r\n", b"\n"), capture_output=True, timeout=LONG,
        check=False,
    )  # fmt: skip
    assert ended.stderr == b""
    return Reply.read(CODES[ended.returncode], ended.stdout.decode("ascii"))

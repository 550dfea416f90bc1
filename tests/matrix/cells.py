"""What becomes of a message when a next hop misbehaves: one cell per stage and misbehaviour.

This is what docs/developer/architecture.md says in short ("What a next hop's answer means"). The
tests hold the daemon to it by both doors, and docs/answers.md is made of it: `make answers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from waypost.outcome import Stage

Attempt = Literal["sent", "sent in plaintext", "deferred", "deferred, ambiguous", "bounced"]
Leg = Literal["done", "goes on", "stays"]
"""Is it done, does it ask its next destination at once, or the same one again at the next try?"""

ACCEPTED = "250 2.0.0"


@dataclass(frozen=True, slots=True)
class Situation:
    """What there is beside the misbehaviour."""

    words: str = ""
    tls: Literal["", "opportunistic", "require"] = ""
    """The policy towards a next hop that offers STARTTLS; empty: it does not."""
    login: bool = False
    """Whether the next hop wants a login."""
    kept: bool = False
    """Whether the message comes on a connection that has served another. It misbehaves once."""
    helo: bool = False
    """Whether EHLO is not known."""
    eight_bit: bool = False
    """Whether the message needs 8BITMIME."""
    smtputf8: bool = False
    """Whether its envelope needs SMTPUTF8."""


PLAIN = Situation()
OPPORTUNISTIC = Situation('`tls = "opportunistic"`', tls="opportunistic")
REQUIRE = Situation('`tls = "require"`', tls="require")
LOGIN = Situation("a relay with a login", login=True)
KEPT = Situation("once, on a kept connection", kept=True)
HELO = Situation("EHLO is not known", helo=True)
EIGHT_BIT = Situation("the message has 8-bit text", eight_bit=True)
SMTPUTF8 = Situation("the sender is not ASCII", smtputf8=True)


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the table."""

    stage: str
    """Where the next hop misbehaves, as `FakeNextHop.at` names it, or `connect`."""
    does: str
    """The name of the misbehaviour, or a reply."""
    attempt: Attempt
    reply_class: str
    leg: Leg
    alone: str
    """What Postfix is told when the leg has no other destination: code and enhanced status."""
    situation: Situation = PLAIN
    decided_at: Stage | None = None
    """Where the attempt was decided, if not at `stage`."""
    connections: int = 1
    """How many connections the attempt took, the one that was kept included."""
    note: str = ""
    """What the page says of the attempt beside its outcome."""

    @property
    def with_backup(self) -> str:
        """What Postfix is told when the leg has another destination, which accepts."""
        return self.alone if self.leg == "stays" else ACCEPTED

    @property
    def takes_patience(self) -> bool:
        """Whether it ends only when Waypost has waited long enough."""
        return "hang" in self.does or self.does == "trickle"

    def __str__(self) -> str:
        words = self.situation.words.replace("`", "")
        return ", ".join(filter(None, [f"{self.stage}: {self.does}", words]))


Row = tuple[Attempt, str, Leg, str]

AS_USUAL: Row = ("sent", "accepted", "done", ACCEPTED)
IN_PLAINTEXT: Row = ("sent in plaintext", "accepted", "done", ACCEPTED)
NOT_NOW: Row = ("deferred", "unavailable", "goes on", "451 4.3.0")
CLOSING: Row = ("deferred", "unavailable", "goes on", "451 4.3.2")
OUR_FAULT: Row = ("deferred", "misconfigured", "goes on", "451 4.3.0")
NEVER: Row = ("bounced", "rejected", "goes on", "554 5.3.0")
TOO_LATE: Row = ("deferred", "timeout", "goes on", "451 4.4.2")
LOST: Row = ("deferred", "connect", "goes on", "451 4.4.2")
NO_REPLY: Row = ("deferred", "unavailable", "goes on", "451 4.5.0")
NO_TLS: Row = ("deferred", "misconfigured", "goes on", "451 4.7.5")
# After the final dot it may have the message.
DOT_TOO_LATE: Row = ("deferred, ambiguous", "timeout", "stays", "451 4.4.2")
DOT_LOST: Row = ("deferred, ambiguous", "connect", "stays", "451 4.4.2")
DOT_NO_REPLY: Row = ("deferred, ambiguous", "unavailable", "stays", "451 4.5.0")

CELLS: tuple[Cell, ...] = (
    Cell("connect", "refuse", "deferred", "connect", "goes on", "451 4.4.1", connections=0),
    Cell("greeting", "4xx", *NOT_NOW),
    Cell("greeting", "5xx", *OUR_FAULT),
    Cell("greeting", "421", *CLOSING),
    Cell("greeting", "hang", *TOO_LATE),
    Cell("greeting", "drop", *LOST),
    Cell("greeting", "cut short", *LOST),
    Cell("greeting", "gibberish", *NO_REPLY),
    Cell("greeting", "two replies", *NO_REPLY),
    Cell("greeting", "many lines", *AS_USUAL),
    Cell("greeting", "endless line", *NO_REPLY),
    Cell("greeting", "endless reply", *NO_REPLY),
    Cell("greeting", "slow", *AS_USUAL),
    Cell("greeting", "trickle", *TOO_LATE),
    Cell("ehlo", "4xx", *NOT_NOW),
    Cell("ehlo", "5xx", *AS_USUAL, note="by HELO"),
    Cell("ehlo", "421", *CLOSING),
    Cell("ehlo", "hang", *TOO_LATE),
    Cell("ehlo", "drop", *LOST),
    Cell("ehlo", "cut short", *LOST),
    Cell("ehlo", "gibberish", *NO_REPLY),
    Cell("ehlo", "two replies", *NO_REPLY),
    Cell("ehlo", "many lines", *AS_USUAL),
    Cell("ehlo", "endless line", *NO_REPLY),
    Cell("ehlo", "endless reply", *NO_REPLY),
    Cell("ehlo", "slow", *AS_USUAL),
    Cell("ehlo", "trickle", *TOO_LATE),
    Cell("ehlo", "small SIZE", "bounced", "message", "goes on", "554 5.3.4", decided_at=Stage.MAIL),
    Cell("ehlo", "no 8BITMIME", *AS_USUAL),
    Cell(
        "ehlo", "no 8BITMIME", "bounced", "message", "goes on", "554 5.6.3", EIGHT_BIT, Stage.MAIL
    ),
    Cell("ehlo", "no SMTPUTF8", *AS_USUAL),
    Cell("ehlo", "no SMTPUTF8", "bounced", "message", "goes on", "554 5.6.7", SMTPUTF8, Stage.MAIL),
    Cell("ehlo", "no STARTTLS", *IN_PLAINTEXT, OPPORTUNISTIC),
    Cell(
        "ehlo", "no STARTTLS", "deferred", "misconfigured", "goes on", "451 4.7.4",
        REQUIRE, Stage.STARTTLS,
    ),
    Cell("helo", "4xx", *NOT_NOW, HELO, Stage.EHLO),
    Cell("helo", "5xx", *OUR_FAULT, HELO, Stage.EHLO),
    Cell("helo", "drop", *LOST, HELO, Stage.EHLO),
    Cell("starttls", "4xx", *IN_PLAINTEXT, OPPORTUNISTIC),
    Cell("starttls", "5xx", *IN_PLAINTEXT, OPPORTUNISTIC),
    Cell("starttls", "421", *IN_PLAINTEXT, OPPORTUNISTIC, connections=2),
    Cell("starttls", "hang", *IN_PLAINTEXT, OPPORTUNISTIC, connections=2),
    Cell("starttls", "drop", *IN_PLAINTEXT, OPPORTUNISTIC, connections=2),
    Cell("starttls", "cut short", *IN_PLAINTEXT, OPPORTUNISTIC, connections=2),
    Cell("starttls", "gibberish", *IN_PLAINTEXT, OPPORTUNISTIC, connections=2),
    Cell("starttls", "two replies", *AS_USUAL, OPPORTUNISTIC),
    Cell("starttls", "many lines", *AS_USUAL, OPPORTUNISTIC),
    Cell("starttls", "endless line", *IN_PLAINTEXT, OPPORTUNISTIC, connections=2),
    Cell("starttls", "endless reply", *IN_PLAINTEXT, OPPORTUNISTIC, connections=2),
    Cell("starttls", "slow", *AS_USUAL, OPPORTUNISTIC),
    Cell("starttls", "trickle", *IN_PLAINTEXT, OPPORTUNISTIC, connections=2),
    Cell("starttls", "broken handshake", *IN_PLAINTEXT, OPPORTUNISTIC, connections=2),
    Cell("starttls", "drop in the handshake", *IN_PLAINTEXT, OPPORTUNISTIC, connections=2),
    Cell("starttls", "hang in the handshake", *IN_PLAINTEXT, OPPORTUNISTIC, connections=2),
    Cell("starttls", "4xx", *NOT_NOW, REQUIRE),
    Cell("starttls", "5xx", *OUR_FAULT, REQUIRE),
    Cell("starttls", "421", *CLOSING, REQUIRE),
    Cell("starttls", "hang", *TOO_LATE, REQUIRE),
    Cell("starttls", "drop", *LOST, REQUIRE),
    Cell("starttls", "cut short", *LOST, REQUIRE),
    Cell("starttls", "gibberish", *NO_REPLY, REQUIRE),
    Cell("starttls", "two replies", *AS_USUAL, REQUIRE),
    Cell("starttls", "many lines", *AS_USUAL, REQUIRE),
    Cell("starttls", "endless line", *NO_REPLY, REQUIRE),
    Cell("starttls", "endless reply", *NO_REPLY, REQUIRE),
    Cell("starttls", "slow", *AS_USUAL, REQUIRE),
    Cell("starttls", "trickle", *TOO_LATE, REQUIRE),
    Cell("starttls", "broken handshake", *NO_TLS, REQUIRE),
    Cell("starttls", "drop in the handshake", *LOST, REQUIRE),
    Cell("starttls", "hang in the handshake", *TOO_LATE, REQUIRE),
    Cell("auth", "4xx", *NOT_NOW, LOGIN),
    Cell("auth", "5xx", *OUR_FAULT, LOGIN),
    Cell("auth", "421", *CLOSING, LOGIN),
    Cell("auth", "hang", *TOO_LATE, LOGIN),
    Cell("auth", "drop", *LOST, LOGIN),
    Cell("auth", "cut short", *LOST, LOGIN),
    Cell("auth", "gibberish", *NO_REPLY, LOGIN),
    Cell("auth", "two replies", *NO_REPLY, LOGIN),
    Cell("auth", "many lines", *AS_USUAL, LOGIN),
    Cell("auth", "endless line", *NO_REPLY, LOGIN),
    Cell("auth", "endless reply", *NO_REPLY, LOGIN),
    Cell("auth", "slow", *AS_USUAL, LOGIN),
    Cell("auth", "trickle", *TOO_LATE, LOGIN),
    Cell("mail", "4xx", *NOT_NOW),
    Cell("mail", "5xx", *NEVER),
    Cell("mail", "421", *CLOSING),
    Cell("mail", "530 5.7.0 log in first", "deferred", "misconfigured", "goes on", "451 4.7.0"),
    Cell("mail", "hang", *TOO_LATE),
    Cell("mail", "drop", *LOST),
    Cell("mail", "cut short", *LOST),
    Cell("mail", "gibberish", *NO_REPLY),
    Cell("mail", "two replies", *NO_REPLY),
    Cell("mail", "many lines", *AS_USUAL),
    Cell("mail", "endless line", *NO_REPLY),
    Cell("mail", "endless reply", *NO_REPLY),
    Cell("mail", "slow", *AS_USUAL),
    Cell("mail", "trickle", *TOO_LATE),
    Cell("mail", "4xx", *NOT_NOW, KEPT),
    Cell("mail", "421", *AS_USUAL, KEPT, connections=2),
    Cell("mail", "hang", *AS_USUAL, KEPT, connections=2),
    Cell("mail", "drop", *AS_USUAL, KEPT, connections=2),
    Cell("mail", "gibberish", *AS_USUAL, KEPT, connections=2),
    Cell("mail", "two replies", *AS_USUAL, KEPT, connections=2),
    Cell("rcpt", "4xx", *NOT_NOW),
    Cell("rcpt", "5xx", *NEVER),
    Cell("rcpt", "421", *CLOSING),
    Cell(
        "rcpt", "451 4.7.650 temporarily rate limited due to IP reputation",
        "deferred", "throttled", "goes on", "451 4.7.650",
    ),
    Cell(
        "rcpt", "450 4.2.0 greylisted, come back later",
        "deferred", "greylisted", "stays", "451 4.2.0",
    ),
    Cell("rcpt", "452 4.2.2 mailbox full", "deferred", "mailbox_full", "goes on", "451 4.2.2"),
    Cell("rcpt", "550 5.1.1 no such user", "bounced", "unknown_recipient", "goes on", "554 5.1.1"),
    Cell("rcpt", "hang", *TOO_LATE),
    Cell("rcpt", "drop", *LOST),
    Cell("rcpt", "cut short", *LOST),
    Cell("rcpt", "gibberish", *NO_REPLY),
    Cell("rcpt", "two replies", *NO_REPLY),
    Cell("rcpt", "many lines", *AS_USUAL),
    Cell("rcpt", "endless line", *NO_REPLY),
    Cell("rcpt", "endless reply", *NO_REPLY),
    Cell("rcpt", "slow", *AS_USUAL),
    Cell("rcpt", "trickle", *TOO_LATE),
    Cell("rcpt", "drop", *LOST, KEPT),
    Cell("data", "4xx", *NOT_NOW),
    Cell("data", "5xx", *NEVER),
    Cell("data", "421", *CLOSING),
    Cell("data", "hang", *TOO_LATE),
    Cell("data", "drop", *LOST),
    Cell("data", "cut short", *LOST),
    Cell("data", "gibberish", *NO_REPLY),
    Cell("data", "two replies", *NO_REPLY),
    Cell("data", "many lines", *AS_USUAL),
    Cell("data", "endless line", *NO_REPLY),
    Cell("data", "endless reply", *NO_REPLY),
    Cell("data", "slow", *AS_USUAL),
    Cell("data", "trickle", *TOO_LATE),
    Cell("dot", "4xx", *NOT_NOW),
    Cell("dot", "5xx", *NEVER),
    Cell("dot", "421", *CLOSING),
    Cell("dot", "554 5.7.1 this is spam", "bounced", "message", "goes on", "554 5.7.1"),
    Cell("dot", "hang", *DOT_TOO_LATE),
    Cell("dot", "drop", *DOT_LOST),
    Cell("dot", "take and drop", *DOT_LOST),
    Cell("dot", "cut short", *DOT_LOST),
    Cell("dot", "gibberish", *DOT_NO_REPLY),
    Cell("dot", "two replies", *AS_USUAL, note="and the connection closed"),
    Cell("dot", "many lines", *AS_USUAL),
    Cell("dot", "endless line", *DOT_NO_REPLY),
    Cell("dot", "endless reply", *DOT_NO_REPLY),
    Cell("dot", "slow", *AS_USUAL),
    Cell("dot", "trickle", *DOT_TOO_LATE),
)  # fmt: skip

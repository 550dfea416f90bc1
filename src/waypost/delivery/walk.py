"""The walk along the legs of one recipient, within one try.

Owns the doing: it asks `plan` what comes next, makes the attempt, puts it into the ledger, and asks
again; legs go side by side.

Promises: one leg's trouble does not stop another leg; an attempt that was made is in the journal
before the walk says anything about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from waypost.connections import Connections
from waypost.delivery.ledger import Ledger
from waypost.events import Attempted, Event
from waypost.outcome import Attempt, Deferred, Outcome, Sent
from waypost.plan import Ask, Summary, leg_state, settle
from waypost.resolver import Routed
from waypost.route import Destination, Leg
from waypost.smtp_client import Mail

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Message:
    """The message as it leaves for this recipient: the same for every destination."""

    sender: str
    content: bytes
    smtputf8: bool
    eight_bit: bool

    def mail_to(self, destination: Destination) -> Mail:
        """What one attempt sends."""
        smtputf8 = self.smtputf8 or destination.to.needs_smtputf8
        return Mail(self.sender, destination.to, self.content, smtputf8, self.eight_bit)


@dataclass(frozen=True, slots=True)
class Walk:
    """One try for one recipient."""

    routed: Routed
    message: Message
    ledger: Ledger
    connections: Connections
    clock: Callable[[], float]
    observe: Callable[[Event], None]
    queue_id: str
    until: float
    """The loop's time after which nobody new is asked."""

    async def run(self) -> Summary:
        """Walk all legs. Raises what a leg raised, when all have come to their end."""
        start = self.ledger.length
        ends = await asyncio.gather(
            *(self._walk(leg, start) for leg in self.routed.legs), return_exceptions=True
        )
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return settle(
            self.routed.legs,
            self.routed.recipient.key,
            self.routed.match.route,
            self.ledger.history(start),
            self.clock(),
        )

    async def _walk(self, leg: Leg, start: int) -> None:
        while (destination := self._next(leg, start)) is not None:
            async with self.ledger.lock(destination.to.key):
                # While we waited, another leg or recipient may have settled it.
                if self._next(leg, start) == destination:
                    await self._attempt(leg, destination)

    def _next(self, leg: Leg, start: int) -> Destination | None:
        if asyncio.get_running_loop().time() >= self.until:
            return None
        state = leg_state(
            leg,
            self.routed.recipient.key,
            self.routed.match.route,
            self.ledger.history(start),
            self.clock(),
        )
        return state.destination if isinstance(state, Ask) else None

    async def _attempt(self, leg: Leg, destination: Destination) -> None:
        outcome = await self.connections.attempt(
            destination.next_hop, self.message.mail_to(destination), until=self.until
        )
        attempt = Attempt(
            self.routed.recipient.key,
            leg.name,
            destination.to,
            destination.next_hop.name,
            self.clock(),
            outcome,
        )
        self._tell(attempt)
        await self.ledger.record(attempt)
        self.observe(Attempted(self.ledger.id, self.routed.match.route.name, attempt))

    def _tell(self, attempt: Attempt) -> None:
        outcome = attempt.outcome
        fields: dict[str, str | bool] = {"outcome": _name(outcome), "reply": str(outcome.reply)}
        if not isinstance(outcome, Sent):
            fields |= {"stage": outcome.stage, "reply_class": outcome.reply_class}
        if isinstance(outcome, Deferred) and outcome.ambiguous:
            fields["ambiguous"] = True
        _log.info(
            "attempt",
            id=self.ledger.id,
            queue_id=self.queue_id,
            recipient=attempt.recipient,
            route=self.routed.match.route.name,
            leg=attempt.leg,
            destination=str(attempt.to),
            next_hop=attempt.next_hop,
            **fields,
        )


def _name(outcome: Outcome) -> str:
    return type(outcome).__name__.lower()

"""The walk along the legs of one recipient, within one try.

Owns the doing: it asks `plan` what comes next, makes the attempt, puts it into the ledger, and asks
again; legs go side by side.

Promises: one leg's trouble does not stop another leg; an attempt that was made is in the journal
before the walk says anything about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from waypost.connections import Connections
from waypost.delivery.circuits import Circuits
from waypost.delivery.ledger import Ledger
from waypost.events import Attempted, Event
from waypost.outcome import Attempt, Deferred, Outcome, Sent
from waypost.plan import Ask, Summary, leg_state, settle
from waypost.reply import ReplyClass
from waypost.resolver import Routed
from waypost.route import Destination, Leg, NextHop
from waypost.slots import NoRoom
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
    circuits: Circuits
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
            try:
                async with self._turn(destination.next_hop):
                    await self._ask(leg, destination, start)
            except NoRoom:
                _log.info("no_room", id=self.ledger.id, next_hop=destination.next_hop.name)
                return
            except TimeoutError:
                return

    def _next(self, leg: Leg, start: int) -> Destination | None:
        if asyncio.get_running_loop().time() >= self.until:
            return None
        state = leg_state(
            leg,
            self.routed.recipient.key,
            self.routed.match.route,
            self.ledger.history(start),
            self.clock(),
            self.circuits.may_be_asked,
        )
        return state.destination if isinstance(state, Ask) else None

    @asynccontextmanager
    async def _turn(self, next_hop: NextHop) -> AsyncIterator[None]:
        """Copies for one next hop go one after another: on one connection, and not all at once into
        its limits. Raises NoRoom and TimeoutError.
        """
        lock = self.ledger.lock(next_hop.name)
        await self.connections.wait(next_hop, lock.acquire(), self.until)
        try:
            yield
        finally:
            lock.release()

    async def _ask(self, leg: Leg, destination: Destination, start: int) -> None:
        """Make the attempt if it is still to be made.

        Raises NoRoom and TimeoutError when nobody may be asked any more in this try.
        """
        # While we wait, another leg or recipient may settle it, or the circuit open.
        if self._next(leg, start) != destination:
            return
        await self._keep_apart(destination.next_hop, start)
        # One mailbox is asked by one leg at a time, also by way of different next hops.
        async with (
            self.connections.slot(destination.next_hop, until=self.until) as slot,
            self.ledger.lock(destination.to.key),
        ):
            if self._next(leg, start) == destination:
                slot.ends_with(await self._attempt(leg, destination))

    async def _keep_apart(self, next_hop: NextHop, start: int) -> None:
        """Wait as long as this next hop wants copies of one message apart.

        Raises NoRoom, and TimeoutError if that is beyond the deadline.
        """
        attempts = self.ledger.history(start).all
        made = [each.at for each in attempts if each.next_hop == next_hop.name]
        wait = max(made, default=0.0) + self.circuits.apart(next_hop.name) - self.clock()
        if wait > 0:
            if asyncio.get_running_loop().time() + wait >= self.until:
                raise TimeoutError
            await self.connections.wait(next_hop, asyncio.sleep(wait), self.until)

    async def _attempt(self, leg: Leg, destination: Destination) -> Outcome:
        next_hop = destination.next_hop.name
        self.circuits.asked(next_hop)
        outcome = await self.connections.attempt(
            destination.next_hop, self.message.mail_to(destination), until=self.until
        )
        self.circuits.answered(next_hop, outcome)
        attempt = Attempt(
            self.routed.recipient.key,
            leg.name,
            destination.to,
            destination.next_hop.name,
            self.clock(),
            outcome,
        )
        self._tell(attempt)
        # The only leg is sent, so this try ends with 2xx and nothing is asked again: the disk may
        # follow a moment later.
        ends_the_matter = len(self.routed.legs) == 1 and isinstance(outcome, Sent)
        await self.ledger.record(attempt, wait=not ends_the_matter)
        self.observe(Attempted(self.ledger.id, self.routed.match.route.name, attempt))
        return outcome

    def _tell(self, attempt: Attempt) -> None:
        outcome = attempt.outcome
        fields: dict[str, str | bool] = {"outcome": _name(outcome), "reply": str(outcome.reply)}
        tell = _log.info
        if not isinstance(outcome, Sent):
            fields |= {"stage": outcome.stage, "reply_class": outcome.reply_class}
            if outcome.reply_class is ReplyClass.MISCONFIGURED:
                # Loud: no retry mends it, only the operator.
                tell = _log.error
        if isinstance(outcome, Deferred) and outcome.ambiguous:
            fields["ambiguous"] = True
        tell(
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

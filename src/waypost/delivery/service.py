"""The delivery service: one reply for each recipient that Postfix hands over.

Owns the try as a whole: admission, loop check, identity, the lease, the deadline, and the reply.

Promises: `check` and `deliver` never raise; whatever goes wrong here is 451 (invariant 3). One try
per message and recipient runs at a time, and a second one gets the first one's result; a try goes
on when nobody waits for it any more (invariant 4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from waypost import status, trace
from waypost.address import RouteAddresses
from waypost.connections import Connections
from waypost.delivery.admission import Admitted, admit
from waypost.delivery.circuits import Circuits
from waypost.delivery.ledger import Ledgers
from waypost.delivery.walk import Message, Walk
from waypost.events import Event, Finished
from waypost.journal import Journal, Offer
from waypost.outcome import Stage, judge
from waypost.reply import Reply
from waypost.resolver import Resolver, Routed

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Envelope:
    """What came with a message from Postfix, beside its recipients."""

    sender: str
    """The reverse-path as it stood between the angle brackets; empty: the null sender."""
    queue_id: str = ""
    """Postfix's queue id; empty when it was not told."""
    smtputf8: bool = False
    """Whether the message came under SMTPUTF8 (RFC 6531)."""


@dataclass(frozen=True, slots=True)
class Working:
    """What a try works with; a reload replaces it, and tries under way keep theirs."""

    resolver: Resolver
    route_addresses: RouteAddresses
    connections: Connections
    host: str
    """The name this system goes by, for Received."""
    deadline: float
    """Seconds after which a try asks nobody new."""


class Delivery:
    """Delivers messages. `working` gives what is in force, `clock` seconds since the epoch."""

    def __init__(
        self,
        *,
        working: Callable[[], Working],
        journal: Journal,
        circuits: Circuits,
        observe: Callable[[Event], None],
        clock: Callable[[], float],
    ) -> None:
        self._working = working
        self._ledgers = Ledgers(journal)
        self._circuits = circuits
        self._observe = observe
        self._clock = clock
        self._tries: dict[Offer, asyncio.Task[Reply]] = {}

    async def check(self, recipient: str) -> Reply | None:
        """What Postfix is told when it names `recipient`; None: go on."""
        admitted = await self._admit(recipient, self._working())
        return admitted if isinstance(admitted, Reply) else None

    async def deliver(self, envelope: Envelope, recipient: str, content: bytes) -> Reply:
        """Deliver a message to a recipient; `content` has CRLF line ends.

        Whoever waits may go away: the try goes on, and its result is in the journal.
        """
        working = self._working()
        admitted = await self._admit(recipient, working)
        if isinstance(admitted, Reply):
            return admitted
        found = trace.read(content)
        offer = _offer(envelope, admitted, found)
        running = self._tries.get(offer)
        if running is None:
            offered = _Offered(envelope, content, found, admitted.routed, offer)
            running = asyncio.create_task(self._try(offered, working))
            self._tries[offer] = running
            running.add_done_callback(lambda _: self._tries.pop(offer))
        return await asyncio.shield(running)

    async def drain(self) -> None:
        """Wait until no try is under way."""
        while self._tries:
            await asyncio.wait(self._tries.values())

    async def _admit(self, recipient: str, working: Working) -> Admitted | Reply:
        try:
            return await admit(recipient, working.resolver, working.route_addresses)
        except Exception:
            _log.exception("admission_failed", recipient=recipient)
            return status.TROUBLE

    async def _try(self, offered: _Offered, working: Working) -> Reply:
        try:
            reply = _loop(offered) or await self._walk(offered, working)
        except Exception:
            _log.exception(
                "delivery_failed", id=offered.offer.id, queue_id=offered.envelope.queue_id
            )
            reply = status.TROUBLE
        self._tell(offered, reply)
        return reply

    async def _walk(self, offered: _Offered, working: Working) -> Reply:
        async with self._ledgers.open(offered.offer) as ledger:
            walk = Walk(
                routed=offered.routed,
                message=offered.message(working.host, self._clock()),
                ledger=ledger,
                connections=working.connections,
                circuits=self._circuits,
                clock=self._clock,
                observe=self._observe,
                queue_id=offered.envelope.queue_id,
                until=asyncio.get_running_loop().time() + working.deadline,
            )
            return status.summary_reply(await walk.run())

    def _tell(self, offered: _Offered, reply: Reply) -> None:
        recipient, route = offered.routed.recipient, offered.routed.match.route.name
        _log.info(
            "recipient_finished",
            id=offered.offer.id,
            queue_id=offered.envelope.queue_id,
            recipient=recipient.key,
            route=route,
            reply=str(reply),
        )
        outcome = judge(Stage.DOT, reply)
        self._observe(Finished(self._clock(), offered.offer.id, recipient.address, route, outcome))


@dataclass(frozen=True, slots=True)
class _Offered:
    """A message and one recipient of it, as Postfix offers them."""

    envelope: Envelope
    content: bytes
    trace: trace.Trace
    routed: Routed
    offer: Offer

    def message(self, host: str, at: float) -> Message:
        """The message with our headers on top."""
        headers = trace.on_top(self.routed.recipient.address, self.offer.id, host, at)
        return Message(
            self.envelope.sender,
            headers + self.content,
            smtputf8=not self.envelope.sender.isascii()
            or (self.envelope.smtputf8 and self.trace.eight_bit_header),
            eight_bit=self.trace.eight_bit,
        )


def _offer(envelope: Envelope, admitted: Admitted, found: trace.Trace) -> Offer:
    entry = found.fingerprint(envelope.sender, with_entry=True)
    bound = admitted.id is not None
    return Offer(
        queue_id=envelope.queue_id,
        entry=entry,
        recipient=admitted.routed.recipient.key,
        id=admitted.message_id(envelope.queue_id),
        # A queue id alone is used again; the milter's id is not, and survives a requeue.
        fingerprint=found.fingerprint(envelope.sender, with_entry=False) if bound else entry,
    )


def _loop(offered: _Offered) -> Reply | None:
    if offered.trace.was_delivered_to(offered.routed.recipient.address):
        return status.LOOP
    if offered.trace.hops >= trace.HOP_LIMIT:
        return status.TOO_MANY_HOPS
    return None

"""Whether RCPT and the transport agree on a recipient.

    python -m tests.fuzz.agreement 1000000      # on all cores; says what the answers were

What RCPT says, and what the transport then has to say (DESIGN, the route address):

| RCPT                      | to the recipient as it is      | to a genuine route address of it    |
|---------------------------|--------------------------------|-------------------------------------|
| goes on, and exchanges it | goes on                        | goes on: it is what the milter made |
| 550                       | the same                       | 451: it had a route when it came in |
| goes on, and leaves it    | 550 5.7.1: not the transport's | 451                                 |

Of route addresses RCPT lets the genuine ones through and refuses all others with 550 5.7.1. The
transport looks inside: at the genuine by the last column, at forged ones by the middle.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Literal

import structlog

from tests.fuzz import world
from tests.fuzz.recipients import recipients
from tests.fuzz.virtual import Violation
from waypost import status
from waypost.address import Address, NotAnAddress
from waypost.delivery.admission import admit
from waypost.events import Event, Resolved
from waypost.milter import codec
from waypost.milter.conversation import Conversation
from waypost.reply import Reply

SEEDS = (3, 14, 15, 92, 65, 35, 89, 79)
"""Each for an eighth of the recipients."""
_REFUSALS = {
    codec.refuse(each): each
    for each in (
        status.UNKNOWN,
        status.NO_LEGAL_DESTINATION,
        status.BAD_SYNTAX,
        status.NOT_FOR_YOU,
    )
}


@dataclass(frozen=True, slots=True)
class AtRcpt:
    """What happened to a recipient at RCPT."""

    verdict: Literal["exchanged", "refused", "left"]
    refusal: Reply | None = None
    route_address: str = ""
    """What it was exchanged for."""


class Doors:
    """A milter conversation, and the transport's admission, that work by one configuration."""

    def __init__(self) -> None:
        self._told: list[Event] = []
        self._conversation = Conversation(world.services(self._told.append))

    async def rcpt(self, octets: bytes) -> AtRcpt:
        """What the milter makes of it."""
        answer = await self._conversation.answer(b"R<" + octets + b">\0")
        event = self._told.pop()
        changes = await self._conversation.answer(b"E")
        assert isinstance(event, Resolved)
        if changes != codec.CONTINUE and event.verdict == "routed" and changes[4:6] == b"2<":
            return AtRcpt("exchanged", None, changes[6:].partition(b">\0")[0].decode())
        if changes != codec.CONTINUE:
            raise Violation(f"{event!r}, and yet {changes!r}")
        if answer != codec.CONTINUE:
            return AtRcpt("refused", _REFUSALS[answer])
        if event.verdict not in ("not_ours", "untouched"):
            raise Violation(f"{event!r}, and yet {answer!r}")
        return AtRcpt("left")

    async def transport(self, recipient: str) -> Reply | None:
        """What the transport says to it: `Delivery.check`, but that nothing raised is caught."""
        admitted = await admit(recipient, world.resolver(), world.ROUTE_ADDRESSES)
        return admitted if isinstance(admitted, Reply) else None


def to_net(at_rcpt: AtRcpt) -> Reply | None:
    """The middle column."""
    return status.NOT_FOR_YOU if at_rcpt.verdict == "left" else at_rcpt.refusal


def to_genuine(at_rcpt: AtRcpt) -> Reply | None:
    """The last column."""
    return None if at_rcpt.verdict == "exchanged" else status.NO_ROUTE_TODAY


async def compare(doors: Doors, octets: bytes) -> str:
    """Ask both about one recipient. Says what the answer was. Raises Violation."""
    text = codec.read_rcpt(b"<" + octets + b">\0").text
    at_rcpt = await doors.rcpt(octets)
    try:
        address = Address.parse(text)
    except NotAnAddress:
        await _expect(doors, text, to_net(at_rcpt))
        return f"no address: {at_rcpt.verdict}"
    read = world.ROUTE_ADDRESSES.read(address)
    if read is not None:
        if at_rcpt.verdict != ("left" if read.genuine else "refused"):
            raise Violation(f"{at_rcpt!r} for {read!r}")
        inside = await doors.rcpt(str(read.recipient).encode())
        await _expect(doors, text, to_genuine(inside) if read.genuine else to_net(inside))
        return f"route address, {'genuine' if read.genuine else 'forged'}: {inside.verdict}"
    await _expect(doors, text, to_net(at_rcpt))
    made = str(world.ROUTE_ADDRESSES.make(world.MESSAGE_ID, address))
    if at_rcpt.route_address not in ("", made):
        raise Violation(f"{at_rcpt!r}, while {made!r} was due")
    await _expect(doors, made, to_genuine(at_rcpt))
    return at_rcpt.verdict


async def _expect(doors: Doors, recipient: str, wanted: Reply | None) -> None:
    said = await doors.transport(recipient)
    if said != wanted:
        raise Violation(f"the transport says {said!r} to {recipient!r}, while {wanted!r} was due")


async def _count(seed: int, how_many: int) -> Counter[str]:
    doors = Doors()
    answers: Counter[str] = Counter()
    for octets in itertools.islice(recipients(seed), how_many):
        try:
            answers[await compare(doors, octets)] += 1
        except Exception as error:
            raise Violation(f"{octets!r}: {type(error).__name__}: {error}") from error
    return answers


def count(seed: int, how_many: int) -> Counter[str]:
    """Compare so many recipients. Raises Violation, which names the recipient."""
    # Millions of debug lines else. What is an error would be an answer that no table here has.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return asyncio.run(_count(seed, how_many))


def count_all(how_many: int) -> Counter[str]:
    """The same with all SEEDS, on all cores."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as processes:
        each = processes.map(count, SEEDS, [how_many // len(SEEDS)] * len(SEEDS))
        return sum(each, Counter[str]())


if __name__ == "__main__":
    for answer, times in count_all(int(sys.argv[1])).most_common():
        print(f"{times:9,} {answer}")

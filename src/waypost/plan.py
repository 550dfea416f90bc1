"""What to do next for one recipient of one message, or what became of it.

Owns the walk along the legs: `leg_state` says where a leg stands and whom to ask next, `settle`
sums the legs up. Pure functions over a route's legs and the attempts known so far; `now` is given.

Promises (DESIGN: what the journal knows, what an answer means): a leg that is done is never asked
again; a destination that bounced is not asked again for this message; a destination is asked once
in a try; a recipient never bounces while a leg of it is deferred. Every try ends: with each attempt
recorded, `leg_state` comes nearer to a state other than `Ask`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from waypost.outcome import Attempt, Bounced, Deferred, Sent
from waypost.route import Destination, Leg, Route

ANY_FOR = 24 * 3600.0
"""Seconds for which a route with `success = "any"` goes on with its other legs once one is sent."""
FAILOVER_AFTER = {"greylisted": 15 * 60.0}
"""Seconds to stay with a destination, by reply class, unless the route says otherwise. A
greylisting receiver takes the same message from the same host a little later (RFC 6647 section 2).
"""

AMBIGUOUS_FOR = 3600.0
"""Seconds for which one doubt keeps a leg with its destination. A host that then is still not to be
had may never say more, and a second copy is better than none."""


@dataclass(frozen=True, slots=True)
class History:
    """The attempts for one message, whichever recipients they served."""

    earlier: Sequence[Attempt]
    """Those of earlier tries."""
    current: Sequence[Attempt] = ()
    """Those since this try began."""

    @property
    def all(self) -> Sequence[Attempt]:
        """Every attempt, oldest first."""
        return [*self.earlier, *self.current]


@dataclass(frozen=True, slots=True)
class Ask:
    """The next thing to do for this leg."""

    destination: Destination


class Rest(Enum):
    """There is nothing more to do for this leg in this try."""

    DONE = "sent"
    WAITING = "deferred"
    SPENT = "bounced"


LegState = Ask | Rest


def _always(_: str) -> bool:
    return True


def leg_state(
    leg: Leg,
    recipient: str,
    route: Route,
    history: History,
    now: float,
    may_be_asked: Callable[[str], bool] = _always,
) -> LegState:
    """Where `leg` stands.

    `recipient` is the key of the recipient, `now` is in seconds since the epoch. `may_be_asked`
    says of a next hop, by name, whether its circuit lets an attempt through: one that does not is
    passed over, and the leg is deferred for it if nobody else takes the message.
    """
    sent = [attempt for attempt in history.all if isinstance(attempt.outcome, Sent)]
    if any((attempt.recipient, attempt.leg) == (recipient, leg.name) for attempt in sent):
        return Rest.DONE
    holders = {attempt.to.key for attempt in sent}
    waiting = False
    for destination in leg.destinations:
        if destination.to.key in holders:
            return Rest.DONE
        asked = [attempt for attempt in history.all if _asked(attempt, destination)]
        if any(isinstance(attempt.outcome, Bounced) for attempt in asked):
            continue
        asked_now = any(_asked(attempt, destination) for attempt in history.current)
        if not asked_now and may_be_asked(destination.next_hop.name):
            return Ask(destination)
        waiting = True
        if asked and _stays(asked, route, now):
            return Rest.WAITING
    return Rest.WAITING if waiting else Rest.SPENT


def _asked(attempt: Attempt, destination: Destination) -> bool:
    return (attempt.to.key, attempt.next_hop) == destination.key


def _stays(asked: Sequence[Attempt], route: Route, now: float) -> bool:
    """Whether a leg waits for the destination deferred last and does not go on to its successor."""
    deferred = [(each.at, each.outcome) for each in asked if isinstance(each.outcome, Deferred)]
    doubts = [at for at, outcome in deferred if outcome.ambiguous]
    if len(doubts) == 1 and now - doubts[0] < AMBIGUOUS_FOR:
        # It may hold the message already, whatever it has said since: a second doubt is needed
        # before another mailbox is asked.
        return True
    reply_class = deferred[-1][1].reply_class
    wait = failover_after(reply_class, route.failover_after)
    first = min(at for at, outcome in deferred if outcome.reply_class is reply_class)
    # A clock that was set back must not keep a leg that has no wait.
    return max(now - first, 0.0) < wait


def failover_after(reply_class: str, configured: Mapping[str, float]) -> float:
    """Seconds that a leg stays with a destination whose answers are of `reply_class`."""
    return configured.get(reply_class, FAILOVER_AFTER.get(reply_class, 0.0))


@dataclass(frozen=True, slots=True)
class LegReport:
    """A leg and what is known of it: for each destination asked, the latest attempt, in order."""

    state: Rest
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of a recipient in this try."""

    state: Rest
    legs: tuple[LegReport, ...]

    @property
    def sent(self) -> int:
        """How many legs are done."""
        return sum(leg.state is Rest.DONE for leg in self.legs)


def settle(
    legs: Sequence[Leg], recipient: str, route: Route, history: History, now: float
) -> Summary:
    """The sum of all legs. A leg that still wants to ask someone counts as deferred: the deadline
    has cut it off.
    """
    reports = tuple(
        LegReport(state if isinstance(state, Rest) else Rest.WAITING, tuple(_latest(leg, history)))
        for leg in legs
        for state in [leg_state(leg, recipient, route, history, now)]
    )
    states = {report.state for report in reports}
    return Summary(_sum(states, route, _first(legs, history), now), reports)


def _sum(states: set[Rest], route: Route, first: float | None, now: float) -> Rest:
    enough = route.success == "any" and Rest.DONE in states
    if Rest.WAITING in states:
        over = enough and first is not None and now - first >= ANY_FOR
        return Rest.DONE if over else Rest.WAITING
    if enough:
        return Rest.DONE
    return Rest.SPENT if Rest.SPENT in states or not states else Rest.DONE


def _latest(leg: Leg, history: History) -> list[Attempt]:
    latest = []
    for destination in leg.destinations:
        asked = [attempt for attempt in history.all if _asked(attempt, destination)]
        latest += asked[-1:]
    return latest


def _first(legs: Sequence[Leg], history: History) -> float | None:
    keys = {destination.key for leg in legs for destination in leg.destinations}
    times = [each.at for each in history.all if (each.to.key, each.next_hop) in keys]
    return min(times, default=None)

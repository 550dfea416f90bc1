"""Which next hops are in trouble, and when they are asked again.

Owns a circuit per next hop: closed while it answers, open while it is in trouble, and a probe now
and then to find out; and the pace at which a next hop wants copies of one message. Pure: the time
is given, and so is the randomness.

Promises: only what concerns a whole host opens a circuit (`Scope.HOST`), never what was said about
one message or one mailbox; while it is open, one attempt at a time may go through as a probe, at
growing intervals; one success closes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum

from waypost.outcome import Deferred, Outcome, Sent
from waypost.reply import ReplyClass, Scope

FAILURES = 3
"""How many failures in a row open a circuit."""
FIRST_PAUSE = 60.0
"""Seconds between the opening of a circuit and its first probe."""
LONGEST_PAUSE = 3600.0
"""Seconds: the pause doubles after every probe that fails, up to this."""
JITTER = 0.2
"""The part of a pause that is random, so that probes of many hosts do not meet."""
PROBE_SECONDS = 3600.0
"""Seconds after which a probe that never ended is forgotten."""

APART = 60.0
"""Seconds between copies of one message for a next hop that has complained of equal Message-IDs."""
APART_FOR = 24 * 3600.0
"""Seconds for which such a complaint holds."""


class State(Enum):
    """What a circuit lets through."""

    CLOSED = "closed"
    """Everything."""
    OPEN = "open"
    """Nothing, until the next probe is due."""
    PROBING = "probing"
    """Nothing: a probe is under way."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """What is known of one next hop."""

    next_hop: str
    failures: int = 0
    """Failures in a row."""
    opened_at: float | None = None
    """Seconds since the epoch; None: closed."""
    pause: float = 0.0
    """Seconds between the last failure and the next probe, jitter aside."""
    probe_at: float = 0.0
    """When the next probe is due."""
    probing_since: float | None = None
    reason: str = ""
    """The class and code of the failure last seen."""

    def state(self, now: float) -> State:
        """What it lets through at `now`."""
        if self.opened_at is None:
            return State.CLOSED
        if self.probing_since is not None and now - self.probing_since < PROBE_SECONDS:
            return State.PROBING
        return State.OPEN

    def may_be_asked(self, now: float) -> bool:
        """Whether an attempt may be made at `now`, if only as a probe."""
        state = self.state(now)
        return state is State.CLOSED or (state is State.OPEN and now >= self.probe_at)

    def asked(self, now: float) -> Circuit:
        """The circuit once an attempt has begun."""
        return self if self.opened_at is None else replace(self, probing_since=now)

    def answered(self, outcome: Outcome, now: float, jitter: float) -> Circuit:
        """The circuit once an attempt has ended; `jitter` is random, from 0 up to 1."""
        if isinstance(outcome, Deferred) and outcome.scope is Scope.HOST:
            return self._failed(f"{outcome.reply.code} {outcome.reply_class}", now, jitter)
        # Any other answer comes from a host that works, but only one that took a message has shown
        # that it takes ours again.
        if isinstance(outcome, Sent):
            return Circuit(self.next_hop)
        if self.opened_at is None:
            return replace(self, failures=0)
        return self.pausing(FIRST_PAUSE, now, jitter)

    def _failed(self, reason: str, now: float, jitter: float) -> Circuit:
        counted = replace(self, failures=self.failures + 1, reason=reason)
        if self.opened_at is not None:
            # An answer to what was asked before it opened is no probe: it proves nothing new.
            longer = self.pause * 2 if self.probing_since is not None else self.pause
            return counted.pausing(min(longer, LONGEST_PAUSE), now, jitter)
        if counted.failures < FAILURES:
            return counted
        return replace(counted, opened_at=now).pausing(FIRST_PAUSE, now, jitter)

    def pausing(self, pause: float, now: float, jitter: float) -> Circuit:
        """The circuit with its next probe `pause` seconds from `now`, jitter aside."""
        wait = pause * (1 - JITTER / 2 + JITTER * jitter)
        return replace(self, pause=pause, probe_at=now + wait, probing_since=None)


class Health:
    """The circuits of all next hops. `random` gives numbers from 0 up to 1."""

    def __init__(self, circuits: Iterable[Circuit] = (), *, random: Callable[[], float]) -> None:
        self._circuits = {circuit.next_hop: circuit for circuit in circuits}
        self._random = random
        self._complained: dict[str, float] = {}

    def may_be_asked(self, next_hop: str, now: float) -> bool:
        """Whether an attempt at `next_hop` may be made at `now`."""
        circuit = self._circuits.get(next_hop)
        return circuit is None or circuit.may_be_asked(now)

    def asked(self, next_hop: str, now: float) -> None:
        """An attempt begins; of an open circuit it is the probe."""
        if next_hop in self._circuits:
            self._circuits[next_hop] = self._circuits[next_hop].asked(now)

    def answered(self, next_hop: str, outcome: Outcome, now: float) -> tuple[Circuit, Circuit]:
        """An attempt has ended: the circuit before and after, the same if nothing changed."""
        if isinstance(outcome, Deferred) and outcome.reply_class is ReplyClass.REPEATED:
            self._complained[next_hop] = now
        before = self._circuits.get(next_hop, Circuit(next_hop))
        after = before.answered(outcome, now, self._random())
        self._circuits[next_hop] = after
        return before, after

    def apart(self, next_hop: str, now: float) -> float:
        """Seconds that must lie between two copies of one message for `next_hop`."""
        complained = self._complained.get(next_hop)
        return APART if complained is not None and now - complained < APART_FOR else 0.0

    def circuits(self) -> list[Circuit]:
        """All circuits that have seen a failure, by name."""
        return [circuit for _, circuit in sorted(self._circuits.items()) if circuit.failures]

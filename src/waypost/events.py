"""What observers are told, after it happened.

Owns the events that `Hooks.observe` receives. Values only: no event can change a delivery.
"""

from __future__ import annotations

from dataclasses import dataclass

from waypost.address import Address
from waypost.outcome import Attempt, Outcome


@dataclass(frozen=True, slots=True)
class Resolved:
    """A recipient was asked about at RCPT, and this was the answer."""

    at: float
    """Seconds since the epoch."""
    recipient: str
    """The recipient as the client wrote it."""
    verdict: str
    """`routed`, `unknown`, `not_ours`, `untouched` or `trouble`."""
    route: str | None


@dataclass(frozen=True, slots=True)
class Attempted:
    """One attempt ended."""

    id: str
    route: str
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Finished:
    """A recipient got its answer for this try: sent, deferred or bounced."""

    at: float
    id: str
    recipient: Address
    route: str
    outcome: Outcome


Event = Resolved | Attempted | Finished

"""The circuits in use: health, kept over restarts and told in the log.

Owns the joining of `health` with the clock, the journal and the log. Promises: every opening and
closing of a circuit is logged once and saved.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from waypost.health import Circuit, Health
from waypost.journal import Journal, JournalTrouble
from waypost.outcome import Outcome

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Circuits:
    """All circuits of this daemon. Create it with `Circuits.load`."""

    def __init__(self, health: Health, journal: Journal, clock: Callable[[], float]) -> None:
        self._health = health
        self._journal = journal
        self._clock = clock

    @classmethod
    async def load(
        cls, journal: Journal, *, clock: Callable[[], float], random: Callable[[], float]
    ) -> Circuits:
        """The circuits as the journal has them; all closed when it cannot be read."""
        try:
            saved = await journal.circuits()
        except JournalTrouble:
            saved = []
        return cls(Health(saved, random=random), journal, clock)

    def may_be_asked(self, next_hop: str) -> bool:
        """Whether an attempt at `next_hop` (its name) may be made now."""
        return self._health.may_be_asked(next_hop, self._clock())

    def apart(self, next_hop: str) -> float:
        """Seconds that must lie between two copies of one message for `next_hop`."""
        return self._health.apart(next_hop, self._clock())

    def asked(self, next_hop: str) -> None:
        """An attempt begins."""
        self._health.asked(next_hop, self._clock())

    def answered(self, next_hop: str, outcome: Outcome) -> None:
        """An attempt has ended."""
        before, after = self._health.answered(next_hop, outcome, self._clock())
        if before != after:
            self._journal.save_circuit(after)
            _tell(before, after)


def _tell(before: Circuit, after: Circuit) -> None:
    if before.opened_at is None and after.opened_at is not None:
        _log.warning(
            "circuit_opened", next_hop=after.next_hop, reason=after.reason, pause=after.pause
        )
    elif before.opened_at is not None and after.opened_at is None:
        _log.info("circuit_closed", next_hop=after.next_hop)
    elif after.pause != before.pause:
        _log.info(
            "circuit_stays_open", next_hop=after.next_hop, reason=after.reason, pause=after.pause
        )

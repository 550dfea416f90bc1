"""The journal and plain dictionaries agree, whatever happens in whatever order.

A crash is what a process leaves behind that is gone in the middle of its work: a copy of the files
as they are at that moment, opened by a new journal.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit import strategies
from tests.unit.disk import Disk
from waypost.address import Address
from waypost.health import Circuit
from waypost.journal import Identity, Journal, JournalTrouble, Offer
from waypost.outcome import Attempt

T = TypeVar("T")

NOW = 1e9
FULL = """
    CREATE TRIGGER full BEFORE INSERT ON attempts
        BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END;
    CREATE TRIGGER full_too BEFORE UPDATE ON identities
        BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END;
    CREATE TRIGGER full_as_well BEFORE INSERT ON identities
        BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END;
"""
EMPTY_AGAIN = "DROP TRIGGER full; DROP TRIGGER full_too; DROP TRIGGER full_as_well"

offers = st.builds(
    Offer,
    st.sampled_from(["4ABC", "4DEF"]),
    st.sampled_from(["entry1", "entry2"]),
    st.sampled_from(["me@mydomain.net", "family@mydomain.net"]),
    st.sampled_from(["a" * 16, "b" * 16, "0net"]),
    st.sampled_from(["print1", "print2"]),
)
attempts = st.builds(
    Attempt,
    st.sampled_from(["me@mydomain.net", "family@mydomain.net"]),
    st.sampled_from(["a@gmail.com", "b@gmail.com"]),
    st.sampled_from([Address.parse("a@gmail.com"), Address.parse("b@gmail.com")]),
    st.just("mx:gmail.com"),
    st.floats(NOW - 1000, NOW),
    strategies.outcomes,
)


class JournalMachine(RuleBasedStateMachine):
    """`Journal` against dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.disk = Disk()
        self.journal = self.opened()
        self.left_behind: list[Journal] = []
        self.full = False
        self.identities: dict[tuple[str, str, str], Identity] = {}
        self.kept: dict[Identity, list[Attempt]] = defaultdict(list)
        self.unwritten: list[tuple[Identity, Attempt]] = []

    def opened(self) -> Journal:
        return Journal(self.disk.now, clock=lambda: NOW)

    def do(self, work: Coroutine[object, object, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        for journal in (*self.left_behind, self.journal):
            self.do(journal.close())
        self.runner.close()
        self.disk.remove()

    def identified(self, offer: Offer) -> Identity | None:
        """What the journal says of an offer, checked; None: it can write nothing at present."""
        try:
            identity = self.do(self.journal.identify(offer))
        except JournalTrouble:
            assert self.full
            return None
        assert not self.full
        for kept, attempt in self.unwritten:
            self.kept[kept].append(attempt)
        self.unwritten.clear()
        key = (offer.queue_id, offer.entry, offer.recipient)
        expected = self.identities.setdefault(key, Identity(offer.id, offer.fingerprint))
        assert identity == expected
        return identity

    @rule(offer=offers)
    def a_message_is_offered(self, offer: Offer) -> None:
        identity = self.identified(offer)
        if identity is not None:
            assert self.do(self.journal.load(identity)) == self.kept[identity]

    @rule(offer=offers, made=st.lists(attempts, min_size=1, max_size=6))
    def attempts_side_by_side(self, offer: Offer, made: list[Attempt]) -> None:
        identity = Identity(offer.id, offer.fingerprint)

        async def record() -> list[BaseException | None]:
            return await asyncio.gather(
                *(self.journal.record(identity, attempt) for attempt in made),
                return_exceptions=True,
            )

        for attempt, result in zip(made, self.do(record()), strict=True):
            if self.full:
                assert isinstance(result, JournalTrouble)
                self.unwritten.append((identity, attempt))
            else:
                assert result is None
                self.kept[identity].append(attempt)

    @precondition(lambda self: not self.full)
    @rule(
        offer=offers,
        made=st.lists(attempts, min_size=1, max_size=6),
        pauses=st.integers(0, 20),
        acknowledged=st.integers(0, 3),
    )
    def a_crash_in_the_middle(
        self, offer: Offer, made: list[Attempt], pauses: int, acknowledged: int
    ) -> None:
        identity = Identity(offer.id, offer.fingerprint)

        async def record_and_crash() -> list[asyncio.Future[None]]:
            records = []
            for number, attempt in enumerate(made):
                records.append(self.journal.record(identity, attempt))
                if number < acknowledged:
                    await records[-1]
            for _ in range(pauses):
                await asyncio.sleep(0)
            done = [each for each in records if each.done()]
            self.disk.crash()
            return done

        done = self.do(record_and_crash())
        # Nobody waits for the old process; here it has to be closed, for it is ours.
        self.left_behind.append(self.journal)
        self.journal = self.opened()
        self.unwritten.clear()
        found = self.do(self.journal.load(identity))
        before = self.kept[identity]
        assert len(found) >= len(before) + len(done), "what was acknowledged is lost"
        assert found == (before + made)[: len(found)], "something else is there"
        self.kept[identity] = found

    @rule()
    def a_restart(self) -> None:
        self.do(self.journal.close())
        if not self.full:
            for identity, attempt in self.unwritten:
                self.kept[identity].append(attempt)
        self.unwritten.clear()
        self.journal = self.opened()

    @precondition(lambda self: not self.full)
    @rule()
    def the_disk_is_full(self) -> None:
        self.do(self.journal.circuits())  # the tables are there
        self.disk.execute(FULL)
        self.full = True

    @precondition(lambda self: self.full)
    @rule()
    def the_disk_has_room(self) -> None:
        self.disk.execute(EMPTY_AGAIN)
        self.full = False

    @rule(age=st.floats(0, 1000))
    def old_attempts_are_forgotten(self, age: float) -> None:
        before = NOW - age
        count = sum(each.at < before for made in self.kept.values() for each in made)
        assert self.do(self.journal.prune(before)) == count
        for identity, made in self.kept.items():
            self.kept[identity] = [each for each in made if each.at >= before]

    @rule(name=st.sampled_from(["mx:gmail.com", "mx:gmx.de"]), failures=st.integers(0, 9))
    def a_circuit_is_saved(self, name: str, failures: int) -> None:
        circuit = Circuit(name, failures, NOW, 60.0, NOW + 60, None, "421 throttled")

        async def save() -> list[Circuit]:
            self.journal.save_circuit(circuit)
            return await self.journal.circuits()

        assert circuit in self.do(save())

    @invariant()
    def everything_is_there(self) -> None:
        for identity, made in self.kept.items():
            assert self.do(self.journal.load(identity)) == made


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)

"""Who may talk to a next hop, who waits, and who has to come again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from waypost.outcome import Deferred, Outcome, Sent, Stage
from waypost.reply import Reply, ReplyClass, Scope
from waypost.slots import NoRoom, Slots

SENT = Sent(Reply.own("250 2.0.0 ok"))
THROTTLED = Deferred(
    Reply.own("421 4.7.0 too many connections"), ReplyClass.THROTTLED, Scope.HOST, Stage.GREETING
)
GREYLISTED = Deferred(
    Reply.own("450 4.2.0 greylisted"), ReplyClass.GREYLISTED, Scope.MESSAGE, Stage.RCPT
)


def later(seconds: float = 30.0) -> float:
    return asyncio.get_running_loop().time() + seconds


class Crowd:
    """Deliveries that hold a slot until they are let go."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.talking: list[str] = []
        self.refused: list[str] = []
        self._go: dict[str, asyncio.Future[Outcome]] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def come(self, name: str, next_hop: str = "a") -> None:
        self._go[name] = asyncio.get_running_loop().create_future()
        self.tasks.append(asyncio.create_task(self._deliver(name, next_hop)))

    async def _deliver(self, name: str, next_hop: str) -> None:
        try:
            async with self.slots.take(next_hop, until=later()) as slot:
                self.talking.append(name)
                slot.ends_with(await self._go[name])
                self.talking.remove(name)
        except NoRoom:
            self.refused.append(name)

    def go(self, name: str, outcome: Outcome = SENT) -> None:
        self._go[name].set_result(outcome)

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110  # what the tasks of the crowd have come to
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_who_came_first_goes_first() -> None:
    crowd = Crowd(Slots(limit=2))
    for name in "abcd":
        crowd.come(name)
    await crowd.settle()
    assert crowd.talking == ["a", "b"]
    crowd.go("b")
    await crowd.settle()
    assert crowd.talking == ["a", "c"]
    await crowd.end()


async def test_next_hops_do_not_wait_for_each_other() -> None:
    crowd = Crowd(Slots(limit=1))
    crowd.come("a1", "a")
    crowd.come("a2", "a")
    crowd.come("b1", "b")
    await crowd.settle()
    assert crowd.talking == ["a1", "b1"]
    await crowd.end()


async def test_a_complaint_halves_the_limit_and_successes_raise_it_again() -> None:
    slots = Slots(limit=4)

    async def at_once() -> int:
        async with AsyncExitStack() as stack:
            for number in range(9):
                try:
                    await stack.enter_async_context(slots.take("a", until=later(0.01)))
                except TimeoutError:
                    return number
        return 9

    async def end_with(outcome: Outcome) -> None:
        async with slots.take("a", until=later()) as slot:
            slot.ends_with(outcome)

    assert await at_once() == 4
    await end_with(GREYLISTED)
    assert await at_once() == 4
    await end_with(THROTTLED)
    assert await at_once() == 2
    for _ in range(5):
        await end_with(THROTTLED)
    assert await at_once() == 1
    for _ in range(20):
        await end_with(SENT)
    assert await at_once() == 4


async def test_waiting_ends_at_the_deadline_and_leaves_nothing_behind() -> None:
    slots = Slots(limit=1)
    async with slots.take("a", until=later()):
        with pytest.raises(TimeoutError):
            async with slots.take("a", until=later(0.01)):
                raise AssertionError("nobody has left")
    async with slots.take("a", until=later(0.01)):
        pass


async def test_a_cancelled_waiter_hands_its_turn_on() -> None:
    crowd = Crowd(Slots(limit=1))
    for name in "abc":
        crowd.come(name)
    await crowd.settle()
    crowd.go("a")
    crowd.tasks[1].cancel()
    await crowd.settle()
    assert crowd.talking == ["c"]
    await crowd.end()


async def test_a_slow_next_hop_holds_its_share_and_no_more() -> None:
    crowd = Crowd(Slots(limit=2, share=5, slow_seconds=0.05))
    for number in range(8):
        crowd.come(f"a{number}", "a")
    # Too many came before it was known to be slow: those beyond the share leave.
    await crowd.until(lambda: len(crowd.refused) == 3)
    crowd.come("late", "a")
    await crowd.settle()
    assert "late" in crowd.refused
    assert crowd.talking == ["a0", "a1"]
    crowd.come("b", "b")
    await crowd.settle()
    assert "b" in crowd.talking
    await crowd.end()


async def test_two_slow_next_hops_share_one_share() -> None:
    crowd = Crowd(Slots(limit=2, share=4, slow_seconds=0.05))
    for number in range(3):
        crowd.come(f"a{number}", "a")
        crowd.come(f"b{number}", "b")
    await crowd.until(lambda: len(crowd.refused) == 2)
    await crowd.end()


async def test_a_busy_next_hop_that_makes_progress_refuses_nobody() -> None:
    now = 0.0
    crowd = Crowd(Slots(limit=1, share=2, slow_seconds=0.05, clock=lambda: now))
    for number in range(12):
        crowd.come(str(number))
    for number in range(12):
        await crowd.settle()
        assert crowd.talking == [str(number)]
        now += 0.04
        crowd.go(str(number))
    await asyncio.gather(*crowd.tasks)
    assert crowd.refused == []


async def test_slots_of_next_hops_that_are_idle_are_forgotten() -> None:
    slots = Slots()
    for number in range(100):
        async with slots.take(str(number), until=later()):
            pass
    assert len(slots._lines) == 0  # noqa: SLF001

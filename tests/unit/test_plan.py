"""The walk along the legs: by example, and with any sequence of answers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit import strategies
from waypost.address import Address
from waypost.outcome import Attempt, Bounced, Deferred, Outcome, Sent, Stage
from waypost.plan import (
    ANY_FOR,
    FAILOVER_AFTER,
    Ask,
    History,
    LegState,
    Rest,
    Summary,
    leg_state,
    settle,
)
from waypost.reply import Reply, ReplyClass, Scope
from waypost.route import Destination, Leg, NextHop, Route

RECIPIENT = "user1@mydomain.net"
MINUTE = 60.0
DAY = 24 * 3600.0

SENT = Sent(Reply.own("250 2.0.0 ok"))
BOUNCED = Bounced(
    Reply.own("550 5.1.1 who?"), ReplyClass.UNKNOWN_RECIPIENT, Scope.MAILBOX, Stage.RCPT
)


def deferred(
    reply_class: ReplyClass = ReplyClass.THROTTLED, *, ambiguous: bool = False
) -> Deferred:
    return Deferred(Reply.own("451 4.7.0 no"), reply_class, Scope.HOST, Stage.RCPT, ambiguous)


THROTTLED = deferred()
GREYLISTED = deferred(ReplyClass.GREYLISTED)
AMBIGUOUS = deferred(ReplyClass.TIMEOUT, ambiguous=True)


def destination(name: str) -> Destination:
    """The mailbox `name`, by its own MX or, written `name/relay`, by a relay."""
    local, _, relay = name.partition("/")
    return Destination(
        Address(local, "x.de"), NextHop(relay or "x.de", 25 if relay else None, relay or None)
    )


def leg(*names: str) -> Leg:
    destinations = tuple(destination(name) for name in names)
    return Leg(destinations[0].to.key, destinations)


def route(
    success: Literal["all", "any"] = "all", failover_after: Mapping[str, float] | None = None
) -> Route:
    return Route("r", (), success, failover_after or {})


def attempt(
    name: str, outcome: Outcome, at: float = 0.0, *, of: str = "", recipient: str = RECIPIENT
) -> Attempt:
    to = destination(name)
    return Attempt(recipient, f"{of or name}@x.de", to.to, to.next_hop.name, at, outcome)


def state(
    of: Leg,
    earlier: Sequence[Attempt] = (),
    current: Sequence[Attempt] = (),
    now: float = 0.0,
    by: Route | None = None,
) -> LegState | str:
    """Where the leg stands; the name of the mailbox if one is to be asked."""
    found = leg_state(of, RECIPIENT, by or route(), History(earlier, current), now)
    return found.destination.to.local if isinstance(found, Ask) else found


# One leg


def test_destinations_are_tried_in_order_until_one_accepts() -> None:
    of = leg("a", "b", "c")
    assert state(of) == "a"
    tried = [attempt("a", THROTTLED)]
    assert state(of, current=tried) == "b"
    tried += [attempt("b", BOUNCED, of="a")]
    assert state(of, current=tried) == "c"
    tried += [attempt("c", SENT, of="a")]
    assert state(of, current=tried) is Rest.DONE


def test_a_spent_leg_is_deferred_if_any_destination_was() -> None:
    of = leg("a", "b")
    assert state(of, current=[attempt("a", THROTTLED), attempt("b", BOUNCED)]) is Rest.WAITING
    assert state(of, current=[attempt("a", BOUNCED), attempt("b", THROTTLED)]) is Rest.WAITING
    assert state(of, current=[attempt("a", BOUNCED), attempt("b", BOUNCED)]) is Rest.SPENT


def test_the_next_try_asks_from_the_first_again_but_none_that_bounced() -> None:
    of = leg("a", "b", "c")
    before = [attempt("a", BOUNCED), attempt("b", THROTTLED), attempt("c", THROTTLED)]
    assert state(of, before) == "b"
    assert state(of, before, [attempt("b", THROTTLED)]) == "c"


def test_a_leg_is_done_by_its_own_attempt_even_if_its_destination_was_edited_away() -> None:
    before = [attempt("old", SENT, of="a")]
    assert state(leg("a", "b"), before) is Rest.DONE
    assert state(leg("b", "a"), before) == "b"


def test_a_leg_is_done_when_its_turn_comes_to_who_holds_a_copy() -> None:
    copy = [attempt("b", SENT, of="other", recipient="other@mydomain.net")]
    of = leg("a", "b", "c")
    assert state(of, copy) == "a"
    assert state(of, copy, [attempt("a", THROTTLED)]) is Rest.DONE
    assert state(leg("b"), copy) is Rest.DONE
    # By another next hop it is the same mailbox all the same.
    assert state(leg("b/relay"), copy) is Rest.DONE


def test_a_sent_leg_of_another_recipient_is_not_ours() -> None:
    copy = [attempt("old", SENT, of="a", recipient="other@mydomain.net")]
    assert state(leg("a"), copy) == "a"


def test_what_bounced_by_one_next_hop_may_be_asked_by_another() -> None:
    assert state(leg("a", "a/relay"), [attempt("a", BOUNCED)]) == "a"
    asked = leg_state(
        leg("a", "a/relay"), RECIPIENT, route(), History([attempt("a", BOUNCED)]), 0.0
    )
    assert asked == Ask(destination("a/relay"))


# Staying with a destination


def test_greylisting_waits_15_minutes() -> None:
    assert FAILOVER_AFTER == {ReplyClass.GREYLISTED: 15 * MINUTE}


def test_a_greylisting_destination_is_asked_alone_until_its_time_is_over() -> None:
    of = leg("a", "b")
    first = [attempt("a", GREYLISTED, at=0.0)]
    assert state(of, current=first, now=1.0) is Rest.WAITING
    # The next try, within the time: it is asked again, and again nobody else.
    assert state(of, first, now=10 * MINUTE) == "a"
    second = [attempt("a", GREYLISTED, at=10 * MINUTE)]
    assert state(of, first, second, now=10 * MINUTE) is Rest.WAITING
    # After it: asked first, and then at once on to the next.
    both = [*first, *second]
    assert state(of, both, now=16 * MINUTE) == "a"
    third = [attempt("a", GREYLISTED, at=16 * MINUTE)]
    assert state(of, both, third, now=16 * MINUTE) == "b"


def test_the_time_counts_from_the_first_answer_of_that_class() -> None:
    of = leg("a", "b")
    before = [attempt("a", THROTTLED, at=0.0), attempt("a", GREYLISTED, at=20 * MINUTE)]
    now = [attempt("a", GREYLISTED, at=30 * MINUTE)]
    assert state(of, before, now, now=30 * MINUTE) is Rest.WAITING
    later = [attempt("a", GREYLISTED, at=36 * MINUTE)]
    assert state(of, before, later, now=36 * MINUTE) == "b"


def test_the_time_counts_from_another_recipients_attempt_too() -> None:
    before = [attempt("a", GREYLISTED, at=0.0, recipient="other@mydomain.net")]
    now = [attempt("a", GREYLISTED, at=16 * MINUTE)]
    assert state(leg("a", "b"), before, now, now=16 * MINUTE) == "b"


def test_the_latest_answer_tells_the_class() -> None:
    of = leg("a", "b")
    before = [attempt("a", GREYLISTED, at=0.0)]
    assert state(of, before, [attempt("a", THROTTLED, at=MINUTE)], now=MINUTE) == "b"


def test_all_else_fails_over_at_once() -> None:
    for reply_class in set(ReplyClass) - {ReplyClass.GREYLISTED}:
        assert state(leg("a", "b"), current=[attempt("a", deferred(reply_class))]) == "b"


def test_a_clock_that_goes_back_keeps_nobody_waiting_who_need_not() -> None:
    assert state(leg("a", "b"), current=[attempt("a", THROTTLED, at=99.0)], now=1.0) == "b"
    grey = [attempt("a", GREYLISTED, at=99.0)]
    assert state(leg("a", "b"), current=grey, now=1.0) is Rest.WAITING


def test_a_route_says_for_itself_how_long_to_stay() -> None:
    of = leg("a", "b")
    patient = route(failover_after={"throttled": 5 * MINUTE, "greylisted": 0.0})
    throttled = [attempt("a", THROTTLED, at=0.0)]
    assert state(of, current=throttled, now=4 * MINUTE, by=patient) is Rest.WAITING
    assert state(of, throttled, [attempt("a", THROTTLED, at=299.0)], 300.0, patient) == "b"
    assert state(of, current=[attempt("a", GREYLISTED)], by=patient) == "b"


def test_after_one_doubt_the_same_destination_is_asked_and_nobody_else() -> None:
    of = leg("a", "b")
    doubt = [attempt("a", AMBIGUOUS)]
    assert state(of, current=doubt) is Rest.WAITING
    assert state(of, doubt) == "a"
    # It may hold the message, so a later answer of another kind changes nothing.
    for outcome in (THROTTLED, GREYLISTED):
        assert state(of, doubt, [attempt("a", outcome, at=DAY)], now=9 * DAY) is Rest.WAITING


def test_after_a_second_doubt_the_successor_is_asked() -> None:
    of = leg("a", "b")
    doubts = [attempt("a", AMBIGUOUS, at=0.0)]
    assert state(of, doubts, [attempt("a", AMBIGUOUS, at=DAY)], now=DAY) == "b"
    doubts += [attempt("a", AMBIGUOUS, at=DAY)]
    assert state(of, doubts, now=2 * DAY) == "a"
    assert state(of, doubts, [attempt("a", THROTTLED, at=2 * DAY)], now=2 * DAY) == "b"


def test_doubts_about_two_destinations_do_not_add_up() -> None:
    of = leg("a", "b", "c")
    before = [attempt("a", AMBIGUOUS), attempt("a", AMBIGUOUS)]
    current = [attempt("a", AMBIGUOUS), attempt("b", AMBIGUOUS)]
    assert state(of, before, current) is Rest.WAITING


def test_a_bounce_after_a_doubt_is_an_answer() -> None:
    assert state(leg("a", "b"), [attempt("a", AMBIGUOUS)], [attempt("a", BOUNCED)]) == "b"


# All legs together


def total(
    legs: Sequence[Leg], attempts: Sequence[Attempt], by: Route | None = None, now: float = 0.0
) -> Summary:
    return settle(legs, RECIPIENT, by or route(), History([], attempts), now)


A, B = leg("a"), leg("b")


@pytest.mark.parametrize(
    ("success", "a", "b", "expected"),
    [
        ("all", SENT, SENT, Rest.DONE),
        ("all", SENT, THROTTLED, Rest.WAITING),
        ("all", SENT, BOUNCED, Rest.SPENT),
        ("all", THROTTLED, BOUNCED, Rest.WAITING),
        ("all", THROTTLED, THROTTLED, Rest.WAITING),
        ("all", BOUNCED, BOUNCED, Rest.SPENT),
        ("any", SENT, SENT, Rest.DONE),
        ("any", SENT, THROTTLED, Rest.WAITING),
        ("any", SENT, BOUNCED, Rest.DONE),
        ("any", THROTTLED, BOUNCED, Rest.WAITING),
        ("any", BOUNCED, BOUNCED, Rest.SPENT),
    ],
)
def test_the_sum_of_two_legs(
    success: Literal["all", "any"], a: Outcome, b: Outcome, expected: Rest
) -> None:
    by = route(success)
    assert total([A, B], [attempt("a", a), attempt("b", b)], by).state is expected
    assert total([B, A], [attempt("b", b), attempt("a", a)], by).state is expected


def test_any_retries_its_other_legs_for_a_day() -> None:
    assert ANY_FOR == DAY
    tried = [attempt("a", SENT, at=100.0), attempt("b", THROTTLED, at=100.0)]
    for by, now, expected in [
        (route("any"), 100.0 + DAY - 1, Rest.WAITING),
        (route("any"), 100.0 + DAY, Rest.DONE),
        (route("all"), 100.0 + DAY, Rest.WAITING),
    ]:
        assert total([A, B], tried, by, now).state is expected


def test_the_day_begins_with_the_first_attempt_of_this_recipients_legs() -> None:
    tried = [
        attempt("other", SENT, at=0.0, recipient="other@mydomain.net"),
        attempt("b", THROTTLED, at=50.0),
        attempt("a", SENT, at=100.0),
    ]
    assert total([A, B], tried, route("any"), 49.0 + DAY).state is Rest.WAITING
    assert total([A, B], tried, route("any"), 50.0 + DAY).state is Rest.DONE


def test_any_waits_on_when_nothing_is_sent() -> None:
    tried = [attempt("a", BOUNCED, at=0.0), attempt("b", THROTTLED, at=0.0)]
    assert total([A, B], tried, route("any"), 9 * DAY).state is Rest.WAITING


def test_a_leg_that_the_deadline_cut_off_is_deferred() -> None:
    summary = total([A, leg("b", "c")], [attempt("a", SENT), attempt("b", BOUNCED)])
    assert summary.state is Rest.WAITING
    assert [report.state for report in summary.legs] == [Rest.DONE, Rest.WAITING]
    assert total([A], []).state is Rest.WAITING


def test_no_leg_at_all_is_bounced() -> None:
    assert total([], []).state is Rest.SPENT


def test_the_summary_counts_sent_legs_and_shows_the_latest_attempts_in_order() -> None:
    first, second = attempt("b", THROTTLED, at=1.0), attempt("a", GREYLISTED, at=2.0)
    latest = attempt("b", BOUNCED, at=3.0)
    summary = total([leg("a", "b", "c"), B, leg("d")], [first, second, latest, attempt("d", SENT)])
    assert [report.attempts for report in summary.legs] == [
        (second, latest),
        (latest,),
        (attempt("d", SENT),),
    ]
    assert (summary.sent, len(summary.legs)) == (1, 3)


# Any sequence of answers

MAILBOXES = ["a", "b", "c", "d", "e/relay", "a/relay"]
legs_of_one = st.lists(
    st.lists(st.sampled_from(MAILBOXES), min_size=1, max_size=4, unique=True).map(
        lambda names: leg(*names)
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda each: each.name,
)
routes = st.builds(
    route,
    st.sampled_from(["all", "any"]),
    st.dictionaries(
        st.sampled_from(ReplyClass), st.sampled_from([0.0, MINUTE, 20 * MINUTE, DAY]), max_size=3
    ),
)
final = strategies.sent | strategies.bounced


@dataclass
class World:
    """One message on its way: what the journal knows, what time it is, and what must stay true."""

    data: st.DataObject
    now: float = 0.0
    attempts: list[Attempt] = field(default_factory=list)

    def attempts_at(self, to: Destination) -> list[Attempt]:
        return [each for each in self.attempts if (each.to.key, each.next_hop) == to.key]

    def holds_copy(self, to: Destination) -> bool:
        return any(
            isinstance(each.outcome, Sent) and each.to.key == to.to.key for each in self.attempts
        )

    def is_sent(self, recipient: str, of: Leg) -> bool:
        return any(
            isinstance(each.outcome, Sent) and (each.recipient, each.leg) == (recipient, of.name)
            for each in self.attempts
        )

    def bounced(self, to: Destination) -> bool:
        return any(isinstance(each.outcome, Bounced) for each in self.attempts_at(to))

    def keeps(self, to: Destination, by: Route) -> bool:
        """Whether a deferred destination keeps a leg from its successor (DESIGN, written anew)."""
        outcomes = [(each.at, each.outcome) for each in self.attempts_at(to)]
        doubts = [outcome for _, outcome in outcomes if getattr(outcome, "ambiguous", False)]
        _, last = outcomes[-1]
        assert isinstance(last, Deferred)
        since = next(
            at
            for at, outcome in outcomes
            if isinstance(outcome, Deferred) and outcome.reply_class is last.reply_class
        )
        standard = 15 * MINUTE if last.reply_class is ReplyClass.GREYLISTED else 0.0
        wait = by.failover_after.get(last.reply_class, standard)
        return len(doubts) == 1 or self.now < since + wait

    def one_try(
        self, recipient: str, legs: Sequence[Leg], by: Route, answers: st.SearchStrategy[Outcome]
    ) -> Summary:
        """Walk until no leg asks any more, with the legs taking turns in any order."""
        start = len(self.attempts)
        bound = len({each.key for of in legs for each in of.destinations})
        for count in itertools.count():
            history = History(self.attempts[:start], self.attempts[start:])
            asking = [
                (of, found.destination)
                for of in legs
                for found in [leg_state(of, recipient, by, history, self.now)]
                if isinstance(found, Ask)
            ]
            if not asking:
                break
            assert count < bound, "the try does not end"
            of, to = self.data.draw(st.sampled_from(asking))
            self.may_be_asked(recipient, of, to, by, start)
            outcome = self.data.draw(answers)
            self.now += self.data.draw(st.sampled_from([0.0, 1.0, 5 * MINUTE]))
            self.attempts.append(
                Attempt(recipient, of.name, to.to, to.next_hop.name, self.now, outcome)
            )
        history = History(self.attempts[:start], self.attempts[start:])
        summary = settle(legs, recipient, by, history, self.now)
        self.is_right(summary, recipient, legs, by)
        for of, report in zip(legs, summary.legs, strict=True):
            if report.state is Rest.WAITING:
                self.waits_for_a_reason(of, by, start)
        return summary

    def may_be_asked(self, recipient: str, of: Leg, to: Destination, by: Route, start: int) -> None:
        assert not self.is_sent(recipient, of), "a sent leg is asked again"
        assert not self.holds_copy(to), "a mailbox that holds a copy is asked again"
        assert not self.bounced(to), "a destination that bounced is asked again"
        in_this_try = {(each.to.key, each.next_hop) for each in self.attempts[start:]}
        assert to.key not in in_this_try, "a destination is asked twice in a try"
        for earlier in itertools.takewhile(lambda each: each.key != to.key, of.destinations):
            assert not self.holds_copy(earlier), "the leg is done already"
            if not self.bounced(earlier):
                assert earlier.key in in_this_try, "a destination is passed over"
                assert not self.keeps(earlier, by), "the leg should have stayed"

    def waits_for_a_reason(self, of: Leg, by: Route, start: int) -> None:
        in_this_try = {(each.to.key, each.next_hop) for each in self.attempts[start:]}
        for to in of.destinations:
            assert not self.holds_copy(to), "the leg is done"
            if not self.bounced(to):
                assert to.key in in_this_try, "nobody keeps the leg from asking"
                if self.keeps(to, by):
                    return

    def is_right(self, summary: Summary, recipient: str, legs: Sequence[Leg], by: Route) -> None:
        for of, report in zip(legs, summary.legs, strict=True):
            done = self.is_sent(recipient, of) or any(map(self.holds_copy, of.destinations))
            spent = all(map(self.bounced, of.destinations))
            if report.state is Rest.DONE:
                assert done
            elif report.state is Rest.SPENT:
                assert spent
                assert not done
            else:
                assert not spent
                assert not self.is_sent(recipient, of)
        states = {report.state for report in summary.legs}
        if by.success == "any" and {Rest.DONE, Rest.WAITING} <= states:
            keys = {each.key for of in legs for each in of.destinations}
            ours = [each.at for each in self.attempts if (each.to.key, each.next_hop) in keys]
            over = bool(ours) and self.now >= min(ours) + DAY
            assert summary.state is (Rest.DONE if over else Rest.WAITING)
        elif summary.state is Rest.SPENT:
            assert Rest.SPENT in states
            assert Rest.WAITING not in states, "bounced while a leg is deferred"
            assert by.success == "all" or Rest.DONE not in states
        elif summary.state is Rest.DONE:
            assert Rest.DONE in states
            assert by.success == "any" or states == {Rest.DONE}
        else:
            assert Rest.WAITING in states


RECIPIENTS = [RECIPIENT, "family@mydomain.net"]


@settings(max_examples=300)
@given(st.data())
def test_whatever_is_answered_every_try_ends_and_so_does_the_message(data: st.DataObject) -> None:
    world = World(data)
    to_whom = {name: data.draw(legs_of_one) for name in RECIPIENTS}
    by = data.draw(routes)
    for _ in range(data.draw(st.integers(0, 5))):
        for name in data.draw(st.lists(st.sampled_from(RECIPIENTS), unique=True)):
            world.one_try(name, to_whom[name], by, strategies.outcomes)
        world.now += data.draw(st.sampled_from([MINUTE, 5 * MINUTE, 30 * MINUTE, DAY]))
        if data.draw(st.booleans()):  # the operator edits the route
            to_whom[data.draw(st.sampled_from(RECIPIENTS))] = data.draw(legs_of_one)
            by = data.draw(routes)
    # From here on every answer is a final one, and so is what becomes of the recipients.
    for name in RECIPIENTS:
        summary = world.one_try(name, to_whom[name], by, final)
        assert summary.state is not Rest.WAITING
        again = world.one_try(name, to_whom[name], by, final)
        assert again == summary, "a final state changed"


@settings(max_examples=50)
@given(st.data(), legs_of_one, routes)
def test_a_receiver_that_never_accepts_never_makes_a_bounce_while_it_defers(
    data: st.DataObject, legs: list[Leg], by: Route
) -> None:
    world = World(data)
    for _ in range(4):
        summary = world.one_try(RECIPIENT, legs, by, strategies.deferred | strategies.ambiguous)
        assert summary.state is Rest.WAITING
        world.now += data.draw(st.sampled_from([MINUTE, DAY]))

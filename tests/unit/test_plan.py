"""The walk along the legs, by example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import pytest

from tests.unit.legs import DAY, HOUR, MINUTE, RECIPIENT, destination, leg, route
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
from waypost.route import Leg, Route

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
    may_be_asked: Callable[[str], bool] = lambda _: True,
) -> LegState | str:
    """Where the leg stands; the name of the mailbox if one is to be asked."""
    history = History(earlier, current)
    found = leg_state(of, RECIPIENT, by or route(), history, now, may_be_asked)
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
    # It may hold the message, so a later answer of another kind changes nothing at first.
    for outcome in (THROTTLED, GREYLISTED):
        later = [attempt("a", outcome, at=30 * MINUTE)]
        assert state(of, doubt, later, now=30 * MINUTE) is Rest.WAITING


def test_one_doubt_does_not_keep_the_message_from_its_backup_for_ever() -> None:
    later = [attempt("a", THROTTLED, at=HOUR)]
    assert state(leg("a", "b"), [attempt("a", AMBIGUOUS, at=0.0)], later, now=HOUR) == "b"


def not_slow(next_hop: str) -> bool:
    return next_hop != "slow"


def test_a_next_hop_with_an_open_circuit_is_passed_over() -> None:
    of = leg("a/slow", "b/quick")
    assert state(of, may_be_asked=not_slow) == "b"
    asked = [attempt("b/quick", THROTTLED)]
    assert state(of, current=asked, may_be_asked=not_slow) is Rest.WAITING


def test_an_open_circuit_is_never_a_reason_to_bounce() -> None:
    refused = [attempt("b/quick", BOUNCED)]
    of = leg("a/slow", "b/quick")
    assert state(of, current=refused, may_be_asked=not_slow) is Rest.WAITING
    assert state(leg("a/slow"), may_be_asked=not_slow) is Rest.WAITING


def test_an_open_circuit_does_not_overrule_a_doubt() -> None:
    doubt = [attempt("a/slow", AMBIGUOUS)]
    assert state(leg("a/slow", "b/quick"), doubt, may_be_asked=not_slow) is Rest.WAITING


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

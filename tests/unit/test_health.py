"""Circuits: when they open, who gets through, when they close."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from waypost.health import (
    APART,
    APART_FOR,
    FAILURES,
    FIRST_PAUSE,
    JITTER,
    LONGEST_PAUSE,
    Circuit,
    Health,
    State,
)
from waypost.outcome import Bounced, Deferred, Outcome, Sent, Stage
from waypost.reply import Reply, ReplyClass, Scope

SENT = Sent(Reply.own("250 2.0.0 ok"))
THROTTLED = Deferred(Reply.own("421 4.7.0 slow down"), ReplyClass.THROTTLED, Scope.HOST, Stage.MAIL)
FULL = Deferred(Reply.own("452 4.2.2 full"), ReplyClass.MAILBOX_FULL, Scope.MAILBOX, Stage.RCPT)
DMARC = Bounced(Reply.own("550 5.7.26 no"), ReplyClass.MESSAGE, Scope.MESSAGE, Stage.DOT)


def health(*circuits: Circuit) -> Health:
    return Health(circuits, random=lambda: 0.5)


def opened(now: float = 0.0) -> Health:
    broken = health()
    for _ in range(FAILURES):
        broken.answered("gmail", THROTTLED, now)
    return broken


def circuit(of: Health) -> Circuit:
    [only] = of.circuits()
    return only


def test_failures_of_a_host_in_a_row_open_its_circuit() -> None:
    broken = health()
    for _ in range(FAILURES - 1):
        broken.answered("gmail", THROTTLED, 0.0)
        assert broken.may_be_asked("gmail", 0.0)
    broken.answered("gmail", THROTTLED, 0.0)
    assert not broken.may_be_asked("gmail", 0.0)
    assert broken.may_be_asked("outlook", 0.0)
    assert circuit(broken).reason == "421 throttled"


def test_a_success_in_between_starts_the_count_anew() -> None:
    broken = health()
    for _ in range(5 * FAILURES):
        broken.answered("gmail", THROTTLED, 0.0)
        broken.answered("gmail", SENT, 0.0)
    assert broken.may_be_asked("gmail", 0.0)
    assert broken.circuits() == []


def test_what_concerns_a_mailbox_or_a_message_opens_nothing() -> None:
    fine = health()
    for _ in range(10 * FAILURES):
        fine.answered("gmail", FULL, 0.0)
        fine.answered("gmail", DMARC, 0.0)
    assert fine.may_be_asked("gmail", 0.0)


def test_one_probe_at_a_time_goes_through_when_it_is_due() -> None:
    broken = opened()
    assert not broken.may_be_asked("gmail", FIRST_PAUSE - 1)
    assert broken.may_be_asked("gmail", FIRST_PAUSE)
    broken.asked("gmail", FIRST_PAUSE)
    assert circuit(broken).state(FIRST_PAUSE) is State.PROBING
    assert not broken.may_be_asked("gmail", FIRST_PAUSE)


def test_a_probe_that_succeeds_closes_the_circuit() -> None:
    broken = opened()
    broken.asked("gmail", FIRST_PAUSE)
    before, after = broken.answered("gmail", SENT, FIRST_PAUSE + 1)
    assert before.opened_at == 0.0
    assert after.opened_at is None
    assert broken.may_be_asked("gmail", FIRST_PAUSE + 1)


def test_pauses_grow_with_every_probe_that_fails_up_to_a_bound() -> None:
    broken, now, pauses = opened(), 0.0, []
    for _ in range(12):
        now = circuit(broken).probe_at
        broken.asked("gmail", now)
        broken.answered("gmail", THROTTLED, now)
        pauses.append(circuit(broken).probe_at - now)
    assert pauses[:3] == [2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


def test_answers_to_what_was_asked_before_it_opened_do_not_make_the_pause_longer() -> None:
    broken = opened()
    for _ in range(20):
        broken.answered("gmail", THROTTLED, 0.0)
    assert circuit(broken).probe_at == FIRST_PAUSE


def test_a_probe_whose_message_is_refused_proves_that_the_host_works_and_no_more() -> None:
    broken = opened()
    broken.asked("gmail", FIRST_PAUSE)
    broken.answered("gmail", DMARC, FIRST_PAUSE)
    assert not broken.may_be_asked("gmail", FIRST_PAUSE)
    assert broken.may_be_asked("gmail", 2 * FIRST_PAUSE)


def test_a_probe_that_never_ended_does_not_keep_the_circuit_open_for_ever() -> None:
    broken = opened()
    broken.asked("gmail", FIRST_PAUSE)
    assert broken.may_be_asked("gmail", FIRST_PAUSE + 2 * LONGEST_PAUSE)


def test_it_survives_a_restart() -> None:
    again = health(*opened().circuits())
    assert not again.may_be_asked("gmail", 0.0)
    assert again.may_be_asked("gmail", FIRST_PAUSE)


outcomes = st.sampled_from([SENT, THROTTLED, FULL, DMARC])


@given(st.lists(st.tuples(outcomes, st.floats(0, 7200), st.booleans())), st.floats(0, 1))
def test_whatever_happens_a_probe_is_due_within_the_longest_pause(
    events: list[tuple[Outcome, float, bool]], jitter: float
) -> None:
    broken, now = Health(random=lambda: jitter), 0.0
    for outcome, later, probes in events:
        now += later
        if probes and broken.may_be_asked("gmail", now):
            broken.asked("gmail", now)
        broken.answered("gmail", outcome, now)
        assert broken.may_be_asked("gmail", now + LONGEST_PAUSE * (1 + JITTER))
        if isinstance(outcome, Sent):
            assert broken.may_be_asked("gmail", now)


def test_copies_are_kept_apart_for_a_day_after_a_complaint() -> None:
    repeated = Deferred(
        Reply.own("421 4.7.28 this Message-ID"), ReplyClass.REPEATED, Scope.MESSAGE, Stage.DOT
    )
    fine = health()
    assert fine.apart("gmail", 0.0) == 0.0
    fine.answered("gmail", repeated, 100.0)
    assert fine.apart("gmail", 100.0) == APART
    assert fine.apart("outlook", 100.0) == 0.0
    assert fine.apart("gmail", 100.0 + APART_FOR) == 0.0
    assert fine.may_be_asked("gmail", 100.0)

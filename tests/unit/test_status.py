"""Our own replies: they tell every way's code and class, and nothing that is private."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost import status
from waypost.address import Address, Recipient
from waypost.outcome import Attempt, Bounced, Deferred, Outcome, Sent, Stage
from waypost.plan import LegReport, Rest, Summary
from waypost.reply import Reply, ReplyClass, Scope
from waypost.reply_classes import classify
from waypost.resolver import Match, NotOurs, Resolution, Routed, Unknown, Untouched
from waypost.route import Destination, Leg, NextHop, Route
from waypost.status import refusal, summary_reply

RECIPIENT = Recipient(Address("user1", "mydomain.net"), "mydomain.net")


def sent() -> Sent:
    return Sent(Reply.own("250 2.0.0 ok"))


def deferred(line: str, *, ambiguous: bool = False) -> Deferred:
    reply = Reply.own(line)
    return Deferred(reply, *classify(reply), Stage.RCPT, ambiguous)


def bounced(line: str) -> Bounced:
    reply = Reply.own(line)
    return Bounced(reply, *classify(reply), Stage.RCPT)


def report(state: Rest, *outcomes: Outcome) -> LegReport:
    to = Address("private", "gmail.com")
    return LegReport(
        state, tuple(Attempt(RECIPIENT.key, "leg", to, "mx:x", 0.0, each) for each in outcomes)
    )


def reply(state: Rest, *legs: LegReport) -> str:
    return str(summary_reply(Summary(state, legs)))


# At RCPT


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [
        (NotOurs(), None),
        (Untouched(RECIPIENT), None),
        (Unknown(RECIPIENT), "550 5.1.1 no such address here"),
        (
            Routed(RECIPIENT, Match("exact", "x", Route("r", ())), ()),
            "550 5.1.3 this address cannot be forwarded",
        ),
        (
            Routed(
                RECIPIENT,
                Match("exact", "x", Route("r", ())),
                (Leg("a", (Destination(Address("a", "b"), NextHop("b")),)),),
            ),
            None,
        ),
    ],
)
def test_a_client_is_told_only_what_is_refused(
    resolution: Resolution, expected: str | None
) -> None:
    told = refusal(resolution)
    assert (str(told) if told else None) == expected


# From the transport


def test_the_reply_of_the_story() -> None:
    limited = deferred("451 4.7.650 The mail server has been temporarily rate limited")
    full = bounced("552 5.2.2 mailbox full")
    assert reply(Rest.WAITING, report(Rest.WAITING, limited, full)) == (
        "451 4.7.650 0 of 1 legs sent; leg 1: 451 throttled, 552 mailbox_full"
    )


def test_all_ways_are_told_in_order() -> None:
    legs = [
        report(Rest.WAITING, bounced("550 5.1.1 who?"), deferred("450 4.2.0 greylisted")),
        report(Rest.DONE, deferred("421 4.3.2 busy"), sent()),
        report(Rest.SPENT, bounced("554 5.7.1 no thanks"), bounced("550 no such user")),
        report(Rest.WAITING, deferred("451 4.4.2 lost", ambiguous=True)),
        report(Rest.WAITING),
    ]
    assert reply(Rest.WAITING, *legs) == (
        "451 4.2.0 1 of 5 legs sent"
        "; leg 1: 550 unknown_recipient, 450 greylisted"
        "; leg 2: sent"
        "; leg 3: 554 rejected, 550 unknown_recipient"
        "; leg 4: 451 unavailable (ambiguous)"
        "; leg 5: not asked yet"
    )


def test_sent_is_told_with_the_number_of_legs() -> None:
    done, waiting = report(Rest.DONE, sent()), report(Rest.WAITING, deferred("451 4.4.1 no"))
    assert reply(Rest.DONE, done, done) == "250 2.0.0 2 of 2 legs sent"
    assert reply(Rest.DONE, done, waiting) == "250 2.0.0 1 of 2 legs sent"


def test_a_bounce_is_5xx() -> None:
    legs = [report(Rest.SPENT, bounced("550 5.1.1 who?")), report(Rest.DONE, sent())]
    assert reply(Rest.SPENT, *legs) == (
        "554 5.1.1 1 of 2 legs sent; leg 1: 550 unknown_recipient; leg 2: sent"
    )


def test_many_ways_take_several_lines_and_none_is_lost() -> None:
    ways: list[Outcome] = [deferred("451 4.7.650 limited"), bounced("550 5.1.1 who?")]
    told = summary_reply(Summary(Rest.WAITING, (report(Rest.WAITING, *ways),) * 40))
    each = "451 throttled, 550 unknown_recipient"
    assert told.text.replace("\n", " ") == "; ".join(
        ["0 of 40 legs sent", *(f"leg {number}: {each}" for number in range(1, 41))]
    )
    for line in told.text.split("\n"):
        assert len(f"451-4.999.999 {line}\r\n") <= 512, "RFC 5321 section 4.5.3.1.5"


def test_without_a_leg_the_address_cannot_be_forwarded() -> None:
    assert reply(Rest.SPENT) == "550 5.1.3 this address cannot be forwarded"


@pytest.mark.parametrize(
    ("state", "legs", "expected"),
    [
        # The first that says more than "other"...
        (Rest.WAITING, [["d 451 later", "d 451 4.0.0 later", "d 451 4.4.1 refused"]], "4.4.1"),
        (Rest.WAITING, [["d 451 4.7.1 no", "d 451 4.4.1 refused"]], "4.7.1"),
        (Rest.SPENT, [["b 554 no"], ["b 554 5.7.1 spam"]], "5.7.1"),
        # ... of those that decided: a bounce does not say why a leg is deferred.
        (Rest.WAITING, [["b 550 5.1.1 who?", "d 451 4.4.1 refused"]], "4.4.1"),
        (Rest.WAITING, [["b 550 5.1.1 who?", "d 451 later"]], "4.0.0"),
        # A misconfiguration of ours is 5xx there and 4xx here.
        (Rest.WAITING, [["d 530 5.7.0 log in"]], "4.7.0"),
        (Rest.WAITING, [[]], "4.0.0"),
        (Rest.SPENT, [["b 554 no"]], "5.0.0"),
    ],
)
def test_the_most_telling_status(state: Rest, legs: list[list[str]], expected: str) -> None:
    def outcome(text: str) -> Outcome:
        kind, _, line = text.partition(" ")
        return deferred(line) if kind == "d" else bounced(line)

    reports = [report(state, *map(outcome, leg)) for leg in legs]
    assert reply(state, *reports).split()[1] == expected


def test_only_legs_that_decided_give_the_status() -> None:
    spent = report(Rest.SPENT, bounced("550 5.1.1 who?"))
    done = report(Rest.DONE, deferred("451 4.7.1 no"), sent())
    waiting = report(Rest.WAITING, deferred("451 4.4.1 refused"))
    assert reply(Rest.WAITING, spent, done, waiting).split()[1] == "4.4.1"
    assert reply(Rest.SPENT, done, spent).split()[1] == "5.1.1"


# What stays private

MARK = "MarkOfThePrivate"
marked_texts = st.text(max_size=20).map(lambda text: f"{text}{MARK}{text}")
marked_replies = st.builds(
    lambda code, line, text: Reply.read(code, f"{line} {text}"),
    st.sampled_from([250, 421, 451, 452, 530, 550, 552, 554, 556]),
    st.sampled_from(["", "4.7.650", "5.1.1", "greylisted", "mailbox full"]),
    marked_texts,
)
judged = (st.sampled_from(ReplyClass), st.sampled_from(Scope), st.sampled_from(Stage))
marked_outcomes: st.SearchStrategy[Outcome] = (
    st.builds(Sent, marked_replies)
    | st.builds(Deferred, marked_replies, *judged, st.booleans())
    | st.builds(Bounced, marked_replies, *judged)
)
marked_attempts = st.builds(
    Attempt,
    marked_texts,
    marked_texts,
    st.builds(Address, marked_texts, st.just(f"{MARK.lower()}.example")),
    marked_texts,
    st.floats(0, 4e9),
    marked_outcomes,
)
marked_legs = st.lists(
    st.builds(
        lambda state, attempts: LegReport(state, tuple(attempts)),
        st.sampled_from(Rest),
        st.lists(marked_attempts, max_size=4),
    ),
    max_size=4,
)


@given(st.sampled_from(Rest), marked_legs)
def test_no_destination_and_no_receivers_text_is_told(state: Rest, legs: list[LegReport]) -> None:
    told = summary_reply(Summary(state, tuple(legs)))
    assert MARK.lower() not in str(told).lower()
    # Our own words, digits and punctuation: nothing else can come in from anywhere.
    words = set(re.findall(r"[a-z_]+", told.text))
    ours = "of legs sent leg ambiguous not asked yet this address cannot be forwarded"
    assert words <= set(ours.split()) | {str(each) for each in ReplyClass}
    assert re.fullmatch(r"[a-z0-9_ ;:,()\n]*", told.text)


@given(st.sampled_from(Rest), marked_legs)
def test_code_and_status_say_the_state(state: Rest, legs: list[LegReport]) -> None:
    told = summary_reply(Summary(state, tuple(legs)))
    category = {Rest.DONE: 2, Rest.WAITING: 4, Rest.SPENT: 5}[state] if legs else 5
    assert told.code // 100 == category
    assert told.effective_status.category == category


def own_replies() -> Sequence[tuple[str, Reply]]:
    return [(name, each) for name, each in vars(status).items() if isinstance(each, Reply)]


@pytest.mark.parametrize(("name", "own"), own_replies())
def test_our_replies_have_a_status_and_fit_a_line(name: str, own: Reply) -> None:
    assert own.status is not None
    assert own.status.category == own.code // 100
    assert re.fullmatch(r"[ -~]+", own.text), name
    assert "%" not in own.text, "Postfix would drop it from a milter's reply"
    assert len(f"{own}\r\n") <= 512, "RFC 5321 section 4.5.3.1.5"


def test_trouble_of_our_own_is_4xx() -> None:
    ours = {"TROUBLE", "NO_ROUTE_TODAY", "STOPPING"}
    told = dict(own_replies())
    assert all(told[name].code // 100 == 4 for name in ours)

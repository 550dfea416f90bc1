"""The kit for authors of matchers: asks as the daemon would, and catches each broken promise."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import cast

import pytest

from waypost.address import Address, Recipient
from waypost.hookspecs import AddressRule, Compiled, Find, Hit, Matcher, Report
from waypost.testing.matchers import (
    Problem,
    check_contract,
    compile_matcher,
    hostile_addresses,
)

TOML = 'match.sample = ["user1@mydomain.net", "user2@mydomain.net"]'


def sample(
    find: Callable[[dict[str, int], Recipient], object] | None = None,
    fields: Sequence[frozenset[str]] = (),
) -> Matcher[Address]:
    """A matcher of whole addresses, or one whose `find` is given the rules by key."""

    def compile_rules(rules: Sequence[Address], report: Report) -> Compiled:
        by_key = {rule.key: index for index, rule in enumerate(rules)}
        for index, rule in enumerate(rules):
            if by_key[rule.key] != index:
                report.duplicate(by_key[rule.key], index)
            if not report.is_ours(rule.domain):
                report.error(index, f"{rule.domain} is not ours")
            if not rule.local.islower():
                report.warning(index, "big letters")

        def ask(recipient: Recipient) -> object:
            if find is not None:
                return find(by_key, recipient)
            return [Hit(by_key[recipient.key])] if recipient.key in by_key else ()

        return Compiled(cast("Find", ask), fields)

    return Matcher("sample", 500, AddressRule, compile_rules)


def known_only(hits: list[Hit]) -> Callable[[dict[str, int], Recipient], object]:
    """A `find` with these hits for user1, and none for others."""
    return lambda by_key, recipient: hits if by_key and recipient.base.lower() == "user1" else []


def test_asks_with_recipients_as_the_daemon_makes_them() -> None:
    asked: list[Recipient] = []

    def find(_: object, recipient: Recipient) -> object:
        asked.append(recipient)
        return [Hit(0), Hit(1)]

    ask = compile_matcher(
        sample(find), TOML, domains=["mydomain.net", "SUB.mydomain.net"], delimiter="-"
    )
    assert ask.find("<User1-a+b@x.sub.MYDOMAIN.net>") == [Hit(0), Hit(1)]
    address = Address("User1-a+b", "x.sub.mydomain.net")
    assert asked == [Recipient(address, "sub.mydomain.net", "-")]


def test_refuses_to_ask_about_mail_that_is_not_ours() -> None:
    ask = compile_matcher(sample(), TOML, not_ours=["imx.mydomain.net"])
    for address in ("user1@other.net", "user1@imx.mydomain.net"):
        with pytest.raises(ValueError, match="not in `domains`"):
            ask.find(address)


def test_keeps_what_compile_reports() -> None:
    toml = 'match.sample = ["a@mydomain.net", "B@mydomain.net", "c@other.net", "A@mydomain.net"]'
    ask = compile_matcher(sample(), toml)
    assert ask.errors == [Problem(2, "other.net is not ours")]
    assert ask.warnings == [Problem(1, "big letters"), Problem(3, "big letters")]
    assert ask.duplicates == [(3, 0)]
    assert ask.fields == [frozenset()] * 4


def test_a_rule_of_another_type_is_an_error_and_nothing_is_compiled() -> None:
    ask = compile_matcher(sample(), 'match.sample = ["user1@mydomain.net", "user2"]')
    assert ask.errors == [Problem(1, '"user2" has no "@"')]
    assert ask.rules == []
    assert ask.find("user1@mydomain.net") == []


def test_one_bare_rule_is_as_good_as_a_list_of_one() -> None:
    ask = compile_matcher(sample(), 'match.sample = "user1@mydomain.net"')
    assert ask.find("user1@mydomain.net") == [Hit(0)]


@pytest.mark.parametrize("toml", ["match.other = []", ""])
def test_wants_rules_for_the_matcher(toml: str) -> None:
    with pytest.raises(ValueError, match=r"no `match\.sample`"):
        compile_matcher(sample(), toml)


def waiting(close: Callable[[], None] = lambda: None) -> Matcher[Address]:
    """A matcher that waits, on one event loop from the first question to the end."""

    def compile_rules(rules: Sequence[Address], _: Report) -> Compiled:
        loops: set[asyncio.AbstractEventLoop] = set()

        async def find(recipient: Recipient) -> Sequence[Hit]:
            await asyncio.sleep(0)
            loops.add(asyncio.get_running_loop())
            assert len(loops) == 1
            return [Hit(i) for i, rule in enumerate(rules) if rule.key == recipient.key]

        async def end() -> None:
            await asyncio.sleep(0)
            assert loops <= {asyncio.get_running_loop()}
            close()

        return Compiled(find, close=end)

    return Matcher("sample", 500, AddressRule, compile_rules)


def test_awaits_a_matcher_that_waits_and_closes_it() -> None:
    closed: list[bool] = []
    with compile_matcher(waiting(lambda: closed.append(True)), TOML) as ask:
        assert ask.find("user2@mydomain.net") == [Hit(1)]
        assert ask.find("user3@mydomain.net") == []
        assert closed == []
    assert closed == [True]


def test_loses_patience_with_a_matcher_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("waypost.testing.matchers.FIND_SECONDS", 0)

    async def find(*_: object) -> Sequence[Hit]:
        return await asyncio.Future()

    with compile_matcher(sample(find), TOML) as ask, pytest.raises(TimeoutError):
        ask.find("user1@mydomain.net")


def test_hostile_addresses_are_addresses_in_the_domain() -> None:
    addresses = [Address.parse(text) for text in hostile_addresses(["MÜNCHEN.example"])]
    assert len(set(addresses)) == len(addresses) > 100
    assert all(address.domain.endswith("xn--mnchen-3ya.example") for address in addresses)


@pytest.mark.parametrize("matcher", [sample(), waiting()], ids=["computes", "waits"])
def test_a_good_matcher_keeps_the_contract(matcher: Matcher[Address]) -> None:
    check_contract(matcher, TOML, known=["user1@mydomain.net", "User2@mydomain.net"])


def fails_for(local: str) -> Callable[[dict[str, int], Recipient], object]:
    def find(by_key: dict[str, int], recipient: Recipient) -> object:
        assert recipient.address.local != local, "oops"
        return [Hit(by_key[recipient.key])] if recipient.key in by_key else []

    return find


def only_as_typed(by_key: dict[str, int], recipient: Recipient) -> object:
    typed = str(recipient.address)
    return [Hit(by_key[typed])] if typed in by_key else []


def counting() -> Callable[[dict[str, int], Recipient], object]:
    counter = itertools.count()
    return lambda by_key, recipient: [Hit(next(counter) % 2)] if recipient.key in by_key else []


def remembering() -> Callable[[dict[str, int], Recipient], object]:
    seen: list[str] = []

    def find(by_key: dict[str, int], recipient: Recipient) -> object:
        seen.append(recipient.key)
        return [Hit(by_key[recipient.key])] if recipient.key in by_key and len(seen) < 9 else []

    return find


FIELD = [frozenset({"x"}), frozenset[str]()]

BROKEN = {
    "does not know what it should": (sample(lambda *_: []), "yet there is no hit"),
    "hits without rules": (sample(lambda *_: [Hit(0)]), "there is no rule 0|without any rule"),
    "trips over braces": (sample(fails_for("{local}")), r"\{local\}@mydomain\.net: raised"),
    "minds case": (sample(only_as_typed), "USER1@MYDOMAIN.NET: rules"),
    "differs each time": (sample(counting()), "asked again"),
    "remembers": (sample(remembering()), "asked again"),
    "no such rule": (sample(known_only([Hit(2)])), "there is no rule 2"),
    "negative rule": (sample(known_only([Hit(-1)])), "there is no rule -1"),
    "a rule twice": (sample(known_only([Hit(0), Hit(0)])), "comes twice"),
    "field not declared": (sample(known_only([Hit(0, {"x": "1"})])), "carries"),
    "field not carried": (sample(fields=FIELD), "carries"),
    "field of another type": (
        sample(known_only([Hit(0, cast("dict[str, str]", {"x": 1}))]), FIELD),
        "text or an Address",
    ),
    "fields for some rules": (sample(fields=FIELD[:1]), "one entry per rule"),
    "no key for TOML": (Matcher("Sample-1", 500, AddressRule, sample().compile), "no key for TOML"),
}


@pytest.mark.parametrize(("matcher", "complaint"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_promise_is_caught(matcher: Matcher[Address], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_contract(matcher, TOML, known=["user1@mydomain.net", "user2@mydomain.net"])


@pytest.mark.parametrize(
    "rules", ['["user1@other.net"]', '["user1@mydomain.net", "user1@mydomain.net"]']
)
def test_the_contract_is_checked_on_good_rules(rules: str) -> None:
    with pytest.raises(AssertionError, match="refused"):
        check_contract(sample(), f"match.sample = {rules}", known=[])

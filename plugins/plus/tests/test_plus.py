"""The matcher `plus`, asked as an operator would configure it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import waypost_plus
from waypost.address import Address
from waypost.hookspecs import Hit
from waypost.testing.matchers import check_contract, compile_matcher

PLUS = waypost_plus.matchers()[0]

RULES = 'match.plus = ["user1@mydomain.net", "Büro@mydomain.net"]'

text = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)


def test_contract() -> None:
    check_contract(PLUS, RULES, known=["user1+shop@mydomain.net", "BÜRO+x@mydomain.net"])


def test_contract_with_other_delimiters() -> None:
    check_contract(PLUS, RULES, known=["user1-shop@mydomain.net"], delimiter="-=")


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("user1+shop@mydomain.net", 0),
        ("USER1+Shop@MyDomain.Net", 0),
        ("user1+a+b@mydomain.net", 0),
        ("user1++@mydomain.net", 0),
        ('"user1+a b"@mydomain.net', 0),
        ("bu\u0308ro+x@mydomain.net", 1),
    ],
)
def test_matches_any_tag(address: str, rule: int) -> None:
    assert compile_matcher(PLUS, RULES).find(address) == [Hit(rule)]


@pytest.mark.parametrize(
    "address",
    [
        "user1@mydomain.net",
        "user1+@mydomain.net",
        "+user1@mydomain.net",
        "user1-shop@mydomain.net",
        "user2+shop@mydomain.net",
        "user1+shop@sub.mydomain.net",
    ],
)
def test_does_not_match_without_its_tag_or_elsewhere(address: str) -> None:
    assert compile_matcher(PLUS, RULES).find(address) == []


def test_the_delimiter_is_the_domains_own() -> None:
    ask = compile_matcher(PLUS, RULES, delimiter="-")
    assert ask.find("user1-shop@mydomain.net") == [Hit(0)]
    assert ask.find("user1+shop@mydomain.net") == []


def test_without_a_delimiter_there_are_no_tags() -> None:
    assert compile_matcher(PLUS, RULES, delimiter="").find("user1+shop@mydomain.net") == []


@settings(deadline=None)
@given(text)
def test_matches_whatever_the_tag(tag: str) -> None:
    recipient = Address(f"user1+{tag}", "mydomain.net")
    assert compile_matcher(PLUS, RULES).find(str(recipient)) == [Hit(0)]


def test_a_domain_that_is_not_ours_is_an_error() -> None:
    ask = compile_matcher(PLUS, 'match.plus = ["a@mydomain.net", "b@other.net"]')
    assert [problem.rule for problem in ask.errors] == [1]
    assert '"other.net" is not in `domains`' in ask.errors[0].text


def test_a_rule_with_a_tag_is_a_warning() -> None:
    ask = compile_matcher(PLUS, 'match.plus = ["a@mydomain.net", "b+shop@mydomain.net"]')
    assert ask.errors == []
    assert [problem.rule for problem in ask.warnings] == [1]
    assert 'write "b@mydomain.net"' in ask.warnings[0].text


def test_the_same_mailbox_twice_is_a_duplicate() -> None:
    toml = 'match.plus = ["a@mydomain.net", "b@mydomain.net", "B@MYDOMAIN.net"]'
    assert compile_matcher(PLUS, toml).duplicates == [(2, 1)]

"""The matcher `exact`, asked as an operator would configure it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import waypost_exact
from waypost.address import Address
from waypost.hookspecs import Hit
from waypost.testing.matchers import Problem, check_contract, compile_matcher

EXACT = waypost_exact.matchers()[0]

RULES = """
match.exact = ["user1@mydomain.net", "User1+Shop@mydomain.net", "büro@münchen.example"]
"""
DOMAINS = ["mydomain.net", "münchen.example"]

local_parts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)


def test_contract() -> None:
    known = ["user1@mydomain.net", "user1+shop@mydomain.net", "BÜRO@münchen.example"]
    check_contract(EXACT, RULES, known=known, domains=DOMAINS)


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("user1@mydomain.net", 0),
        ("USER1@MyDomain.Net", 0),
        ('"user1"@mydomain.net', 0),
        ("user1+shop@mydomain.net", 1),
        ("büro@münchen.example", 2),
        ("bu\u0308ro@xn--mnchen-3ya.example", 2),
    ],
)
def test_matches_however_it_is_written(address: str, rule: int) -> None:
    assert compile_matcher(EXACT, RULES, domains=DOMAINS).find(address) == [Hit(rule)]


@pytest.mark.parametrize(
    "address",
    [
        "user2@mydomain.net",
        "user1+other@mydomain.net",
        "user1@sub.mydomain.net",
        "buro@mydomain.net",
    ],
)
def test_does_not_match(address: str) -> None:
    assert compile_matcher(EXACT, RULES, domains=DOMAINS).find(address) == []


@settings(deadline=None)
@given(local_parts, local_parts)
def test_matches_what_means_the_same_mailbox_and_nothing_else(ours: str, theirs: str) -> None:
    rule, recipient = (Address(local, "mydomain.net") for local in (ours, theirs))
    # A text of JSON is a text of TOML.
    ask = compile_matcher(EXACT, f"match.exact = [{json.dumps(str(rule), ensure_ascii=False)}]")
    assert ask.find(str(rule)) == [Hit(0)]
    assert bool(ask.find(str(recipient))) == (rule.key == recipient.key)


def test_a_domain_that_is_not_ours_is_an_error() -> None:
    ask = compile_matcher(EXACT, 'match.exact = ["a@mydomain.net", "b@other.net"]')
    assert [problem.rule for problem in ask.errors] == [1]
    assert '"other.net" is not in `domains`' in ask.errors[0].text


def test_a_domain_that_is_excepted_is_not_ours() -> None:
    toml = 'match.exact = ["user1@imx.mydomain.net"]'
    ask = compile_matcher(EXACT, toml, not_ours=["imx.mydomain.net"])
    assert [problem.rule for problem in ask.errors] == [0]


def test_what_is_no_address_is_an_error() -> None:
    ask = compile_matcher(EXACT, 'match.exact = ["user1@mydomain.net", "user2", 3]')
    assert ask.errors == [
        Problem(1, '"user2" has no "@"'),
        Problem(2, '3 is no address; write a text such as "user1@mydomain.net"'),
    ]


def test_the_same_mailbox_twice_is_a_duplicate() -> None:
    toml = """match.exact = ["a@mydomain.net", "b@mydomain.net", '"A"@MYDOMAIN.net']"""
    ask = compile_matcher(EXACT, toml)
    assert ask.duplicates == [(2, 0)]
    assert ask.errors == []


def test_an_asterisk_is_a_doubt() -> None:
    ask = compile_matcher(EXACT, 'match.exact = ["*@mydomain.net"]')
    (warning,) = ask.warnings
    assert warning.rule == 0
    assert 'catch_all = ["mydomain.net"]' in warning.text
    assert ask.find("a@mydomain.net") == []


def test_a_whole_domain_is_an_error() -> None:
    (error,) = compile_matcher(EXACT, 'match.exact = ["@mydomain.net"]').errors
    assert 'match.catch_all = ["mydomain.net"]' in error.text

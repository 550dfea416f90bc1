"""The matcher `subdomain`, asked as an operator would configure it."""

from __future__ import annotations

import pytest

import waypost_subdomain
from waypost.hookspecs import Hit
from waypost.testing.matchers import Problem, check_contract, compile_matcher

SUBDOMAIN = waypost_subdomain.matchers()[0]

RULES = """
match.subdomain = ["user1.mydomain.net", "shop.user1.mydomain.net", "Büro.mydomain.net"]
"""


def hit(rule: int, subdomain: str) -> Hit:
    return Hit(rule, {"subdomain": subdomain})


def test_contract() -> None:
    known = ["a@user1.mydomain.net", "a@x.shop.user1.mydomain.net", "a@büro.mydomain.net"]
    check_contract(SUBDOMAIN, RULES, known=known)


def test_every_rule_declares_the_field() -> None:
    assert compile_matcher(SUBDOMAIN, RULES).fields == [{"subdomain"}] * 3


@pytest.mark.parametrize(
    ("address", "hits"),
    [
        ("anything@user1.mydomain.net", [hit(0, "")]),
        ("anything@USER1.MyDomain.Net", [hit(0, "")]),
        ('"any thing"@user1.mydomain.net', [hit(0, "")]),
        ("anything@deep.er.user1.mydomain.net", [hit(0, "deep.er")]),
        ("anything@büro.mydomain.net", [hit(2, "")]),
        ("anything@xn--bro-hoa.mydomain.net", [hit(2, "")]),
    ],
)
def test_matches_anything_at_the_domain_and_below(address: str, hits: list[Hit]) -> None:
    assert compile_matcher(SUBDOMAIN, RULES).find(address) == hits


def test_the_longest_domain_comes_first() -> None:
    ask = compile_matcher(SUBDOMAIN, RULES)
    assert ask.find("a@b.shop.user1.mydomain.net") == [hit(1, "b"), hit(0, "b.shop")]


@pytest.mark.parametrize(
    "domain",
    ["mydomain.net", "user2.mydomain.net", "myuser1.mydomain.net", "user1.sub.mydomain.net"],
)
def test_does_not_match_other_domains(domain: str) -> None:
    assert compile_matcher(SUBDOMAIN, RULES).find(f"user1@{domain}") == []


def test_a_domain_that_is_not_ours_is_an_error() -> None:
    ask = compile_matcher(SUBDOMAIN, 'match.subdomain = ["a.mydomain.net", "a.other.net"]')
    assert [problem.rule for problem in ask.errors] == [1]
    assert '"a.other.net" is not in `domains`' in ask.errors[0].text


def test_what_is_no_domain_is_an_error() -> None:
    ask = compile_matcher(SUBDOMAIN, 'match.subdomain = ["*.mydomain.net", 3]')
    assert ask.errors == [
        Problem(0, '"*.mydomain.net" is no domain name'),
        Problem(1, '3 is no domain; write a text such as "mydomain.net"'),
    ]


def test_the_same_domain_twice_is_a_duplicate() -> None:
    toml = 'match.subdomain = ["a.mydomain.net", "büro.mydomain.net", "xn--bro-hoa.MYDOMAIN.net"]'
    assert compile_matcher(SUBDOMAIN, toml).duplicates == [(2, 1)]

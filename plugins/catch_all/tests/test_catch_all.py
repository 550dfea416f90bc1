"""The matcher `catch_all`, asked as an operator would configure it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import waypost_catch_all
from waypost.address import MAX_LOCAL_OCTETS, Address, NotAnAddress
from waypost.hookspecs import Hit
from waypost.route import Template
from waypost.testing.matchers import check_contract, compile_matcher, hostile_addresses

CATCH_ALL = waypost_catch_all.matchers()[0]

RULES = 'match.catch_all = ["mydomain.net", "dept.mydomain.net", "münchen.example"]'
DOMAINS = ["mydomain.net", "münchen.example"]


def hit(rule: int, subdomain: str) -> Hit:
    return Hit(rule, {"subdomain": subdomain})


def test_contract() -> None:
    known = ["a@mydomain.net", "a@x.dept.mydomain.net", "a@münchen.example"]
    check_contract(CATCH_ALL, RULES, known=known, domains=DOMAINS)


def test_every_rule_declares_the_field() -> None:
    assert compile_matcher(CATCH_ALL, RULES, domains=DOMAINS).fields == [{"subdomain"}] * 3


@pytest.mark.parametrize(
    ("address", "hits"),
    [
        ("anything@mydomain.net", [hit(0, "")]),
        ("Any.Thing+x@MYDOMAIN.net", [hit(0, "")]),
        ("anything@a.b.mydomain.net", [hit(0, "a.b")]),
        ("anything@xn--mnchen-3ya.example", [hit(2, "")]),
        ("anything@Büro.München.example", [hit(2, "xn--bro-hoa")]),
    ],
)
def test_matches_everything_at_the_domain_and_below(address: str, hits: list[Hit]) -> None:
    assert compile_matcher(CATCH_ALL, RULES, domains=DOMAINS).find(address) == hits


def test_the_longest_domain_comes_first() -> None:
    ask = compile_matcher(CATCH_ALL, RULES, domains=DOMAINS)
    assert ask.find("a@x.dept.mydomain.net") == [hit(1, "x"), hit(0, "x.dept")]


def test_does_not_match_other_domains() -> None:
    ask = compile_matcher(CATCH_ALL, 'match.catch_all = ["dept.mydomain.net"]')
    assert ask.find("dept@mydomain.net") == []
    assert ask.find("a@otherdept.mydomain.net") == []


def test_a_domain_that_is_not_ours_is_an_error() -> None:
    ask = compile_matcher(CATCH_ALL, 'match.catch_all = ["mydomain.net", "other.net"]')
    assert [problem.rule for problem in ask.errors] == [1]
    assert '"other.net" is not in `domains`' in ask.errors[0].text


def test_the_same_domain_twice_is_a_duplicate() -> None:
    toml = 'match.catch_all = ["mydomain.net", "a.mydomain.net", "MYDOMAIN.net"]'
    assert compile_matcher(CATCH_ALL, toml).duplicates == [(2, 0)]


ASK = compile_matcher(CATCH_ALL, RULES, domains=DOMAINS)

# Around the 64 octets that a local part may have, too.
local_parts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
long_local_parts = st.text('aü"\\ .@', min_size=55, max_size=70)
labels = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?", fullmatch=True)
recipients = st.builds(
    lambda local, below: str(Address(local, ".".join([*below, "mydomain.net"]))),
    local_parts | long_local_parts,
    st.lists(labels, max_size=6),
)


def assert_expands_to_a_legal_address_or_none(recipient: str) -> None:
    fields = {**ASK.find(recipient)[0].fields, "local": Address.parse(recipient).local}
    for local in ("{subdomain}", "x+{subdomain}", "x+{local}", "{local}.{subdomain}"):
        try:
            made = Template.parse(f"{local}@gmail.com").expand(fields)
        except NotAnAddress:
            continue
        assert made.domain == "gmail.com"
        assert Address.parse(str(made)) == made
        assert made.octets_of_local <= MAX_LOCAL_OCTETS


@settings(deadline=None)
@given(recipients)
def test_whatever_a_stranger_types_expands_to_a_legal_address_or_none(recipient: str) -> None:
    assert_expands_to_a_legal_address_or_none(recipient)


def test_hostile_addresses_expand_to_legal_addresses_or_none() -> None:
    for recipient in hostile_addresses():
        assert_expands_to_a_legal_address_or_none(recipient)


def test_no_stranger_chooses_the_whole_destination() -> None:
    for recipient in hostile_addresses():
        with pytest.raises(TypeError):
            Template.parse("{subdomain}").expand(ASK.find(recipient)[0].fields)

"""The matcher `regex`, asked as an operator would configure it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import waypost_regex
from waypost.address import MAX_LOCAL_OCTETS, Address, NotAnAddress
from waypost.hookspecs import Hit
from waypost.route import Template
from waypost.testing.matchers import check_contract, compile_matcher, hostile_addresses

REGEX = waypost_regex.matchers()[0]

RULES = r"""
match.regex = [
    'u(ser)?1-.*@mydomain\.net',
    '(?P<who>[^@]*)-(?P<what>[^@]*)@mydomain\.net',
    'büro(?P<number>\d+)?@.*',
    '.*@(?P<below>.*\.)?dept\.mydomain\.net',
]
"""


def found(address: str, *patterns: str) -> list[int]:
    toml = "match.regex = [" + ", ".join(f"'{pattern}'" for pattern in patterns) + "]"
    ask = compile_matcher(REGEX, toml)
    assert ask.errors == []
    return [hit.rule for hit in ask.find(address)]


def test_contract() -> None:
    known = ["u1-x@mydomain.net", "a-b@mydomain.net", "büro7@x.mydomain.net", "a@dept.mydomain.net"]
    check_contract(REGEX, RULES, known=known)


def test_the_whole_address_is_matched() -> None:
    assert found("user1@mydomain.net", r"user1@mydomain\.net", r"ser1@.*", "user1@") == [0]
    # Every alternative, too, without parentheses around them.
    assert found("user12@mydomain.net", r"user1@.*|user2@.*", r"user12|user12@.*") == [1]


def test_anchors_do_no_harm() -> None:
    assert found("user1@mydomain.net", r"^user1@mydomain\.net$", r"\Auser1@.*\z") == [0, 1]


def test_every_pattern_that_matches_is_a_hit_in_the_order_of_the_file() -> None:
    patterns = [r".*@.*", r"user2@.*", r"user1@.*", r"u.*@.*"]
    assert found("user1@mydomain.net", *patterns) == [0, 2, 3]
    assert found("user1@mydomain.net", *reversed(patterns)) == [0, 1, 3]


@pytest.mark.parametrize("address", ["USER1-x@MyDomain.NET", '"user1-x"@mydomain.net'])
def test_case_and_quotes_do_not_matter(address: str) -> None:
    assert found(address, r"User1-X@mydomain\.net") == [0]


def test_a_local_part_is_compared_without_its_quotes() -> None:
    assert found(r'"a \"b\""@mydomain.net', r'a "b"@mydomain\.net') == [0]
    assert found("a..b@mydomain.net", r"a\.\.b@mydomain\.net") == [0]


def test_an_at_sign_in_a_local_part_does_not_move_the_domain() -> None:
    assert found('"user1@mydomain.net"@sub.mydomain.net', r"user1@mydomain\.net") == []
    assert found('"user1@mydomain.net"@sub.mydomain.net', r".*@sub\.mydomain\.net") == [0]


def test_beyond_ascii_domains_are_a_labels_and_local_parts_are_nfc() -> None:
    toml = "match.regex = ['büro@xn--mnchen-3ya.example', 'bu\u0308ro2@.*']"
    ask = compile_matcher(REGEX, toml, domains=["münchen.example"])
    assert ask.find("BU\u0308RO@MÜNCHEN.example") == [Hit(0)]
    assert ask.find("büro2@münchen.example") == [Hit(1)]


def test_named_groups_are_the_fields() -> None:
    ask = compile_matcher(REGEX, RULES)
    assert ask.fields == [set(), {"who", "what"}, {"number"}, {"below"}]
    assert ask.find("Bob-Shop@mydomain.net") == [Hit(1, {"who": "Bob", "what": "Shop"})]


def test_a_group_that_took_no_part_is_empty() -> None:
    ask = compile_matcher(REGEX, RULES)
    assert ask.find("büro@mydomain.net") == [Hit(2, {"number": ""})]
    assert ask.find("büro7@mydomain.net") == [Hit(2, {"number": "7"})]


def test_groups_hold_what_was_typed_and_in_lower_case_where_that_alone_matches() -> None:
    ask = compile_matcher(REGEX, "match.regex = ['(?P<all>i\u0307|x)@.*']")
    assert ask.find("X@mydomain.net") == [Hit(0, {"all": "X"})]
    assert ask.find("\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}@mydomain.net") == [
        Hit(0, {"all": "i\u0307"})
    ]


def test_duplicates_differ_in_case_only() -> None:
    toml = r"match.regex = ['a\d@.*', 'b@.*', 'A\d@.*', 'a\D@.*']"
    assert compile_matcher(REGEX, toml).duplicates == [(2, 0)]


def test_a_pattern_that_is_refused_leaves_the_others_in_place() -> None:
    ask = compile_matcher(REGEX, r"match.regex = ['(', 'a(?P<x>.)@.*']")
    assert [problem.rule for problem in ask.errors] == [0]
    assert ask.fields == [set(), {"x"}]
    assert ask.find("ab@mydomain.net") == [Hit(1, {"x": "b"})]


# Around the 64 octets that a local part may have, too.
local_parts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
long_local_parts = st.text('aü"\\ .@', min_size=55, max_size=70)
recipients = (local_parts | long_local_parts).map(lambda part: str(Address(part, "mydomain.net")))

GROUPS = compile_matcher(REGEX, r"match.regex = ['(?P<first>.)(?P<all>.*)@mydomain\.net']")


def assert_expands_to_a_legal_address_or_none(recipient: str) -> None:
    for hit in GROUPS.find(recipient):
        for local in ("{first}", "{all}", "x+{all}.{first}"):
            try:
                made = Template.parse(f"{local}@gmail.com").expand(hit.fields)
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


@settings(deadline=None)
@given(recipients)
def test_groups_hold_a_local_part_as_local_does(recipient: str) -> None:
    (hit,) = GROUPS.find(recipient)
    typed = Address.parse(recipient)
    held = Address(f"{hit.fields['first']}{hit.fields['all']}", typed.domain)
    assert held.key == typed.key


def test_no_stranger_chooses_the_whole_destination() -> None:
    ask = compile_matcher(REGEX, r"match.regex = ['(?P<whole>.*)@mydomain\.net']")
    (hit,) = ask.find('"victim@elsewhere.example"@mydomain.net')
    with pytest.raises(TypeError):
        Template.parse("{whole}").expand(hit.fields)

"""What an operator hears about a pattern."""

from __future__ import annotations

import json

import pytest

import waypost_regex
from waypost.testing.matchers import CompiledMatcher, compile_matcher

REGEX = waypost_regex.matchers()[0]


def read(pattern: str) -> CompiledMatcher[str]:
    # A text of JSON is a text of TOML.
    return compile_matcher(REGEX, f"match.regex = [{json.dumps(pattern)}]")


def errors(pattern: str) -> str:
    ask = read(pattern)
    assert ask.warnings == []
    return "\n".join(problem.text for problem in ask.errors)


def warnings(pattern: str) -> str:
    ask = read(pattern)
    assert ask.errors == []
    return "\n".join(problem.text for problem in ask.warnings)


@pytest.mark.parametrize(
    "pattern",
    [
        r"user1\+.*@mydomain\.net",
        r"u(ser)?1-.*@mydomain\.net",
        r"[a-z]+@mydomain\.net",
        r"\w+-\d*@mydomain\.net",
        r"(ab)+@mydomain\.net",
        r"dots?\..+@mydomain\.net",
        r"a{2}@mydomain\.net",
        r".*@user1\.mydomain\.net",
        r".*@(.*\.)?mydomain\.net",
        r"^[^@]+@[a-z]+\.mydomain\.net$",
        r"a@other\.net|b@mydomain\.net",
        r"(a@other|b@mydomain)\.net",
        r".*",
        r"user1-.*",
        r"\Qa+b.c@mydomain.net\E",
        r"(?i)a@mydomain\.net\z",
        r"a\x40mydomain\.net",
        r"a[@]mydomain\.net",
        r"büro@mydomain\.net",
        r"(?P<a>.)(?P<b>.)@.*",
    ],
)
def test_a_good_pattern_needs_no_advice(pattern: str) -> None:
    ask = read(pattern)
    assert (ask.errors, ask.warnings) == ([], [])


@pytest.mark.parametrize(
    ("pattern", "why", "remedy"),
    [
        (r"(?=a)b@.*", "no look-ahead", "`exact`, or a regex further up"),
        (r"(?!a)b@.*", "no look-ahead", "`exact`, or a regex further up"),
        (r"b(?<=b)@.*", "look-behind", "linear time"),
        (r"b(?<!a)@.*", "look-behind", "linear time"),
        (r"(a)\1@.*", "no back-references", "write out what may be repeated"),
        (r"(?P<n>a)(?P=n)@.*", "no back-references", "linear time"),
        (r"a@.*\Z", r"no `\Z`", "leave it out"),
        (r"a++@.*", "never backtracks", r"`\+` for a plus sign"),
        (r"a{2}+@.*", "never backtracks", "plain quantifier"),
        (r"(?>a)@.*", "never backtracks", "plain quantifier"),
        (r"a{1001}@.*", "at most 1000 times", "write `*`"),
        (r"(a{100}){100}@.*", "nested repeats multiplied", "write `*`"),
        (r"*@mydomain\.net", "nothing before it to repeat", "any text is `.*`"),
        (r"a|+b@.*", "nothing before it to repeat", r"`\+`"),
        (r"a**@.*", "repeats without limit", "a single one"),
        (r"a{2}{3}@.*", "only one quantifier", "write one of them"),
        (r"(a|b@.*", "never closed", r"`\(`"),
        (r"a)@.*", "closes nothing", r"`\)`"),
        (r"[a@.*", "never closed", r"`\[`"),
        (r"[z-a]@.*", "no such range", r"`\-`"),
        (r"(?P<a b>x)@.*", "letters, digits and underscores", "name"),
        (r"(?(1)a|b)@.*", "no conditions", "`|`"),
        (r"(?R)@.*", "no recursion", "write the group out"),
        (r"(?#hello)a@.*", "no comments", "TOML"),
        (r"(?u)a@.*", "knows the flags", "(?P<name>...)"),
        (r"\ha@.*", "does not know this escape", "punctuation mark"),
        ("a@.*\\", "stands before what it escapes", r"`\\`"),
        ("a" * 900_000, "too large", "shorten it"),
    ],
)
def test_what_re2_refuses_is_explained(pattern: str, why: str, remedy: str) -> None:
    text = errors(pattern)
    assert text.startswith("RE2 refuses this pattern")
    assert why in text
    assert remedy in text


@pytest.mark.parametrize(
    "pattern",
    [r"user1@other\.net", r"^(user1|user2)@Other\.NET$", r"a@other\.net|b@another\.net"],
)
def test_a_domain_that_is_not_ours_is_an_error(pattern: str) -> None:
    assert '"other.net" is not in `domains`' in errors(pattern).lower()


@pytest.mark.parametrize("pattern", ["user1", r"user1\+[a-z0-9]+", r"\d\d\d", ""])
def test_a_pattern_without_room_for_the_at_sign_is_an_error(pattern: str) -> None:
    assert 'no room for the "@"' in errors(pattern)


def test_slashes_around_a_pattern_are_an_error() -> None:
    assert errors(r"/^user1@mydomain\.net$/") == "a pattern is written without slashes around it"
    assert errors(r"/user1@mydomain\.net") == ""


def test_a_domain_beyond_ascii_is_an_error() -> None:
    text = errors(r".*@büro\.mydomain\.net")
    assert '"ü" stands in the domain' in text
    assert "A-labels" in text


def test_half_characters_are_an_error() -> None:
    assert "part of a character" in errors(r"\C@mydomain\.net")


@pytest.mark.parametrize("pattern", [r"(?-i)a@.*", r"(?s-i:a)@.*"])
def test_case_cannot_be_made_to_matter(pattern: str) -> None:
    assert "leave `-i` out" in errors(pattern)


def test_a_group_name_used_twice_is_an_error() -> None:
    assert 'group name "n" is used twice' in errors(r"(?P<n>a)@.*|(?P<n>b)@.*")


def test_a_plus_sign_that_was_not_escaped() -> None:
    text = warnings(r"user1+.*@mydomain\.net")
    assert '"1+" stands for one or more "1"' in text
    assert r"perhaps you meant 'user1\+.*@mydomain\.net'" in text


def test_a_star_as_a_shell_would_read_it() -> None:
    text = warnings(r"user*@mydomain\.net")
    assert '"r*" stands for any number of "r"' in text
    assert r"perhaps you meant 'user.*@mydomain\.net'" in text


@pytest.mark.parametrize(
    ("pattern", "better"),
    [
        ("user1@mydomain.net", r"user1@mydomain\.net"),
        (r".*@user1\.mydomain.net", r".*@user1\.mydomain\.net"),
        (r"a@(x.)?mydomain\.net", r"a@(x\.)?mydomain\.net"),
        (r"(a|b@mydomain|c@seconddomain).net", r"(a|b@mydomain|c@seconddomain)\.net"),
    ],
)
def test_a_dot_in_the_domain_that_was_not_escaped(pattern: str, better: str) -> None:
    text = warnings(pattern)
    assert '"." stands for any character' in text
    assert f"perhaps you meant '{better}'" in text


def test_one_suggestion_mends_all() -> None:
    text = warnings("user1+.*@mydomain.net")
    assert text.count(r"perhaps you meant 'user1\+.*@mydomain\.net'") == 2

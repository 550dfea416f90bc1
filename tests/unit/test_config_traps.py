"""TOML's traps: what is said, and what was meant."""

from __future__ import annotations

import pytest

from waypost.config import ConfigError, parse_toml
from waypost.config.problems import Findings
from waypost.config.traps import mend


def mended(toml: str) -> tuple[dict[str, object], list[str]]:
    found = Findings()
    return mend(parse_toml(toml), found), [problem.where for problem in found.problems]


@pytest.mark.parametrize(
    "header",
    [
        "[milter]", "[transport]", "[outgoing]", "[next_hops]", "[defaults]", "[routes]",
        "[routes.u]", "[routes.u.match]", "[routes.u.failover_after]", "[relays]", "[relays.r]",
    ],
)  # fmt: skip
def test_keys_of_the_top_are_lifted_from_everywhere(header: str) -> None:
    document, places = mended(f'{header}\nlisten = "x"\ndomains = ["x.de"]\nstate = "/s"')
    assert document["domains"] == ["x.de"]
    assert document["state"] == "/s"
    assert places == [f"{header[1:-1]}.domains", f"{header[1:-1]}.state"]


def test_keys_of_the_top_that_are_there_already_stay() -> None:
    document, places = mended('delimiter = "+"\n[milter]\ndelimiter = "-"')
    assert document == {"delimiter": "+", "milter": {}}
    assert places == ["milter.delimiter"]


def test_what_a_domain_may_say_itself_is_no_trap() -> None:
    assert mended('[domain."x.de"]\nunmatched = "pass"\ndelimiter = "-"')[1] == []
    assert mended('[domain]\nunmatched = "pass"')[1] == ["domain.unmatched"]


def test_names_that_look_like_keys_are_names() -> None:
    assert mended("[routes.domains]\n[routes.state]\n[relays.delimiter]")[1] == []


def test_domains_without_quotes() -> None:
    document, places = mended("""
        [next_hops]
        gmail.com = "smtp://a"
        gmail.co.uk = "smtp://b"
        "gmx.de" = "smtp://c"
        [domain.x.de]
        unmatched = "pass"
    """)
    assert document["next_hops"] == {
        "gmail.com": "smtp://a",
        "gmail.co.uk": "smtp://b",
        "gmx.de": "smtp://c",
    }
    assert document["domain"] == {"x.de": {"unmatched": "pass"}}
    assert places == ["next_hops.gmail.com", "next_hops.gmail.co.uk", "domain.x.de"]


def test_names_with_dots() -> None:
    document, places = mended("""
        [routes.user.name]
        deliver = ["a@b.c"]
        [routes.user.name.match]
        exact = ["x"]
        [routes.other]
        deliver = ["a@b.c"]
        [routes.other.half]
        deliver = ["a@b.c"]
        [relays.smtp.example.com]
        url = "smtp://smtp.example.com"
    """)
    assert document["routes"] == {
        "user-name": {"deliver": ["a@b.c"], "match": {"exact": ["x"]}},
        "other": {"deliver": ["a@b.c"]},
        "other-half": {"deliver": ["a@b.c"]},
    }
    assert document["relays"] == {"smtp-example-com": {"url": "smtp://smtp.example.com"}}
    assert places == ["routes.user.name", "routes.other.half", "relays.smtp.example.com"]


def test_a_misspelt_table_of_a_route_is_no_name_with_a_dot() -> None:
    assert mended("[routes.user.mach]\nexact = ['x']")[1] == []


def test_keys_of_a_route_below_its_tables() -> None:
    document, places = mended("""
        [routes.u.match]
        exact = ["x"]
        deliver = ["a@b.c"]
        [routes.u.failover_after]
        greylisted = "15m"
        success = "any"
    """)
    assert document["routes"] == {
        "u": {
            "match": {"exact": ["x"]},
            "failover_after": {"greylisted": "15m"},
            "deliver": ["a@b.c"],
            "success": "any",
        }
    }
    assert places == ["routes.u.match.deliver", "routes.u.failover_after.success"]


@pytest.mark.parametrize(
    ("toml", "line", "hint"),
    [
        ('a = "\\."', "line 1,", "; write patterns in single quotes"),
        ('a = "x\nb = 1\n', "line 1,", "; is the closing quote missing?"),
        ("a = 'x\nb = 1\n", "end of file", "; is the closing quote missing?"),
        ("a = 1\na = 2\n", "line 2,", "; is this key there twice?"),
        ("a = user@example.org\n", "line 1,", "; strings need quotes"),
        ("user@example.org = 1\n", "line 1,", "; keys with @ and the like need quotes"),
        ("[a]\n[b]\n[a]\n", "line 3,", "; this table was begun further up"),
        ("a = [\n'b'\n'c']\n", "line 3,", "; is a comma or the closing bracket missing?"),
        ("= 1\n", "line 1,", "; a line is a # comment, a [header], or key = value"),
        ("a = 'b' 'c'\n", "line 1,", "; a line holds one key = value"),
        ("a: 1\n", "line 1,", "; a line is key = value"),
        (
            "a = { b = 1,\nc = 2 }\n",
            "line 1,",
            "; names need quotes; a table in braces stays on one",
        ),
        ("[a.b@c]\n", "line 1,", "; names with @ and the like need quotes"),
        ("\na = “b”\n", "line 2,", "; quotes are straight in TOML"),
        ("\r\na = 1\r\nb = „c“\r\n", "line 3,", "; quotes are straight in TOML"),
        ("“” = 1\nb = c\n", "line 1,", "; quotes are straight in TOML"),
        ("a = '“”'\nb = c\n", "line 2,", "; strings need quotes"),
    ],
)
def test_syntax_errors_get_a_place_and_a_hint(toml: str, line: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_toml(toml)
    (problem,) = caught.value.problems
    assert problem.where.startswith(line)
    assert problem.text.startswith("not TOML: ")
    assert hint in problem.text
    assert "(at " not in problem.text


@pytest.mark.parametrize(
    "toml", [f"a = {'[' * 17}{']' * 17}", f"a = {'[' * 9999}", f"{'a.' * 3000}a = 1"]
)
def test_what_is_nested_without_end_is_refused(toml: str) -> None:
    with pytest.raises(ConfigError, match="more than 16 deep"):
        parse_toml(toml)


def test_what_is_nested_deeply_is_read() -> None:
    assert parse_toml(f"a = {'[' * 15}{']' * 15}")


def test_a_number_that_python_refuses_is_refused() -> None:
    with pytest.raises(ConfigError, match="too many digits"):
        parse_toml(f"a = {'9' * 5000}")


def test_keys_of_a_route_above_the_first_header_are_told_once() -> None:
    document, places = mended("match.exact = ['a@x.de']\ndeliver = ['b@gmx.de']\n[routes.u]\n")
    assert document == {"routes": {"u": {}}}
    assert places == ["match", "deliver"]


def test_matchers_in_a_route_are_meant_below_match() -> None:
    document, places = mended("""
        [routes.u]
        exact = "a@x.de"
        match.plus = "b@x.de"
        plus = "c@x.de"
        [routes.v]
        regex = ['.*']
        [routes.w]
        match = "d@x.de"
        exact = "e@x.de"
    """)
    assert document["routes"] == {
        "u": {"match": {"exact": "a@x.de", "plus": "b@x.de"}},
        "v": {"match": {"regex": [".*"]}},
        "w": {"match": "d@x.de"},
    }
    assert places == ["routes.u.exact", "routes.u.plus", "routes.v.regex", "routes.w.exact"]


def test_a_next_hop_as_a_table() -> None:
    document, places = mended('[next_hops."gmail.com"]\nurl = "smtp://a"')
    assert document["next_hops"] == {"gmail.com": "smtp://a"}
    assert places == ['next_hops."gmail.com".url']

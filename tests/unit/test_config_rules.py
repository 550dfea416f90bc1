"""Rules, and the plugins that read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.unit.fake_matchers import Lookup, lookup, raising, word
from waypost.config import Config, ConfigError, parse_toml, read
from waypost.hookspecs import Compiled, Hit, Matcher, Report


def config(match: str, *matchers: Matcher[Any]) -> Config:
    return read(
        parse_toml(f"""
            domains = ["mydomain.net"]
            [routes.a]
            deliver = ["a@gmail.com"]
            {match}
        """),
        matchers,
    )


def problems(match: str, *matchers: Matcher[Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config(match, *matchers)
    return [str(problem) for problem in caught.value.problems]


def test_one_bare_rule_is_a_list_of_one() -> None:
    assert problems('match.word = "a?"', word()) == ["routes.a.match.word: no question marks"]
    assert problems('match.word = ["a?"]', word()) == ["routes.a.match.word[0]: no question marks"]


def test_a_rule_that_is_a_table_knows_its_keys() -> None:
    assert problems('match.lookup = [{ tabel = "x" }, { table = 5 }]', lookup({})) == [
        "routes.a.match.lookup[0].table: this key is required",
        'routes.a.match.lookup[0].tabel: unknown key "tabel"; did you mean "table"?',
        "routes.a.match.lookup[1].table: a string in quotes is wanted here, not a number",
    ]


def test_rules_reach_the_matcher_as_its_type_all_at_once() -> None:
    calls: list[Sequence[Lookup]] = []

    def compile_rules(rules: Sequence[Lookup], _report: Report) -> Compiled:
        calls.append(rules)
        return Compiled(lambda _: ())

    config(
        'match.lookup = [{ table = "x" }, { table = "y", column = "z" }]',
        Matcher("lookup", 500, Lookup, compile_rules),
    )
    assert calls == [[Lookup("x"), Lookup("y", "z")]]


def test_a_matcher_without_rules_is_not_compiled() -> None:
    assert (
        config("match.word = ['a']", word(), raising(AssertionError())).matchers[0].name == "word"
    )
    assert (
        len(
            config("match.word = ['a']\nmatch.raising = []", word(), raising(ValueError())).matchers
        )
        == 1
    )


def test_a_warning_of_a_matcher_is_kept() -> None:
    assert [str(each) for each in config('match.word = ["a+b"]', word()).warnings] == [
        "routes.a.match.word[0]: warning: looks like a tag"
    ]


def test_a_repetition_within_a_route_is_a_warning() -> None:
    (warning,) = config('match.word = ["a", "a"]', word()).warnings
    assert str(warning) == (
        "routes.a.match.word[1]: warning: matches the same as routes.a.match.word[0]; "
        "one of the two is enough"
    )


def test_a_matcher_is_told_what_is_ours() -> None:
    assert problems('match.word = ["b.example"]', word()) == ["routes.a.match.word[0]: is not ours"]


def test_a_plugin_that_raises_is_named_and_stops_no_other() -> None:
    told = problems(
        'match.raising = ["x"]\nmatch.word = ["a?"]', word(), raising(RuntimeError("out of luck"))
    )
    reason = 'the matcher plugin "raising" failed on its rules: RuntimeError: out of luck'
    assert told == [
        "routes.a.match.word[0]: no question marks",
        f"routes.a.match.raising[0]: {reason}",
    ]


@pytest.mark.parametrize(
    ("compiled", "reason"),
    [
        (None, "TypeError: compile returned NoneType, not Compiled"),
        (Compiled(lambda _: (), [frozenset(), frozenset()]), "ValueError: "),
    ],
)
def test_a_plugin_that_breaks_the_contract_is_named(compiled: Any, reason: str) -> None:
    broken: Matcher[str] = Matcher("broken", 1, str, lambda _rules, _report: compiled)
    (told,) = problems('match.broken = ["x"]', broken)
    assert told.startswith(
        f'routes.a.match.broken[0]: the matcher plugin "broken" failed on its rules: {reason}'
    )


def test_a_rule_type_that_pydantic_cannot_read_is_the_plugins_mistake() -> None:
    broken: Matcher[str] = Matcher(
        "broken", 1, object(), lambda _rules, _report: Compiled(lambda _: ())
    )
    (told,) = problems('match.broken = ["x"]', broken)
    assert 'the matcher plugin "broken" failed on its rules: PydanticSchemaGenerationError' in told


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("wrod", 'no matcher plugin "wrod"; did you mean "word"?'),
        ("regx", 'no matcher plugin "regx"; did you mean "regex"?'),
        ("regex", 'the matcher plugin "regex" is not installed; pip install waypost-regex'),
        (
            "catch_all",
            'the matcher plugin "catch_all" is not installed; pip install waypost-catch-all',
        ),
        ("ldap", 'no matcher plugin "ldap"; if there is one, pip install waypost-ldap brings it'),
    ],
)
def test_a_matcher_that_is_not_there(name: str, text: str) -> None:
    told = problems(f'match.{name} = ["x"]', word())
    assert told == [f"routes.a.match.{name}: {text}"]


@pytest.mark.parametrize(
    ("written", "shown"),
    [(r'"\bx"', r"\b"), (r'"x\t"', r"\t"), (r'"\u001b"', r"\u001B"), (r'{ table = "\f" }', r"\f")],
)
def test_control_characters_are_toml_s_doing(written: str, shown: str) -> None:
    (told,) = problems(f"match.lookup = [{written}]", lookup({}))
    assert told == (
        f"routes.a.match.lookup[0]: holds a control character: in double quotes TOML reads {shown} "
        "as one; write it in single quotes"
    )


@pytest.mark.parametrize("field", ["local", "tag"])
def test_a_field_cannot_hide_what_every_rule_has(field: str) -> None:
    (told,) = problems(f'match.word = ["a/{field}"]', word())
    assert told.startswith(f'routes.a.match.word[0]: every rule has a field "{field}" already')


def test_a_matcher_may_say_the_subdomain_anew() -> None:
    config('match.word = ["a/subdomain"]', word())


async def test_closers_are_handed_on_whether_or_not_there_are_errors() -> None:
    closed = []

    async def close() -> None:
        closed.append(True)

    match = 'match.lookup = { table = "x" }'
    for closer in config(match, lookup({}, close)).closers:
        await closer()
    with pytest.raises(ConfigError) as caught:
        config(f'{match}\nmatch.word = ["a?"]', lookup({}, close), word())
    for closer in caught.value.closers:
        await closer()
    assert closed == [True, True]


def test_find_is_the_matchers_own() -> None:
    found = [Hit(0)]
    matcher: Matcher[str] = Matcher("m", 1, str, lambda _rules, _report: Compiled(find))

    def find(_recipient: object) -> list[Hit]:
        return found

    assert config('match.m = ["x"]', matcher).matchers[0].find is find

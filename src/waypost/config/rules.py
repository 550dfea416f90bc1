"""From the rules under `match` to compiled matchers.

Owns the collection of rules from all routes, their validation against each matcher's own type, the
call of `compile` and the `Report` that it talks to. Plugins run here: whatever one of them raises
is reported under its name and stops nothing else.

Promises: a matcher is compiled once, with all its rules in file order; one without rules is not
compiled at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from types import GenericAlias
from typing import cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from waypost.config.problems import (
    Closer,
    Findings,
    Path,
    did_you_mean,
    place,
    shape_problem,
    written,
)
from waypost.config.tables import SHIPPED
from waypost.config.traps import control_character, warn_of_invisible
from waypost.hookspecs import Compiled, Matcher
from waypost.resolver import MatcherInUse, RuleInUse
from waypost.route import Route

ALWAYS = ("local", "tag", "subdomain")
"""The fields that are there whatever the matcher. A matcher may only say `subdomain` anew: the
labels before its rule's domain."""


@dataclass(frozen=True, slots=True)
class WrittenRule:
    """A rule as it stands in the file."""

    route: str
    path: Path
    value: object


@dataclass(slots=True)
class CompiledRules:
    """What became of all rules."""

    matchers: list[MatcherInUse] = field(default_factory=list)
    carried: dict[str, list[tuple[str, frozenset[str]]]] = field(default_factory=dict)
    """By route: the place of each of its rules, and the fields that its hits carry."""
    closers: list[Closer] = field(default_factory=list)


def collect(route: str, match: Mapping[str, object]) -> dict[str, list[WrittenRule]]:
    """The rules of one route by matcher. One bare rule is as good as a list of one."""
    rules: dict[str, list[WrittenRule]] = {}
    for matcher, value in match.items():
        path: Path = ("routes", route, "match", matcher)
        if isinstance(value, list):
            rules[matcher] = [
                WrittenRule(route, (*path, index), each) for index, each in enumerate(value)
            ]
        else:
            rules[matcher] = [WrittenRule(route, path, value)]
    return rules


def unknown_matcher(name: str, matchers: Sequence[Matcher[object]]) -> str:
    """What is said of a key under `match` that no installed plugin answers to."""
    distribution = f"waypost-{name.replace('_', '-')}"
    if name in SHIPPED:
        return f'the matcher plugin "{name}" is not installed; pip install {distribution}'
    known = [matcher.name for matcher in matchers]
    suggestion = did_you_mean(name, [*known, *SHIPPED])
    return f'no matcher plugin "{name}"' + (
        suggestion or f"; if there is one, pip install {distribution} brings it"
    )


def compile_rules(
    rules: Mapping[str, Sequence[WrittenRule]],
    matchers: Sequence[Matcher[object]],
    routes: Mapping[str, Route],
    is_ours: Callable[[str], bool],
    found: Findings,
) -> CompiledRules:
    """Compile every matcher that `rules` (by matcher) has rules for, by precedence."""
    result = CompiledRules()
    for matcher in sorted(matchers, key=lambda each: (each.precedence, each.name)):
        if rules.get(matcher.name):
            try:
                _compile(matcher, rules[matcher.name], routes, is_ours, found, result)
            except Exception as error:  # a stranger's code: its troubles are not the file's
                reason = f"{type(error).__name__}: {error}"
                text = f'the matcher plugin "{matcher.name}" failed on its rules: {reason}'
                found.error(rules[matcher.name][0].path, text)
    return result


def _compile(
    matcher: Matcher[object],
    written: Sequence[WrittenRule],
    routes: Mapping[str, Route],
    is_ours: Callable[[str], bool],
    found: Findings,
    result: CompiledRules,
) -> None:
    rules, values = _validate(matcher, _without_control_characters(written, found), found)
    if not rules:
        return
    compiled = matcher.compile(values, RuleReport(rules, is_ours, found))
    if not isinstance(compiled, Compiled):
        raise TypeError(f"compile returned {type(compiled).__name__}, not Compiled")
    if compiled.close is not None:
        result.closers.append(compiled.close)
    carried = compiled.fields or [frozenset[str]()] * len(rules)
    for rule, names in zip(rules, carried, strict=True):
        for name in sorted(names & {"local", "tag"}):
            text = f'every rule has a field "{name}" already; give this one another name'
            found.error(rule.path, text)
        result.carried.setdefault(rule.route, []).append((place(rule.path), frozenset(names)))
    in_use = [RuleInUse(routes[rule.route], _text(rule.value)) for rule in rules]
    result.matchers.append(MatcherInUse(matcher.name, matcher.precedence, compiled.find, in_use))


def _text(value: object) -> str:
    return value if isinstance(value, str) else written(value)


def _without_control_characters(rules: Sequence[WrittenRule], found: Findings) -> list[WrittenRule]:
    good = []
    for rule in rules:
        char = control_character(rule.value)
        if char is None:
            warn_of_invisible(rule.path, rule.value, found)
            good.append(rule)
        else:
            text = (
                f"holds a control character: in double quotes TOML reads {char} as one; "
                "write it in single quotes"
            )
            found.error(rule.path, text)
    return good


def rule_list(rule: object) -> TypeAdapter[list[object]]:
    """What reads a list of rules of this type (`Matcher.rule`)."""
    kind = cast("type[list[object]]", GenericAlias(list, (rule,)))
    # Without this a rule that is a dataclass would not mind a misspelt key.
    return TypeAdapter(kind, config=ConfigDict(extra="forbid"))


def _validate(
    matcher: Matcher[object], rules: Sequence[WrittenRule], found: Findings
) -> tuple[Sequence[WrittenRule], Sequence[object]]:
    """The rules that are what `matcher.rule` says, and their values."""
    adapter = rule_list(matcher.rule)
    try:
        return rules, adapter.validate_python([rule.value for rule in rules])
    except ValidationError as error:
        mistakes = error.errors()
    wrong = set()
    for details in mistakes:
        index = int(details["loc"][0])
        wrong.add(index)
        rule = rules[index]
        found.error(*shape_problem(details, rule.path, rule.value, _keys(matcher.rule), skip=1))
    good = [rule for index, rule in enumerate(rules) if index not in wrong]
    return good, adapter.validate_python([rule.value for rule in good])


def _keys(rule: object) -> list[str]:
    if isinstance(rule, type) and issubclass(rule, BaseModel):
        return list(rule.model_fields)
    return [each.name for each in fields(rule)] if is_dataclass(rule) else []


@dataclass(frozen=True, slots=True)
class RuleReport:
    """A `hookspecs.Report`: what a matcher says of a rule becomes a problem at its place."""

    rules: Sequence[WrittenRule]
    ours: Callable[[str], bool]
    found: Findings

    def error(self, rule: int, text: str) -> None:
        """See `Report`."""
        self.found.error(self.rules[rule].path, text)

    def warning(self, rule: int, text: str) -> None:
        """See `Report`."""
        self.found.warning(self.rules[rule].path, text)

    def duplicate(self, rule: int, of: int) -> None:
        """See `Report`. Within one route a repetition changes nothing, so it is a warning there."""
        later, earlier = self.rules[rule], self.rules[of]
        text = f"matches the same as {place(earlier.path)}"
        if later.route == earlier.route:
            self.found.warning(later.path, f"{text}; one of the two is enough")
        else:
            self.found.error(later.path, f"{text}; a recipient has one route")

    def is_ours(self, domain: str) -> bool:
        """See `Report`."""
        return self.ours(domain)

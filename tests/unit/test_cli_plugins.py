"""`waypost plugins`."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from tests.unit.fake_matchers import Lookup, lookup, word
from waypost.cli import plugins as command
from waypost.cli.main import main
from waypost.hookspecs import AddressRule, Compiled, DomainRule, Matcher
from waypost.plugins import Origin, PluginProblem, Plugins


def test_the_installed_matchers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["MATCHER", "PRECEDENCE", "RULE", "FROM"]
    assert [row.split()[:4] for row in rows] == [
        ["exact", "100", "address", "waypost-exact"],
        ["plus", "200", "address", "waypost-plus"],
        ["subdomain", "300", "domain", "waypost-subdomain"],
        ["regex", "400", "string", "waypost-regex"],
        ["catch_all", "900", "domain", "waypost-catch-all"],
    ]
    assert all(len(row.split()) == 5 for row in rows)


def test_observers_and_broken_plugins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugins = Plugins(
        matchers=(word(), lookup({})),  # type: ignore[arg-type]
        origins={"word": Origin("waypost-word", "1.0"), "lookup": Origin("waypost-sql", "2.0")},
        observers={"statistics": lambda *, event: None},  # noqa: ARG005
        problems=(PluginProblem('plugin "ldap" of waypost-ldap 3.0', "implements no hook"),),
    )
    monkeypatch.setattr(command, "load_plugins", lambda: plugins)
    assert main(["plugins"]) == 1
    said = capsys.readouterr()
    assert said.out == (
        "MATCHER  PRECEDENCE  RULE                FROM\n"
        "word     100         string              waypost-word 1.0\n"
        "lookup   500         { table, column? }  waypost-sql 2.0\n"
        "observer: statistics\n"
    )
    assert said.err == 'plugin "ldap" of waypost-ldap 3.0: implements no hook\n'


class Model(BaseModel):
    file: str


class Odd:
    pass


@pytest.mark.parametrize(
    ("rule", "form"),
    [
        (AddressRule, "address"),
        (DomainRule, "domain"),
        (str, "string"),
        (int, "integer"),
        (Lookup, "{ table, column? }"),
        (Model, "{ file }"),
        (Odd, str(Odd)),
    ],
)
def test_the_form_of_a_rule(rule: Any, form: str) -> None:
    matcher: Matcher[object] = Matcher("m", 1, rule, lambda _rules, _report: Compiled(lambda _: ()))
    assert command.rule_form(matcher) == form

"""The JSON Schema that editors complete and check a configuration by."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel
from pydantic_core.core_schema import CoreSchema, no_info_plain_validator_function

from tests.unit.fake_matchers import lookup, word
from waypost.cli import check
from waypost.cli.main import main
from waypost.config.schema import json_schema
from waypost.config.values import FAILING_REPLY_CLASSES
from waypost.hookspecs import Compiled, Matcher
from waypost.plugins import PluginProblem, Plugins, load_plugins

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(ROOT.glob("examples/*/*.toml"))
# The mistakes that are none of shape: `waypost check` tells warnings only.
WARNED_OF = [
    path.with_name("waypost.toml")
    for path in sorted(ROOT.glob("tests/bad_configs/*/expected.txt"))
    if "ok: " in path.read_text()
]

EVERYTHING = """
domains = ["mydomain.net", "seconddomain.de"]
not_ours = ["imx.mydomain.net"]
unmatched = "reject"
delimiter = ""
route_domain = "waypost.invalid"
state = "/var/lib/waypost"
[milter]
listen = "unix:/run/m.sock"
[transport]
listen = "inet:[::1]:9901"
deadline = "29m59s"
[domain."seconddomain.de"]
unmatched = "pass"
delimiter = "-"
[outgoing]
helo = "mx.mydomain.net"
bind = "192.0.2.1"
address_family = "ipv4"
default_relay = "improvmx"
[relays.improvmx]
url = "smtps://smtp.improvmx.com"
tls = "verify"
ca_file = "/etc/waypost/ca.pem"
username = "user1"
password_file = "/etc/waypost/secret"
[next_hops]
"gmail.com" = "smtp://127.0.0.1:2601/"
[defaults]
last_resort = { to = "user1@outlook.com", via = "improvmx" }
success = "any"
failover_after = { greylisted = "1d2h3m4s", throttled = 0 }
[routes.user1]
match.exact = "user1@mydomain.net"
match.regex = ['u.*@mydomain\\.net']
match.catch_all = []
deliver = ["user1@gmail.com", { to = "user1@imx.mydomain.net", via = "improvmx" }]
last_resort = []
on_failure = "bounce"
[routes.family]
match.plus = ["user2@mydomain.net"]
fan_out = ["a@gmx.de", { to = "b@gmx.de" }, ["c@gmx.de", { to = "d@gmx.de" }]]
"""


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    made = json_schema(load_plugins().matchers)
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


def mistakes(schema: Draft202012Validator, toml: str) -> list[str]:
    return [error.json_path for error in schema.iter_errors(tomllib.loads(toml))]


@pytest.mark.parametrize(
    "path", [*EXAMPLES, *WARNED_OF], ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_what_waypost_takes_is_right(schema: Draft202012Validator, path: Path) -> None:
    assert mistakes(schema, path.read_text()) == []


def test_every_key_in_every_form_is_right(schema: Draft202012Validator) -> None:
    assert mistakes(schema, EVERYTHING) == []


@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ("unmatched", "unmached", "$"),
        ('unmatched = "reject"', 'unmatched = "rejct"', "$.unmatched"),
        ('"/var/lib/waypost"', '"state"', "$.state"),
        ('"unix:/run/m.sock"', '"unix:m.sock"', "$.milter.listen"),
        ('"inet:[::1]:9901"', '"127.0.0.1:9901"', "$.transport.listen"),
        ('"29m59s"', '"30 minutes"', "$.transport.deadline"),
        ("[relays.improvmx]", "[relays.ImprovMX]", "$.relays"),
        ('url = "smtps://smtp.improvmx.com"', "", "$.relays.improvmx"),
        ('"smtp://127.0.0.1:2601/"', '"127.0.0.1"', "$.next_hops['gmail.com']"),
        ('{ greylisted = "1d2h3m4s"', '{ greylistd = "1d2h3m4s"', "$.defaults.failover_after"),
        ("throttled = 0", "throttled = -1", "$.defaults.failover_after.throttled"),
        ("throttled = 0", "throttled = true", "$.defaults.failover_after.throttled"),
        ("[routes.family]", '[routes."the.family"]', "$.routes"),
        ("match.exact", "exact", "$.routes.user1"),
        ("match.exact", "match.exakt", "$.routes.user1.match"),
        ('"user1@mydomain.net"\n', "5\n", "$.routes.user1.match.exact"),
        ('match.plus = ["user2@mydomain.net"]', "", "$.routes.family"),
        ("last_resort = []", 'last_resort = ["a@gmx.de"]', "$.routes.user1.last_resort"),
        ("fan_out = [", 'deliver = ["a@gmx.de"]\nfan_out = [', "$.routes.family"),
        ("fan_out = [", "deliver = [", "$.routes.family.deliver[2]"),
        ("{ to = \"b@gmx.de\" }", "{ too = \"b@gmx.de\" }", "$.routes.family.fan_out[1]"),
        ('domains = ["mydomain.net", "seconddomain.de"]', "", "$"),
    ],
)  # fmt: skip
def test_mistakes_of_shape_are_marked_at_their_place(
    schema: Draft202012Validator, right: str, wrong: str, place: str
) -> None:
    assert right in EVERYTHING
    assert mistakes(schema, EVERYTHING.replace(right, wrong, 1)) == [place]


def tables(schema: object) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield schema["properties"]
        for below in schema.values():
            yield from tables(below)


def test_every_key_is_described(schema: Draft202012Validator) -> None:
    matchers = {matcher.name for matcher in load_plugins().matchers}
    keys = {
        key: each
        for table in tables(schema.schema)
        for key, each in table.items()
        if key not in matchers and key not in FAILING_REPLY_CLASSES
    }
    assert {key for key, each in keys.items() if "description" not in each} == set()
    assert {"domains", "milter", "listen", "to", "fan_out", "last_resort", "tls"} <= set(keys)


def test_reply_classes_are_keys_that_editors_can_complete(schema: Draft202012Validator) -> None:
    waits = [each["failover_after"] for each in tables(schema.schema) if "failover_after" in each]
    assert len(waits) == 2
    assert all(list(each["properties"]) == list(FAILING_REPLY_CLASSES) for each in waits)


def test_defaults_are_told_as_they_are_written(schema: Draft202012Validator) -> None:
    told = {
        key: each["default"]
        for table in tables(schema.schema)
        for key, each in table.items()
        if "default" in each
    }
    assert told == {
        "unmatched": "reject",
        "delimiter": "+",
        "route_domain": "waypost.invalid",
        "keep": "30d",
        "state": "/var/lib/waypost",
        "listen": "unix:/var/spool/postfix/waypost/lmtp.sock",
        "deadline": "30m",
        "address_family": "any",
    }


class Row(BaseModel):
    """A rule that is a table with another in it."""

    column: str
    below: Row | None = None


class Anything:
    """A rule that only its plugin can read."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: object) -> CoreSchema:
        return no_info_plain_validator_function(lambda _: cls())


def matcher(name: str, rule: object) -> Matcher[object]:
    return Matcher(name, 500, rule, lambda _rules, _report: Compiled(lambda _recipient: ()))


def test_match_takes_the_rules_of_the_installed_matchers() -> None:
    installed = [
        word(), lookup({}), matcher("rows", Row), matcher("own", object),
        matcher("read", Anything),
    ]  # fmt: skip
    schema = Draft202012Validator(json_schema(installed))  # type: ignore[arg-type]
    route = 'domains = ["a.de"]\n[routes.r]\ndeliver = ["a@gmx.de"]\nmatch.'
    for right in (
        "word = 'a'",
        "lookup = { table = 't' }",
        "lookup = [{ table = 't', column = 'c' }]",
        "rows = { column = 'a', below = { column = 'b' } }",
        "own = 5",
        "read = { any = [1] }",
    ):
        assert mistakes(schema, route + right) == []
    for wrong in (
        "exact = 'a@a.de'",
        "word = 1",
        "lookup = 't'",
        "lookup = { tabel = 't' }",
        "rows = { column = 'a', below = { colum = 'b' } }",
    ):
        assert len(mistakes(schema, route + wrong)) == 1


def test_check_prints_it_and_reads_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--schema", "--config", "/nowhere/waypost.toml"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json_schema(load_plugins().matchers)
    assert printed["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_a_broken_plugin_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Plugins(problems=(PluginProblem('plugin "exact" of waypost-exact 9', "is broken"),))
    monkeypatch.setattr(check, "load_plugins", lambda: broken)
    assert main(["check", "--schema"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", 'plugin "exact" of waypost-exact 9: is broken\n')

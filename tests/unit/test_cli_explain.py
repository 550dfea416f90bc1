"""`waypost explain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.fake_matchers import lookup, raising, word
from waypost.address import Address, RouteAddresses
from waypost.cli import explain
from waypost.cli.main import main
from waypost.plugins import Plugins

TOML = r"""
domains = ["mydomain.net", "seconddomain.de"]
not_ours = ["imx.mydomain.net"]

[domain."seconddomain.de"]
unmatched = "pass"

[outgoing]
default_relay = "smarthost"

[relays.improvmx]
url = "smtp://smtp.improvmx.com:587"

[relays.smarthost]
url = "smtp://192.0.2.1"

[next_hops]
"gmail.com" = "smtp://127.0.0.1:2601"

[routes.user1]
match.exact = ["user1@mydomain.net"]
match.plus = ["user1@mydomain.net"]
match.regex = ['u(?P<long>ser)?1\+.*@mydomain\.net']
deliver = ["user1@gmail.com", { to = "user1@imx.mydomain.net", via = "improvmx" }]
last_resort = "user1@outlook.com"

[routes.family]
match.exact = ["family@mydomain.net"]
fan_out = [["email1@gmail.com", "email1@outlook.com"], "email2@gmail.com"]
success = "any"

[routes.everyone-else]
match.subdomain = ["shops.mydomain.net"]
deliver = ["{subdomain}.a.prefix.that.leaves.little.room.for.what.a.sender.adds+{local}@gmail.com"]
"""


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "waypost.toml"
    path.write_text(TOML)
    monkeypatch.setenv("WAYPOST_CONFIG", str(path))


def as_json(capsys: pytest.CaptureFixture[str], *addresses: str) -> tuple[int, list[Any]]:
    status = main(["explain", "--json", *addresses])
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_person_sees_match_shadows_and_the_plan_in_order(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["explain", "user1+shop@mydomain.net"]) == 0
    assert (
        capsys.readouterr().out
        == r"""user1+shop@mydomain.net: routed
  match     plus user1@mydomain.net -> route user1
  fields    local = user1+shop, tag = shop
  shadows   regex u(?P<long>ser)?1\+.*@mydomain\.net -> route user1
  tries     1. user1@gmail.com         smtp://127.0.0.1:2601 (next_hops)
            2. user1@imx.mydomain.net  via improvmx (smtp://smtp.improvmx.com:587)
            3. user1@outlook.com       smtp://192.0.2.1:25 (default relay)
"""
    )


def test_a_person_sees_legs_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "family@mydomain.net", "x@seconddomain.de"]) == 4
    assert (
        capsys.readouterr().out
        == """family@mydomain.net: routed
  match     exact family@mydomain.net -> route family
  fields    local = family
  legs      2, side by side, any of them is enough
  leg 1     1. email1@gmail.com    smtp://127.0.0.1:2601 (next_hops)
            2. email1@outlook.com  smtp://192.0.2.1:25 (default relay)
  leg 2     1. email2@gmail.com    smtp://127.0.0.1:2601 (next_hops)

x@seconddomain.de: no route, left to Postfix (unmatched = "pass")
"""
    )


def test_without_a_default_relay_the_mx_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mx.toml"
    path.write_text(TOML.replace('default_relay = "smarthost"', ""))
    monkeypatch.setenv("WAYPOST_CONFIG", str(path))
    assert main(["explain", "user1@mydomain.net"]) == 0
    assert "3. user1@outlook.com       MX of outlook.com\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tls", "told"),
    [
        ("opportunistic", ""),
        ("require", ", TLS required"),
        ("verify", ", TLS verified"),
        ("never", ", no TLS"),
    ],
)
def test_a_person_sees_how_a_relay_is_encrypted(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tls: str,
    told: str,
) -> None:
    path = tmp_path / "tls.toml"
    path.write_text(TOML.replace("[relays.improvmx]", f'[relays.improvmx]\ntls = "{tls}"'))
    monkeypatch.setenv("WAYPOST_CONFIG", str(path))
    assert main(["explain", "user1@mydomain.net"]) == 0
    assert f"via improvmx (smtp://smtp.improvmx.com:587{told})\n" in capsys.readouterr().out


def test_secrets_are_not_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    login = '[relays.improvmx]\nusername = "user1"\npassword_file = "/nonexistent/secret"'
    path = tmp_path / "login.toml"
    path.write_text(TOML.replace("[relays.improvmx]", login))
    monkeypatch.setenv("WAYPOST_CONFIG", str(path))
    assert main(["explain", "user1@mydomain.net"]) == 0
    assert "via improvmx (smtp://smtp.improvmx.com:587, TLS required)" in capsys.readouterr().out


def test_a_machine_gets_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    status, (told,) = as_json(capsys, "User1+Shop@MyDomain.net")
    fields = {"local": "User1+Shop", "tag": "Shop", "subdomain": ""}
    assert status == 0
    assert told == {
        "recipient": "User1+Shop@MyDomain.net",
        "verdict": "routed",
        "match": {
            "matcher": "plus",
            "rule": "user1@mydomain.net",
            "route": "user1",
            "fields": fields,
        },
        "shadowed": [
            {
                "matcher": "regex",
                "rule": r"u(?P<long>ser)?1\+.*@mydomain\.net",
                "route": "user1",
                "fields": {**fields, "long": "ser"},
            }
        ],
        "legs": [
            [
                {"to": "user1@gmail.com", "via": None, "next_hop": "smtp://127.0.0.1:2601"},
                {"to": "user1@imx.mydomain.net", "via": "improvmx", "next_hop": "improvmx"},
                {"to": "user1@outlook.com", "via": None, "next_hop": "smarthost"},
            ]
        ],
        "reply": None,
        "reason": None,
    }


BAD_SYNTAX = "550 5.1.3 this address is not written as an address must be"
NOTHING: dict[str, object] = {"match": None, "shadowed": [], "legs": []}


@pytest.mark.parametrize(
    ("address", "status", "verdict", "reply"),
    [
        ("nobody@mydomain.net", 3, "refused", "550 5.1.1 no such address here"),
        ("nobody@seconddomain.de", 4, "untouched", None),
        ("user1@imx.mydomain.net", 4, "not_ours", None),
        ("user1@elsewhere.example", 4, "not_ours", None),
        ("a b@mydomain.net", 3, "refused", BAD_SYNTAX),
        ("a b@elsewhere.example", 4, "not_ours", None),
        ("user1", 3, "refused", BAD_SYNTAX),
        ("\udcff@mydomain.net", 3, "refused", BAD_SYNTAX),
        ("x@waypost.invalid", 3, "refused", "550 5.7.1 this address takes no mail"),
    ],
)  # fmt: skip
def test_what_has_no_route(
    address: str, status: int, verdict: str, reply: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    got, (told,) = as_json(capsys, address)
    reason = told.pop("reason")
    assert (got, told) == (
        status,
        {"recipient": address, "verdict": verdict, "reply": reply, **NOTHING},
    )
    assert (reason is None) == ("5.1.1" in str(reply) or (reply is None and " " not in address))
    assert main(["explain", address]) == status
    assert (reply or "") in capsys.readouterr().out


def test_a_route_without_a_legal_destination_is_refused_and_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, (told,) = as_json(capsys, "user1+shop@deep.shops.mydomain.net")
    assert status == 3
    assert told["verdict"] == "refused"
    assert told["reply"] == "550 5.1.3 this address cannot be forwarded"
    assert told["match"]["route"] == "everyone-else"
    assert told["match"]["fields"]["subdomain"] == "deep"
    assert told["legs"] == []


def test_whom_a_route_address_was_made_for(capsys: pytest.CaptureFixture[str]) -> None:
    recipient = Address.parse("user1+shop@mydomain.net")
    made = RouteAddresses("waypost.invalid", b"key").make("abcdefgh234567ab", recipient)
    assert main(["explain", str(made)]) == 3
    assert "a route address, for mail to user1+shop@mydomain.net" in capsys.readouterr().out


def test_of_several_addresses_the_highest_status(capsys: pytest.CaptureFixture[str]) -> None:
    status, told = as_json(capsys, "a@elsewhere.example", "user1@mydomain.net", "no@mydomain.net")
    assert status == 4
    assert [each["verdict"] for each in told] == ["not_ours", "routed", "refused"]


def test_a_bad_configuration_is_told_as_check_tells_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("domains = []")
    assert main(["explain", "--config", str(path), "user1@mydomain.net"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"{path}: domains: ")


def with_matchers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, match: str, deliver: str, *matchers: Any
) -> None:
    monkeypatch.setattr(explain, "load_plugins", lambda: Plugins(matchers=matchers))
    path = tmp_path / "own.toml"
    path.write_text(f'domains = ["mydomain.net"]\n[routes.r]\n{match}\ndeliver = ["{deliver}"]\n')
    monkeypatch.setenv("WAYPOST_CONFIG", str(path))


def test_a_matcher_that_fails_means_that_mail_would_wait(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = raising(RuntimeError("no database"), when="find")
    with_matchers(monkeypatch, tmp_path, "match.raising = ['x']", "a@gmail.com", broken)
    assert main(["explain", "x@mydomain.net"]) == 75
    assert capsys.readouterr().out == (
        "x@mydomain.net: deferred: 451 4.3.0 trouble here, please try again later\n"
        '  because   matcher "raising": RuntimeError: no database\n'
    )
    status, (told,) = as_json(capsys, "x@mydomain.net")
    assert (status, told["verdict"]) == (75, "trouble")


def test_matchers_that_wait_are_awaited_and_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = []

    async def close() -> None:
        closed.append(True)

    table = lookup({"x": "x@gmx.de"}, close)
    with_matchers(
        monkeypatch, tmp_path, 'match.lookup = { table = "t" }', "{destination}", table, word()
    )
    status, (told,) = as_json(capsys, "x@mydomain.net")
    assert status == 0
    assert told["match"]["rule"] == '{ table = "t" }'
    assert told["match"]["fields"]["destination"] == "x@gmx.de"
    assert told["legs"] == [[{"to": "x@gmx.de", "via": None, "next_hop": "mx:gmx.de"}]]
    assert closed == [True]

"""`waypost explain --reply`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from tests.unit.fake_matchers import lookup
from tests.unit.strategies import replies
from waypost.cli import explain_reply
from waypost.cli.main import main
from waypost.outcome import Deferred, Stage, judge
from waypost.plugins import Plugins
from waypost.reply import Reply

TOML = """
domains = ["mydomain.net"]
[defaults]
failover_after = { throttled = "1h30m" }
[routes.user1]
match.exact = ["user1@mydomain.net"]
deliver = ["user1@gmail.com"]
[routes.user2]
match.exact = ["user2@mydomain.net"]
deliver = ["user2@gmail.com"]
failover_after = { throttled = 0, greylisted = "2d" }
"""
THROTTLED = "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited"


@pytest.fixture(autouse=True)
def no_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "waypost.toml"
    monkeypatch.setenv("WAYPOST_CONFIG", str(path))
    return path


@pytest.fixture
def config(no_config: Path) -> Path:
    no_config.write_text(TOML)
    return no_config


def as_text(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["explain", "--reply", *arguments]) == 0
    return capsys.readouterr().out


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["explain", "--json", "--reply", *arguments]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line)


def test_without_a_configuration_the_defaults_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_text(capsys, THROTTLED) == (
        f"{THROTTLED}\n"
        "  class     throttled\n"
        "  concerns  every message to this host\n"
        r"  row       Outlook: 45., 4\.7\.(500|6\d\d)"
        "\n"
        "  attempt   deferred\n"
        "  leg       goes on to its next destination at once\n"
    )
    assert as_text(capsys, "450 4.2.0 Greylisted").splitlines()[-1] == (
        "  leg       stays with this destination for 15m, then goes on"
    )


@pytest.mark.usefixtures("config")
def test_the_configuration_and_its_routes_decide_how_long_a_leg_stays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert as_text(capsys, THROTTLED).splitlines()[-2:] == [
        "  leg       stays with this destination for 1h30m, then goes on",
        "            goes on to its next destination at once: in user2",
    ]
    assert as_text(capsys, "450 4.2.0 Greylisted").splitlines()[-2:] == [
        "  leg       stays with this destination for 15m, then goes on",
        "            stays with this destination for 2d, then goes on: in user2",
    ]


def test_many_routes_are_counted(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = "".join(
        f"[routes.r{number}]\nmatch.exact = ['r{number}@mydomain.net']\ndeliver = ['a@gmx.de']\n"
        "failover_after = { throttled = '1s' }\n"
        for number in range(10)
    )
    config.write_text(TOML + own)
    assert (
        as_text(capsys, THROTTLED)
        .splitlines()[-1]
        .endswith(" for 1s, then goes on: in r0, r1, r2, r3, r4, r5, r6, r7 and 2 more")
    )


@pytest.mark.usefixtures("config")
def test_a_machine_gets_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, THROTTLED) == {
        "reply": THROTTLED,
        "stage": "rcpt",
        "class": "throttled",
        "scope": "host",
        "row": {
            "receiver": "Outlook",
            "code": "45.",
            "status": r"4\.7\.(500|6\d\d)",
            "text": "",
        },
        "attempt": "deferred",
        "failover_after": 5400.0,
        "routes": {"user2": 0.0},
    }


@pytest.mark.usefixtures("config")
def test_what_is_refused_is_not_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_text(capsys, "550 5.1.1 who?", "--stage", "dot").splitlines()[-2:] == [
        "  attempt   bounced: this destination is not asked again for this message",
        "  leg       goes on to its next destination at once",
    ]
    told = as_json(capsys, "550 5.1.1 who?")
    assert (told["attempt"], told["failover_after"], told["routes"]) == ("bounced", None, {})


def test_the_stage_can_overrule_the_row(capsys: pytest.CaptureFixture[str]) -> None:
    line = "554 IP=192.0.2.1 - A problem occurred."
    assert as_text(capsys, line, "--stage", "greeting").splitlines()[1:] == [
        "  class     misconfigured",
        "  concerns  every message to this host",
        r"  row       T-Online: 554, text /^IP=[\d.:a-f]+ - /",
        "  but       said at greeting, or as 530, it speaks of our host and its set-up",
        "  attempt   deferred",
        "  leg       goes on to its next destination at once",
    ]
    assert "  but " not in as_text(capsys, line)
    lines = as_text(capsys, "354 go on", "--stage", "dot").splitlines()
    assert lines[3] == "  row       none: this is no reply that could be due"
    assert lines[4] == "  but       after the final dot this is no answer"


def test_positive_replies_decide_after_the_dot_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_text(capsys, "250 2.1.5 fine").splitlines()[1:] == [
        "  class     accepted",
        "  attempt   goes on: at rcpt nothing is decided by this",
    ]
    assert as_text(capsys, "250 2.0.0 queued", "--stage", "dot").endswith("  attempt   sent\n")
    assert as_json(capsys, "250 2.1.5 fine")["row"] is None


@pytest.mark.parametrize(
    ("copied", "read"),
    [
        ("451 4.3.0 try later", "451 4.3.0 try later"),
        ("  421 4.7.0 \n", "421 4.7.0 "),
        ("550", "550 "),
        # The lines of a reply, as they come, as Postfix logs them, and only the code before them.
        ("421-4.7.28 such\n421-4.7.28 a rate\n421 4.7.28 of it", "421 4.7.28 such a rate of it"),
        ("421-4.7.28 such 421-4.7.28 a rate 421 4.7.28 of mail", "421 4.7.28 such a rate of mail"),
        ("554-gmx.net 554-No SMTP service 554 Bad DNS", "554 gmx.net No SMTP service Bad DNS"),
        # Numbers that are no code of a line.
        ("451 4.3.0 error 4510 and x451 y", "451 4.3.0 error 4510 and x451 y"),
    ],
)  # fmt: skip
def test_replies_are_read_as_logs_show_them(copied: str, read: str) -> None:
    assert str(explain_reply.read_reply(copied)).replace("\n", " ") == read


@pytest.mark.parametrize("text", ["", "hello", "4.7.0 later", "951 no", "4511 x", "smtp; 451 x"])
def test_what_is_no_reply(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["explain", "--reply", text])
    assert caught.value.code == 2
    assert "is no reply: it begins with its three digits" in capsys.readouterr().err


def test_a_reply_or_addresses() -> None:
    for arguments in ([], ["user1@mydomain.net", "--reply", "451 x"], ["--stage", "dot"]):
        with pytest.raises(SystemExit) as caught:
            main(["explain", *arguments])
        assert caught.value.code == 2


def test_a_configuration_with_errors_is_left_aside(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text("domains = 5")
    assert main(["explain", "--reply", THROTTLED]) == 0
    said = capsys.readouterr()
    assert said.err == f"{config}: has errors (waypost check tells them); it is left aside\n"
    assert said.out.endswith("goes on to its next destination at once\n")


def test_matchers_are_closed(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = []

    async def close() -> None:
        closed.append(True)

    plugins = Plugins(matchers=(lookup({}, close),))  # type: ignore[arg-type]
    monkeypatch.setattr(explain_reply, "load_plugins", lambda: plugins)
    config.write_text(
        "domains = ['mydomain.net']\n[routes.t]\nmatch.lookup = { table = 'x' }\n"
        "deliver = ['a@gmx.de']\n"
    )
    as_text(capsys, THROTTLED)
    assert closed == [True]


@given(replies(2, 3, 4, 5))
def test_what_is_told_is_what_delivery_does(reply: Reply) -> None:
    for name in explain_reply.STAGES:
        told = explain_reply.explain(reply, Stage(name), None)
        if told.attempt == "goes_on":
            assert reply.code // 100 in (2, 3)
            continue
        outcome = judge(Stage(name), reply)
        assert told.attempt == type(outcome).__name__.lower()
        assert (told.failover_after is not None) == isinstance(outcome, Deferred)
        assert json.dumps(explain_reply.as_json(told))
        assert all("\n" not in line for line in explain_reply.as_text(told))

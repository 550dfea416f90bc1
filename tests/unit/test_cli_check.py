"""`waypost check` (what it says of each mistake: tests/bad_configs)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.fake_matchers import lookup
from waypost.cli import check
from waypost.cli.main import main
from waypost.plugins import PluginProblem, Plugins

GOOD = """
domains = ["mydomain.net"]
[routes.user1]
match.exact = ["user1@mydomain.net", "u1@mydomain.net"]
deliver = ["user1@gmail.com"]
[routes.user2]
match.exact = ["user2@mydomain.net"]
match.plus = "user2@mydomain.net"
deliver = ["user2@gmail.com"]
"""


def run(tmp_path: Path, toml: str) -> int:
    path = tmp_path / "my.toml"
    path.write_text(toml)
    return main(["check", "--config", str(path)])


def test_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, GOOD) == 0
    said = capsys.readouterr()
    assert said.out == "ok: 2 routes, 4 rules\n"
    assert said.err == ""


def test_warnings_do_not_make_it_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, 'domains = ["mydomain.net"]') == 0
    said = capsys.readouterr()
    assert said.out == "ok: 0 routes, 0 rules\n"
    assert said.err == (
        f"{tmp_path}/my.toml: routes: warning: there is no route, so no mail is forwarded\n"
    )


def test_errors_name_the_file_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.toml").write_text(GOOD.replace("plus", "pluss"))
    assert main(["check", "--config", "my.toml"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        'my.toml: routes.user2.match.pluss: no matcher plugin "pluss"; did you mean "plus"?\n'
    )


def test_a_broken_plugin_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Plugins(problems=(PluginProblem('plugin "exact" of waypost-exact 9', "is broken"),))
    monkeypatch.setattr(check, "load_plugins", lambda: broken)
    assert run(tmp_path, GOOD) == 1
    assert 'plugin "exact" of waypost-exact 9: is broken\n' in capsys.readouterr().err


def test_matchers_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    async def close() -> None:
        closed.append(True)

    plugins = Plugins(matchers=(lookup({}, close),))  # type: ignore[arg-type]
    monkeypatch.setattr(check, "load_plugins", lambda: plugins)
    run(
        tmp_path,
        """
        domains = ["mydomain.net"]
        [routes.table]
        match.lookup = { table = "users" }
        deliver = ["{destination}"]
        """,
    )
    assert closed == [True]


@pytest.mark.parametrize(
    ("lifetime", "keep", "status"),
    [("5d", "30d", 0), ("5d", "5d", 0), ("5d", "4d23h", 1), ("2", "1d", 1), ("1w", "6d", 1)],
)
def test_a_journal_that_forgets_what_postfix_still_has_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lifetime: str,
    keep: str,
    status: int,
) -> None:
    postconf = tmp_path / "postconf"
    postconf.write_text(f"#!/bin/sh\necho {lifetime}\n")
    postconf.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert run(tmp_path, f'keep = "{keep}"\n{GOOD}') == status
    assert ("keep: is shorter than" in capsys.readouterr().err) == bool(status)


def test_without_a_postfix_the_file_alone_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "maximal_queue_lifetime", lambda: None)
    assert run(tmp_path, f'keep = "1h"\n{GOOD}') == 0

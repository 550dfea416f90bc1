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

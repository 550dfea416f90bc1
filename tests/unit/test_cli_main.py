"""The command line as a whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from waypost import __version__
from waypost.cli.main import DEFAULT_CONFIG, main

TOML = """
domains = ["mydomain.net"]
[routes.user1]
match.exact = ["user1@mydomain.net"]
deliver = ["user1@gmail.com"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my.toml"
    path.write_text(TOML)
    return path


@pytest.mark.parametrize("command", ["activity", "held", "postfix"])
def test_commands_of_later_versions_are_refused_clearly(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "attach", "--yes"]) == 2
    assert main(["--config", "x.toml", command]) == 2
    assert capsys.readouterr().err == f"waypost {command}: not available in this version\n" * 2


@pytest.mark.parametrize("arguments", [[], ["chekc"], ["check", "--yes"], ["explain"]])
def test_a_command_line_that_cannot_be_understood(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: waypost ")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for command in ("check", "explain", "plugins", "serve"):
        assert f"\n    {command} " in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"waypost {__version__}\n"


def test_the_configuration_is_named_by_option_variable_or_default(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAYPOST_CONFIG", "/nowhere.toml")
    assert main(["--config", str(file), "check"]) == 0
    assert main(["check", "--config", str(file)]) == 0
    assert main(["check", f"--config={file}"]) == 0
    capsys.readouterr()
    assert main(["check"]) == 1
    assert capsys.readouterr().err.startswith("/nowhere.toml: ")
    for value in ("", None):
        if value is None:
            monkeypatch.delenv("WAYPOST_CONFIG")
        else:
            monkeypatch.setenv("WAYPOST_CONFIG", value)
        main(["check"])
        assert DEFAULT_CONFIG in capsys.readouterr().err or Path(DEFAULT_CONFIG).exists()


def test_checking_a_file_does_not_import_the_daemon(file: Path) -> None:
    code = (
        "import sys; from waypost.cli.main import main; "
        f"status = main(['check', '--config', {str(file)!r}]); "
        "print([name for name in ('waypost.daemon', 'aiosmtplib', 'dns') if name in sys.modules]); "
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ok: 1 route, 1 rule\n[]\n"


def test_a_reader_that_has_seen_enough_is_no_error(file: Path) -> None:
    code = (
        "import sys; from waypost.cli.main import main; "
        "sys.exit(main(['explain', '--config', sys.argv[1], *['user1@mydomain.net'] * 5000]))"
    )
    done = subprocess.run(
        [
            *("sh", "-c", '{ "$0" -c "$1" "$2"; echo "status $?" >&2; } | head -1'),
            *(sys.executable, code, str(file)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "user1@mydomain.net: routed\n"
    assert done.stderr == "status 0\n"

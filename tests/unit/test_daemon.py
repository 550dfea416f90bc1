"""`waypost serve` as a process: start, reload, stop, and what it says when it cannot."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from waypost.testing.daemon import Waypost

ROUTE = """
[routes.me]
match.exact = ["me@mydomain.net"]
deliver = ["me@gmail.com"]
"""


def text(directory: Path, *, milter: str = "", state: str = "", routes: str = ROUTE) -> str:
    milter = milter or f"unix:{directory}/milter.sock"
    return f"""
domains = ["mydomain.net"]
state = "{state or directory / "state"}"
[milter]
listen = "{milter}"
[transport]
listen = "unix:{directory}/lmtp.sock"
{routes}
"""


def refusal(directory: Path, config: str) -> str:
    """What `serve` says when it does not start."""
    file = directory / "refused.toml"
    file.write_text(config)
    command = [sys.executable, "-m", "waypost.cli.main", "serve", "--config", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr.replace(str(directory), "DIR")


def test_it_starts_reloads_and_stops(tmp_path: Path) -> None:
    with Waypost(text(tmp_path), tmp_path) as waypost:
        assert waypost.reload()["event"] == "config_loaded"
        assert waypost.stop() == 0
    names = [event["event"] for event in waypost.events()]
    assert names == ["config_loaded", "ready", "config_loaded", "stopping", "stopped"]


def test_every_postfix_process_may_connect(tmp_path: Path) -> None:
    with Waypost(text(tmp_path), tmp_path):
        for name in ("milter.sock", "lmtp.sock"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666


def test_a_bad_reload_changes_nothing_and_says_every_problem(tmp_path: Path) -> None:
    with Waypost(text(tmp_path), tmp_path) as waypost:
        refused = waypost.reload(text(tmp_path, routes=ROUTE.replace("exact", "exakt")))
        assert refused["event"] == "config_refused"
        assert refused["problems"] == [
            'routes.me.match.exakt: no matcher plugin "exakt"; did you mean "exact"?'
        ]
        assert waypost.reload(text(tmp_path))["event"] == "config_loaded"


def test_what_needs_a_restart_is_refused_at_a_reload(tmp_path: Path) -> None:
    with Waypost(text(tmp_path), tmp_path) as waypost:
        refused = waypost.reload(text(tmp_path, state="/elsewhere", milter="inet:127.0.0.1:9900"))
        assert refused["problems"] == [
            f'state: "/elsewhere" takes effect at a restart only; it was "{tmp_path}/state"',
            (
                'milter.listen: "inet:127.0.0.1:9900" takes effect at a restart only; it was'
                f' "unix:{tmp_path}/milter.sock"'
            ),
        ]


def test_a_stale_socket_is_no_obstacle(tmp_path: Path) -> None:
    with Waypost(text(tmp_path), tmp_path) as waypost:
        waypost.kill()
        assert (tmp_path / "milter.sock").is_socket()
        waypost.start()


def test_two_daemons_do_not_share_a_socket(tmp_path: Path) -> None:
    with Waypost(text(tmp_path), tmp_path):
        said = refusal(tmp_path, text(tmp_path, state=f"{tmp_path}/other"))
    assert "waypost serve: unix:DIR/lmtp.sock: another process is listening there" in said


def test_two_daemons_do_not_share_a_state(tmp_path: Path) -> None:
    with Waypost(text(tmp_path), tmp_path):
        (tmp_path / "elsewhere").mkdir()
        said = refusal(tmp_path, text(tmp_path / "elsewhere", state=f"{tmp_path}/state"))
    assert said.endswith(
        "waypost serve: state: another `waypost serve` works with DIR/state; stop it first\n"
    )


def test_a_file_where_a_socket_should_be_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "milter.sock"
    precious.write_text("precious")
    said = refusal(tmp_path, text(tmp_path))
    assert "unix:DIR/milter.sock: there is something that is no socket" in said
    assert precious.read_text() == "precious"


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(tmp_path, text(tmp_path, milter=f"inet:127.0.0.1:{port}"))
    assert f"waypost serve: milter.listen: cannot listen on inet:127.0.0.1:{port}: " in said


def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    said = refusal(tmp_path, text(tmp_path, milter=f"unix:{tmp_path}/none/milter.sock"))
    assert "milter.listen: cannot listen on unix:DIR/none/milter.sock: No such file" in said


def test_a_state_that_is_no_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "state: DIR/file" in refusal(tmp_path, text(tmp_path, state=f"{tmp_path}/file"))


def test_a_state_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "state" / "lock").mkdir(parents=True)  # root may write everywhere else
    said = refusal(tmp_path, text(tmp_path))
    assert "waypost serve: state: DIR/state cannot be written (Is a directory)" in said


def test_a_journal_that_is_none_is_told_and_does_not_stop_it(tmp_path: Path) -> None:
    # Ended, it would be started again and again; running, it answers 451 until it is repaired.
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "journal.sqlite").write_bytes(b"no database" * 200)
    with Waypost(text(tmp_path), tmp_path) as waypost:
        trouble = waypost.wait_for_event("journal_trouble")
        assert str(trouble["error"]).endswith("file is not a database")


@pytest.mark.parametrize("config", ["domains = [", 'domain = ["mydomain.net"]'])
def test_a_bad_file_is_told_in_words(tmp_path: Path, config: str) -> None:
    assert refusal(tmp_path, config).startswith("DIR/refused.toml: ")

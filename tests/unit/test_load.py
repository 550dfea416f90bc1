"""Reading files: the configuration, and the key of the route addresses."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from tests.unit.fake_matchers import word
from waypost.address import Address
from waypost.config import ConfigError
from waypost.load import load, route_key
from waypost.plugins import PluginProblem, Plugins
from waypost.resolver import Routed

PLUGINS = Plugins(matchers=(word(),))  # type: ignore[arg-type]
TOML = """
domains = ["mydomain.net"]
state = "/nowhere/to/be/found"
[routes.user1]
match.word = ["user1"]
deliver = ["user1@gmail.com"]
"""


def problems_of(path: Path, plugins: Plugins = PLUGINS) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, plugins)
    return [str(problem) for problem in caught.value.problems]


async def test_a_file_becomes_a_resolver_without_any_state(tmp_path: Path) -> None:
    path = tmp_path / "waypost.toml"
    path.write_text(TOML)
    loaded = load(path, PLUGINS)
    resolution = await loaded.resolver.resolve(Address.parse("user1@mydomain.net"))
    assert isinstance(resolution, Routed)
    assert resolution.match.route is loaded.config.routes[0]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "waypost.toml") == [
        "there is no such file; --config or WAYPOST_CONFIG names one"
    ]


def test_a_file_that_is_none(tmp_path: Path) -> None:
    assert problems_of(tmp_path) == ["cannot be read: Is a directory"]


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "waypost.toml"
    path.write_bytes(b'domains = ["a.de"]\n# J\xf6rg\n')
    assert problems_of(path) == ["line 2 is not UTF-8, as TOML must be"]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + TOML.encode(),
        TOML.replace("\n", "\r\n").encode(),
        TOML.replace("\n", "\n\t").encode(),
        TOML.replace("mydomain.net", "MyDomain.NET.").encode(),
        TOML.replace("user1@gmail.com", " User1@GMAIL.com. ").encode(),
        TOML.replace('["mydomain.net"]', '["mydomain.net", "MYDOMAIN.net"]').encode(),
    ],
    ids=["mark", "crlf", "tabs", "case and dot", "spaces", "domain twice"],
)
def test_what_means_the_same_is_taken(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "waypost.toml"
    path.write_bytes(content)
    config = load(path, PLUGINS).config
    assert list(config.domains.ours) == ["mydomain.net"]
    assert config.warnings == ()


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    path = tmp_path / "waypost.toml"
    path.write_text("domains = mydomain.net")
    assert problems_of(path) == ["line 1, column 11: not TOML: Invalid value; strings need quotes"]


def test_a_broken_plugin_is_told_instead_of_what_is_missed_for_want_of_it(tmp_path: Path) -> None:
    plugins = Plugins(problems=(PluginProblem('plugin "word" of waypost-word 1', "is broken"),))
    assert problems_of(tmp_path / "none.toml", plugins) == [
        'plugin "word" of waypost-word 1: is broken'
    ]


def test_a_key_is_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"
    key = route_key(state, create=True)
    assert len(key) == 32
    assert route_key(state, create=True) == route_key(state, create=False) == key
    assert route_key(tmp_path / "other", create=True) != key
    (file,) = state.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_of_two_keys_made_at_once_one_wins(tmp_path: Path) -> None:
    keys: list[bytes] = []
    start = threading.Barrier(8)

    def make() -> None:
        start.wait()
        keys.append(route_key(tmp_path, create=True))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["route.key"]


def key_problem(state: Path, create: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        route_key(state, create)
    (problem,) = caught.value.problems
    return str(problem)


def test_a_key_is_not_made_unasked(tmp_path: Path) -> None:
    assert key_problem(tmp_path) == f"state: {tmp_path}/route.key: No such file or directory"


def test_a_key_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    told = key_problem(tmp_path / "state", create=True)
    assert told.startswith(f"state: {tmp_path}/state/route.key: ")


def test_a_key_that_others_can_read_is_none(tmp_path: Path) -> None:
    route_key(tmp_path, create=True)
    os.chmod(tmp_path / "route.key", 0o640)
    assert f"chmod 600 {tmp_path}/route.key" in key_problem(tmp_path)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_damaged_key_is_not_replaced(tmp_path: Path, length: int) -> None:
    path = tmp_path / "route.key"
    path.write_bytes(b"x" * length)
    path.chmod(0o600)
    assert "is damaged" in key_problem(tmp_path, create=True)
    assert path.read_bytes() == b"x" * length

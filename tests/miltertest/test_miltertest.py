"""The scripts here, run by miltertest (Debian's package of that name) against the daemon.

It is Sendmail's libmilter seen from the other side, so that what Postfix is lenient about shows. In
a script, `milter` is where the daemon listens; "passed" is its last word. (miltertest ends with
status 1 and says nothing when it is told to send what was negotiated away.)
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.abuse.world import World, running
from waypost.testing.waiting import LONG

SCRIPTS = sorted(Path(__file__).parent.glob("*.lua"))


@pytest.fixture(scope="module")
def miltertest() -> str:
    path = shutil.which("miltertest")
    if path is None:
        assert os.environ.get("CI") != "true", "no miltertest: scripts/install-missing installs it"
        pytest.skip("no miltertest here; `make setup` installs Debian's package")
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("miltertest")) as world:
        yield world


def test_there_are_scripts() -> None:
    assert SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script(miltertest: str, world: World, script: Path) -> None:
    ended = subprocess.run(
        [miltertest, "-D", f"milter={world.milter}", "-s", script],
        capture_output=True, text=True, timeout=LONG, check=False,
    )  # fmt: skip
    said = ended.stdout.splitlines()
    assert (ended.returncode, said) == (0, ["passed"]), ended.stdout + ended.stderr

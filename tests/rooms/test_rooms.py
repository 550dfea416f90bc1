"""The code keeps to its rooms, and the contract that says so can fail."""

import os
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from importlinter.api import read_configuration

from tests.rooms.contract import Options, Rooms, UnknownRoom

REPOSITORY = Path(__file__).parents[2]
CONFIGURATION = Path(__file__).with_name("rooms.toml")


@pytest.fixture(scope="module")
def options() -> Options:
    contract: Options = read_configuration(str(CONFIGURATION))["contracts_options"][0]
    return contract


@pytest.fixture(scope="module")
def rooms(options: Options) -> Rooms:
    return Rooms.from_options(options)


def graph_of(module: str, *imported: str) -> grimp.ImportGraph:
    graph = grimp.ImportGraph()
    graph.add_module(module)
    for other in imported:
        # As grimp marks libraries: a module whose own imports are not known.
        graph.add_module(other, is_squashed=not other.startswith("waypost"))
        graph.add_import(
            importer=module, imported=other, line_number=7, line_contents=f"import {other}"
        )
    return graph


def test_the_code_keeps_to_its_rooms(rooms: Rooms) -> None:
    roots = read_configuration(str(CONFIGURATION))["session_options"]["root_packages"]
    graph = grimp.build_graph(*roots, include_external_packages=True, cache_dir=None)

    assert {"waypost.resolver", "waypost_exact"} <= graph.modules
    assert list(rooms.violations(graph)) == []


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("waypost.plan", "waypost.route"),
        ("waypost.plan", "waypost"),
        ("waypost.config.model", "waypost.config.errors"),
        ("waypost.delivery", "waypost.plan"),
        ("waypost.delivery", "waypost.journal"),
        ("waypost.cli.main", "waypost.daemon"),
        ("waypost.testing.matcher", "waypost.cli.main"),
        ("waypost.resolver", "asyncio"),
        ("waypost.lmtp", "socket"),
        ("waypost.milter", "purepythonmilter"),
        ("waypost_exact", "waypost.hookspecs"),
        ("waypost_exact", "waypost_exact.table"),
        ("waypost_regex", "re2"),
    ],
)
def test_allowed(rooms: Rooms, module: str, imported: str) -> None:
    assert list(rooms.violations(graph_of(module, imported))) == []


@pytest.mark.parametrize(
    ("module", "imported", "reason"),
    [
        ("waypost.plan", "waypost.journal", "its row allows only: health outcome route"),
        ("waypost.address", "waypost.reply", "its row allows only: nothing"),
        ("waypost", "waypost.address", "its row allows only: nothing"),
        (
            "waypost.config.model",
            "waypost.plan",
            "its row allows only: address hookspecs reply resolver route",
        ),
        ("waypost.cli.main", "waypost.testing.postfix", "its row allows only: "),
        ("waypost.daemon", "waypost.cli", "its row allows only: "),
        ("waypost.plan", "time", "the core touches nothing outside"),
        ("waypost.plan", "asyncio", "the core touches nothing outside"),
        ("waypost.lmtp", "aiosmtplib", "aiosmtplib is for smtp_client alone"),
        ("waypost_exact", "purepythonmilter", "purepythonmilter is for milter alone"),
        ("waypost.pipe", "structlog", "pipe is to run on the standard library"),
        (
            "waypost_exact",
            "waypost.resolver",
            "a plugin allows only: address events hookspecs route testing",
        ),
    ],
)
def test_refused(rooms: Rooms, module: str, imported: str, reason: str) -> None:
    (violation,) = rooms.violations(graph_of(module, imported))

    assert violation.startswith(f"{module} imports {imported} (line 7): {reason}")


def test_a_module_without_a_row_is_an_error(rooms: Rooms) -> None:
    (violation,) = rooms.violations(graph_of("waypost.attic", "waypost.address"))

    assert violation == "waypost.attic has no row in tests/rooms/rooms.toml"


def test_a_row_that_names_no_room_is_an_error(options: Options) -> None:
    misspelt: Options = {**options, "shells": {**options["shells"], "lmtp": "address statsu"}}

    with pytest.raises(UnknownRoom, match="'address statsu' names statsu, which has no row"):
        Rooms.from_options(misspelt)


def test_the_command_fails_and_names_the_import(tmp_path: Path) -> None:
    package = tmp_path / "waypost"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "journal.py").touch()
    (package / "plan.py").write_text("\n\nimport waypost.journal\n")

    result = subprocess.run(
        [
            Path(sys.executable).with_name("lint-imports"),
            *("--config", CONFIGURATION, "--no-cache", "--no-logo"),
        ],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 1
    assert "waypost.plan imports waypost.journal (line 3)" in result.stdout

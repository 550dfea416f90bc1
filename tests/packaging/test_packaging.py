"""What is shipped: the fragments, the plugins' entry points, a lock that holds for every index."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import waypost

REPOSITORY = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in REPOSITORY.glob("plugins/*/pyproject.toml"))


def build(target: str, directory: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", directory],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    (built,) = directory.iterdir()
    return built


def fragments() -> set[str]:
    root = REPOSITORY / "postfix"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def below_fragments(names: list[str]) -> set[str]:
    return {name.partition("/fragments/")[2] for name in names if "/fragments/" in name}


def test_the_wheel_holds_the_fragments(tmp_path: Path) -> None:
    with zipfile.ZipFile(build("wheel", tmp_path)) as wheel:
        assert below_fragments(wheel.namelist()) == fragments()


def test_the_sdist_holds_the_fragments(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as sdist:
        assert below_fragments(sdist.getnames()) == fragments()


def test_there_is_one_version() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

    assert waypost.__version__ == project["version"]


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_a_plugin_is_named_alike_everywhere(plugin: Path) -> None:
    project = tomllib.loads((plugin / "pyproject.toml").read_text())["project"]
    core = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

    assert project["name"] == f"waypost-{plugin.name.replace('_', '-')}"
    assert project["entry-points"]["waypost"] == {plugin.name: f"waypost_{plugin.name}"}
    assert project["name"] in core["optional-dependencies"]["matchers"]


def test_the_lock_names_no_host_and_hashes_everything() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    requirements = lock.replace("\\\n", "").splitlines()

    assert "/" not in lock
    assert [line for line in requirements if "--hash=sha256:" not in line] == []

"""One folder per mistake: a waypost.toml and, in expected.txt, every word that is said about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from waypost.cli.main import main

HERE = Path(__file__).parent
MISTAKES = sorted(path.parent.name for path in HERE.glob("*/waypost.toml"))
WARNINGS_ONLY = {
    "field-with-dollar",
    "invisible-characters",
    "legs-with-one-first-destination",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_file_place_and_remedy(
    mistake: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(HERE / mistake)
    status = main(["check", "--config", "waypost.toml"])
    said = capfd.readouterr()
    assert said.err + said.out == Path("expected.txt").read_text("utf-8")
    assert status == (0 if mistake in WARNINGS_ONLY else 1)

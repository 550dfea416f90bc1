"""What the documentation lists, and what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from waypost.cli.main import main
from waypost.config.values import FAILING_REPLY_CLASSES

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reply_classes_are_those_of_the_code_in_its_order() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", (DOCS / "replies.md").read_text(), re.MULTILINE)
    assert tuple(listed) == FAILING_REPLY_CLASSES


def test_explain_says_what_the_page_shows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WAYPOST_CONFIG", str(tmp_path / "none.toml"))
    page = (DOCS / "replies.md").read_text()
    (shown,) = re.findall(r"```console\n\$ waypost (.*?)\n(.*?)```", page, re.DOTALL)
    command, output = shown
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out == output

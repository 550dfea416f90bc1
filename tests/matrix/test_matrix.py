"""Every cell of the table comes out as it says, by both doors; none is missing; a page shows it."""

from __future__ import annotations

import itertools
import resource
import sys
from collections.abc import Mapping

import pytest

from tests.matrix import impatient
from tests.matrix.cells import CELLS, Cell
from tests.matrix.page import PAGE, page
from tests.matrix.runs import Course, all_runs, courses
from waypost.postfix import Door
from waypost.testing.misbehaviours import BY_NAME

Courses = Mapping[tuple[Cell, Door, bool], tuple[Course, Course]]

STAGES = ("greeting", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "dot")
EVERYWHERE = (
    "4xx", "5xx", "421", "hang", "drop", "cut short", "gibberish", "two replies", "many lines",
    "endless line", "endless reply", "slow", "trickle",
)  # fmt: skip
"""What a next hop may do at any stage."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Courses:
    # Each run has a next hop, and each of these has four files.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    at_once = [cell for cell in CELLS if not cell.takes_patience]
    in_time = [cell for cell in CELLS if cell.takes_patience]
    through = [sys.executable, impatient.__file__]
    return {
        **courses(at_once, tmp_path_factory.mktemp("at-once")),
        **courses(in_time, tmp_path_factory.mktemp("in-time"), through=through),
    }


@pytest.mark.parametrize(
    ("cell", "door", "backup"),
    [
        pytest.param(*run, id=f"{run[0]}, {run[1]}, {'with a backup' if run[2] else 'alone'}")
        for run in all_runs(CELLS)
    ],
)
def test_a_cell(seen: Courses, cell: Cell, door: Door, backup: bool) -> None:
    expected, course = seen[cell, door, backup]
    assert course == expected


def test_no_cell_is_missing() -> None:
    there = {(cell.stage, cell.does) for cell in CELLS}
    assert set(itertools.product(STAGES, EVERYWHERE)) <= there
    assert {cell.does for cell in CELLS} >= {*BY_NAME, "refuse"}
    assert len({str(cell) for cell in CELLS}) == len(CELLS)


def test_the_page_shows_the_table() -> None:
    assert PAGE.read_text() == page(), "`make answers` writes it anew"

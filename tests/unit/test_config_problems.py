"""How problems are worded, whatever the file holds."""

from __future__ import annotations

import pytest

from waypost.config.problems import Findings


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("a\u2028b", r"a\u2028b"),
        ("a\u202eb", r"a\u202eb"),  # turns round what follows
        ("a\x1b[2Jb", r"a\x1b[2Jb"),  # clears a terminal
        ("j\u00f6rg \u4f8b", "j\u00f6rg \u4f8b"),
    ],
)
def test_a_problem_is_one_line_of_text(written: str, shown: str) -> None:
    found = Findings()
    found.error(("routes", written), f'"{written}" is wrong')
    found.warning(("routes", written), f'"{written}" is odd')
    error, warning = found.problems
    assert error.text == f'"{shown}" is wrong'
    assert warning.text == f'"{shown}" is odd'
    assert error.where.isprintable()
    assert warning.where.isprintable()

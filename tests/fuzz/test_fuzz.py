"""A bounded run of every target: its corpus, and as many inputs made from it, always the same."""

from __future__ import annotations

import itertools

import pytest

from tests.fuzz.target import NAMES, load

EXECUTIONS = 2000
SEED = 1


def test_there_are_targets() -> None:
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_no_input_breaks_a_promise(name: str) -> None:
    target = load(name)
    for data in itertools.chain(target.corpus(), itertools.islice(target.made(SEED), EXECUTIONS)):
        try:
            target.run(data)
        except Exception as error:
            raise AssertionError(f"the input is {data!r}") from error

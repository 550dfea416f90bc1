"""Many patterns at once: the answer is the one that each pattern alone would give."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import re2
from waypost_regex import sets
from waypost_regex.sets import PatternSets, RanOutOfMemory

PATTERNS = [
    "", "a", "A+", "a*b", "(a|b)*", "a|b@", "^a$", r"\ba\b.*", ".*@.*", "(?s).*", "[^a]+", r"\pL+",
    "a{2,3}", "(?i:a)b", r"[^@]+@[^@]+", "É.*", "s+", "(|a)+", "(?U)a+", r"\Qa+\E",
]  # fmt: skip


def alone(text: str) -> list[int]:
    return [
        index
        for index, pattern in enumerate(PATTERNS)
        if re2.compile(pattern, sets.options()).fullmatch(text)
    ]


ALL = PatternSets(PATTERNS)


@settings(deadline=None)
@given(st.text("abAB@éÉs\u017f+. ", max_size=8) | st.text(max_size=20))
def test_a_set_gives_the_answers_of_its_patterns(text: str) -> None:
    assert ALL.match(text) == alone(text)


@settings(deadline=None)
@given(text=st.text("abAB@é+", max_size=6))
@pytest.mark.parametrize("size", [1, 3, 19, 20])
def test_shards_do_not_change_the_answer(size: int, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "SHARD", size)
        sharded = PatternSets(PATTERNS)
    assert sharded.match(text) == alone(text)


def test_no_patterns_match_nothing() -> None:
    assert PatternSets([]).match("a@mydomain.net") == []


def test_patterns_too_large_for_one_set_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    original = re2.Set.Compile

    def counting(self: re2.Set) -> None:
        original(self)
        compiled.append(self)

    monkeypatch.setattr(re2.Set, "Compile", counting)
    large = PatternSets([rf".{{1,300}}{number}@mydomain\.net" for number in range(100)])
    assert len(compiled) > 1
    assert large.match("x50@mydomain.net") == [0, 50]


def test_a_single_pattern_that_compiles_alone_compiles_as_a_set() -> None:
    length = 1 << 20
    while True:
        try:
            re2.compile("a" * length, sets.options())
        except re2.error:
            length = length * 9 // 10
        else:
            break
    assert PatternSets(["a" * length, "b"]).match("b") == [1]


def test_trouble_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    patterns = PatternSets(["a"])
    # What RE2 gives when its memory ends, and also when nothing matched.
    monkeypatch.setattr(re2.Set, "Match", lambda *_: None)
    with pytest.raises(RanOutOfMemory):
        patterns.match("a")

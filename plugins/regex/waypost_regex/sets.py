"""Many patterns asked at once, by RE2.

Owns the options under which patterns are compiled, and `PatternSets`. Promises: time linear in the
length of the text, whatever the patterns; an answer, or an exception when RE2 could not find one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import re2

SHARD = 10_000
"""Patterns per set; one set of 100,000 does not compile with any amount of memory."""

# In bytes, for a program and for the states that RE2 builds as texts come in.
_ALONE = 4 << 20
_SET = 8 << 20
_LARGEST_SET = 64 << 20
"""Enough for a shard of ordinary patterns, and for any single one that compiles with `_ALONE`."""

# Matches every text. RE2 says "no pattern matched" and "I ran out of memory" in the same way; a set
# that does not even name this one is in trouble, which must not look like an unknown recipient.
_ALWAYS = r"(?s).*"


class RanOutOfMemory(Exception):
    """RE2 gave no answer."""


def options(max_mem: int = _ALONE) -> re2.Options:
    """How every pattern is read: UTF-8, any case. RE2's complaints are exceptions, not stderr."""
    made = re2.Options()
    made.case_sensitive = False
    made.log_errors = False
    made.max_mem = max_mem
    return made


class PatternSets:
    """Patterns, each of which is known to compile alone; asked by whole text."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._shards = [
            shard
            for start in range(0, len(patterns), SHARD)
            for shard in _compile(patterns[start : start + SHARD], start)
        ]

    def match(self, text: str) -> list[int]:
        """The indexes of the patterns that match all of `text`, lowest first.

        Raises RanOutOfMemory.
        """
        return [index for shard in self._shards for index in shard.match(text)]


class _Shard:
    def __init__(self, patterns: Sequence[str], start: int, memory: int) -> None:
        self._set = re2.Set.FullMatchSet(options(memory))
        self._start = start
        self._always = len(patterns)
        for pattern in (*patterns, _ALWAYS):
            self._set.Add(pattern)
        self._set.Compile()

    def match(self, text: str) -> Iterator[int]:
        found = self._set.Match(text)
        if found is None:
            raise RanOutOfMemory(f"RE2 could not ask the patterns from {self._start} on")
        return (self._start + index for index in sorted(found) if index != self._always)


def _compile(patterns: Sequence[str], start: int) -> Iterator[_Shard]:
    if len(patterns) == 1:
        yield _Shard(patterns, start, _LARGEST_SET)
        return
    try:
        yield _Shard(patterns, start, max(_SET, _LARGEST_SET * len(patterns) // SHARD))
    except re2.error:
        # Long patterns: fewer of them fit into one set.
        half = len(patterns) // 2
        yield from _compile(patterns[:half], start)
        yield from _compile(patterns[half:], start + half)

"""The fuzz targets: what each runs, where its inputs are, and inputs made without coverage.

A target is a module in `targets/`: `one(data)` runs one input and raises when a promise is broken.
Its inputs are the files in `corpus/NAME/`: examples, what fuzzing found worth keeping, and what
once broke a promise (`found-*`). Pieces that inputs are made of are in `dictionaries/NAME.dict`, in
libFuzzer's format.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from structlog.testing import capture_logs

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in (HERE / "targets").glob("*.py"))
LONGEST = 4096
"""Octets of an input."""
# What is there anyway serves as well.
_ELSEWHERE = {"config": (HERE.parent / "bad_configs", HERE.parent.parent / "examples")}


class Trouble(AssertionError):
    """Something was logged as an error: trouble of ours, which no input may cause."""


@dataclass(frozen=True, slots=True)
class Target:
    """One target. Get it from `load`."""

    name: str
    one: Callable[[bytes], None]
    tokens: Sequence[bytes]
    directories: Sequence[Path]
    """Where its inputs are kept."""

    def run(self, data: bytes) -> None:
        """Run one input. Raises Violation, Trouble, or whatever should not have been raised."""
        with capture_logs() as logs:
            self.one(data)
        for entry in logs:
            if entry["log_level"] in ("error", "critical"):
                raise Trouble(repr(entry))

    def corpus(self) -> list[bytes]:
        """Its inputs, always in the same order."""
        files = [path for each in self.directories for path in each.rglob("*") if path.is_file()]
        return [path.read_bytes() for path in sorted(files)]

    def made(self, seed: int) -> Iterator[bytes]:
        """Inputs without end, made from the corpus and the tokens; the same for the same seed."""
        chance = random.Random(seed)
        corpus = self.corpus()
        while True:
            data = bytearray(chance.choice(corpus))
            for _ in range(chance.randint(1, 6)):
                _change(data, chance, corpus, self.tokens)
            yield bytes(data[:LONGEST])


def load(name: str) -> Target:
    """The target of this name."""
    module = import_module(f"tests.fuzz.targets.{name}")
    tokens = [ast.literal_eval(f"b{line}") for line in dictionary(name).read_text().splitlines()]
    return Target(name, module.one, tokens, [HERE / "corpus" / name, *_ELSEWHERE.get(name, ())])


def dictionary(name: str) -> Path:
    """The file with the tokens of the target of this name."""
    return HERE / "dictionaries" / f"{name}.dict"


def _change(
    data: bytearray, chance: random.Random, corpus: Sequence[bytes], tokens: Sequence[bytes]
) -> None:
    start = chance.randint(0, len(data))
    end = min(len(data), start + chance.choice((0, 0, 1, 4, 16)))
    match chance.randrange(5):
        case 0:
            data[start:end] = chance.choice(tokens)
        case 1:
            data[start:end] = b""
        case 2:
            data[start:end] = data[start : start + 16] * 2
        case 3:
            data[start:end] = chance.choice(corpus)[start:]
        case _:
            data[start:end] = chance.randbytes(1)

"""Fuzzes every target on all cores, for FUZZ_SECONDS in all (default 1800): `make fuzz`.

Says for each how many inputs were run, what coverage that reached and how much memory it took, and
ends with status 1 when one broke a promise, hung or grew (`one`).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from tests.fuzz.target import HERE, NAMES

ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "fuzz"
_PATIENCE = 300
"""Seconds that a target may take beyond its share; to read the corpus, say."""
_COVERAGE = re.compile(r" cov: (\d+) ")
_STATISTIC = re.compile(r"^stat::(\w+):\s+(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one target."""

    name: str
    status: int
    output: str

    def __str__(self) -> str:
        coverage = _COVERAGE.findall(self.output)
        reached = f"{coverage[0]} -> {coverage[-1]}" if coverage else "not known"
        statistics = dict(_STATISTIC.findall(self.output))
        executed = int(statistics.get("number_of_executed_units", 0))
        verdict = "ok" if self.status == 0 else f"FAILED with status {self.status}"
        memory = statistics.get("peak_rss_mb", "?")
        return f"{self.name:10} {executed:11,} {reached:>16} {memory:>6} MB  {verdict}"


def main() -> int:
    """Run all; the exit status."""
    seconds = int(os.environ.get("FUZZ_SECONDS", "1800"))
    cores = os.cpu_count() or 1
    rounds = -(-len(NAMES) // cores)
    share = max(1, seconds // rounds)
    print(f"fuzz: {len(NAMES)} targets, {share} s each, {cores} at a time", flush=True)
    print(f"{'target':10} {'inputs':>11} {'coverage':>16} {'memory':>9}", flush=True)
    failed = []
    with ThreadPoolExecutor(cores) as pool:
        for result in pool.map(partial(_fuzz, share), NAMES):
            print(result, flush=True)
            if result.status:
                failed.append(result)
    for result in failed:
        print(f"\n{result.name}, at its end:\n{result.output[-4000:]}")
    if failed:
        print(
            f"\nThe inputs are in {BUILD / 'found'}; tests/fuzz/one.py says how to run one again."
        )
    return 1 if failed else 0


def _fuzz(share: int, name: str) -> Result:
    command = [sys.executable, "-m", "tests.fuzz.one", name, str(share), str(BUILD / name)]
    try:
        ended = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=share + _PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return Result(name, 1, (error.stdout or b"").decode(errors="replace") + "\nhung")
    return Result(name, ended.returncode, ended.stdout.decode(errors="replace"))


if __name__ == "__main__":
    sys.exit(main())

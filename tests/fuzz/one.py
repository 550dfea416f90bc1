"""Fuzzes one target: `python -m tests.fuzz.one NAME SECONDS DIRECTORY`, or runs inputs of it.

    python -m tests.fuzz.one milter build/fuzz/found/milter-crash-...     # what broke, again

Guided by coverage where atheris is installed, blindly elsewhere. DIRECTORY gets the inputs that
reach something new. Ends with a status other than 0, and leaves the input under `found/` beside
DIRECTORY, when an input raises, takes more than `HANG_SECONDS`, or the memory exceeds `MEMORY_MB`.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from random import SystemRandom

from tests.fuzz.target import LONGEST, Target, dictionary, load

HANG_SECONDS = 20
MEMORY_MB = 512
INSTRUMENTED = [
    "waypost", "waypost_catch_all", "waypost_exact", "waypost_plus", "waypost_regex",
    "waypost_subdomain", "aiosmtplib", "purepythonmilter",
]  # fmt: skip


def main() -> None:
    """Run what the command line says."""
    name, *rest = sys.argv[1:]
    if all(map(os.path.isfile, rest)):
        for path in rest:
            load(name).run(Path(path).read_bytes())
        return
    seconds, directory = int(rest[0]), Path(rest[1])
    found = directory.parent / "found"
    directory.mkdir(parents=True, exist_ok=True)
    found.mkdir(exist_ok=True)
    if importlib.util.find_spec("atheris"):
        _guided(name, seconds, directory, found)
    else:
        _blind(load(name), seconds, found)


def _guided(name: str, seconds: int, directory: Path, found: Path) -> None:
    import atheris  # is not to be had for every platform

    with atheris.instrument_imports(include=INSTRUMENTED):
        target = load(name)
        from tests.fuzz.world import matchers

        matchers()  # imports the plugins
    options = [
        f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={HANG_SECONDS}",
        f"-rss_limit_mb={MEMORY_MB}", f"-dict={dictionary(name)}",
        f"-artifact_prefix={found}/{name}-", "-print_final_stats=1",
        "-use_value_profile=1",
    ]  # fmt: skip
    atheris.Setup(
        [sys.argv[0], *options, str(directory), *map(str, target.directories)], target.run
    )
    atheris.Fuzz()


def _blind(target: Target, seconds: int, found: Path) -> None:
    """The same, without any idea of what an input reached; it ends as libFuzzer does."""
    until = time.monotonic() + seconds
    executions = peak = 0
    current = found / f"{target.name}-current"
    for data in target.made(SystemRandom().randrange(1 << 32)):
        current.write_bytes(data)
        signal.alarm(HANG_SECONDS)
        try:
            target.run(data)
        except Exception:
            traceback.print_exc()
            sys.exit(f"the input is {current.rename(found / f'{target.name}-crash-{executions}')}")
        executions += 1
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        if peak > MEMORY_MB:
            sys.exit(f"{peak} MB of memory")
        if time.monotonic() > until:
            break
    signal.alarm(0)
    current.unlink()
    print(
        f"stat::number_of_executed_units: {executions}\nstat::peak_rss_mb: {peak}", file=sys.stderr
    )


if __name__ == "__main__":
    main()

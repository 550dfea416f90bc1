"""The log of `waypost serve`."""

from __future__ import annotations

import os
import subprocess
import sys

# Logs to a standard error that is what a test makes of it, then tells how that was.
PROGRAM = """
import structlog
from waypost.cli import serve
serve._log_to_stderr("info")
for number in range(3):
    structlog.get_logger().info("line", number=number, text="\\udcfc\\u20ac")
print("goes on")
"""


def run(stderr: int) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=stderr, check=False
    )


def test_is_lines() -> None:
    ended = run(subprocess.PIPE)
    assert ended.stderr.count(b"\n") == 3
    assert ended.stderr.startswith(b'{"number": 0, "text": "\\udcfc\\u20ac", "event": "line", ')


def test_that_nobody_reads_stops_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = run(writing)
    os.close(writing)
    assert (ended.returncode, ended.stdout) == (0, b"goes on\n")


def test_that_finds_no_room_stops_nothing() -> None:
    with open("/dev/full", "wb") as full:
        ended = run(full.fileno())
    assert (ended.returncode, ended.stdout) == (0, b"goes on\n")


def test_of_a_full_pipe_stops_nothing() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    while True:
        try:
            os.write(writing, b"x" * 4096)
        except BlockingIOError:
            break
    ended = run(writing)
    os.close(reading)
    os.close(writing)
    assert (ended.returncode, ended.stdout) == (0, b"goes on\n")

"""Running waypost-pipe as pipe(8) does: a process, its standard input, an exit status, a line."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from waypost import pipe
from waypost.testing.waiting import LONG

PIPE = str(Path(pipe.__file__))
USER1, USER2 = "user1@mydomain.net", "user2@mydomain.net"
MESSAGE = b"Subject: hello\n\nbody\n"


@dataclass(frozen=True, slots=True)
class Ended:
    """How the command ended."""

    status: int
    line: str


async def start(*arguments: str, python: str = sys.executable) -> asyncio.subprocess.Process:
    """Run it as master.cf does."""
    return await asyncio.create_subprocess_exec(
        python, "-I", "-S", PIPE, *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def end(process: asyncio.subprocess.Process, message: bytes | None) -> Ended:
    """Let it run to its end, which must be one that pipe(8) understands."""
    async with asyncio.timeout(LONG):
        output, errors = await process.communicate(message)
    assert errors == b""
    line = output.decode("ascii")
    assert line.isprintable()
    assert len(line) <= 500
    assert process.returncode in (0, 69, 75)
    category = {0: "2", 69: "5", 75: "4"}[process.returncode]
    # pipe(8) believes the line rather than the status.
    assert line[0] == category
    return Ended(process.returncode, line)


async def run(
    socket_address: str,
    *recipients: str,
    sender: str = "s@example.org",
    options: tuple[str, ...] = (),
    message: bytes = MESSAGE,
) -> Ended:
    process = await start(
        "--socket", socket_address, "--queue-id", "4bX9", "--sender", sender, *options,
        "--", *(recipients or (USER1,)),
    )  # fmt: skip
    return await end(process, message)

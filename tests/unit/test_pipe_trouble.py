"""waypost-pipe when something is wrong: with the daemon, the command line, or Postfix itself."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.unit.pipe_runs import MESSAGE, PIPE, USER1, Ended, end, run, start
from waypost import pipe
from waypost.testing.waiting import LONG

USUAL: dict[str, bytes | None] = {
    "connection": b"220 hello\r\n",
    "LHLO": b"250-hello\r\n250-PIPELINING\r\n250-8bitmime\r\n250 XFORWARD NAME IDENT\r\n",
    "XFORWARD": b"250 ok\r\n",
    "MAIL": b"250 ok\r\n",
    "RCPT": b"250 ok\r\n",
    "DATA": b"354 go on\r\n",
    "dot": b"250 2.0.0 sent\r\n",
    "QUIT": b"221 bye\r\n",
}


class FakeDaemon:
    """Answers as its script says; an empty answer closes the connection, None never comes."""

    def __init__(self) -> None:
        self.script = USUAL.copy()
        self.received = b""
        self.content_begun = asyncio.Event()
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stage = "connection"
        while (answer := self.script[stage]) != b"":
            if answer is None:
                await reader.read()
                break
            writer.write(answer)
            line = await reader.readline()
            while stage == "DATA" and line not in (b"", b".\r\n"):
                self.content_begun.set()
                self.received += line
                line = await reader.readline()
            self.received += line
            if not line:
                break
            stage = "dot" if stage == "DATA" else line.split()[0].decode().upper()
        writer.close()
        self.closed.set()


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeDaemon]:
    daemon = FakeDaemon()
    async with await asyncio.start_unix_server(daemon.serve, tmp_path / "fake.sock", limit=1 << 20):
        yield daemon


@pytest.fixture
def fake_address(tmp_path: Path) -> str:
    return f"unix:{tmp_path / 'fake.sock'}"


STAGES = ["connection", "LHLO", "XFORWARD", "MAIL", "RCPT", "DATA", "dot"]
DECIDING = ("RCPT", "dot")


@pytest.mark.parametrize("stage", STAGES)
class TestDaemonsOfAllKinds:
    """What is wrong with the daemon defers; only RCPT and the final dot can bounce."""

    async def test_5xx(self, fake: FakeDaemon, fake_address: str, stage: str) -> None:
        fake.script[stage] = b"550 5.1.1 no\r\n"
        ended = await run(fake_address)
        assert ended.status == (69 if stage in DECIDING else 75)
        assert "no" in ended.line

    async def test_4xx(self, fake: FakeDaemon, fake_address: str, stage: str) -> None:
        fake.script[stage] = b"421 4.3.2 going down\r\n"
        ended = await run(fake_address)
        assert ended.status == 75
        assert "going down" in ended.line

    @pytest.mark.parametrize("code", [b"150", b"221", b"355", b"699", b"999"])
    async def test_a_code_of_no_use(
        self, fake: FakeDaemon, fake_address: str, stage: str, code: bytes
    ) -> None:
        fake.script[stage] = code + b" 2.0.0 what\r\n"
        ended = await run(fake_address)
        assert ended.status == 75
        assert f"answered {code.decode()} 2.0.0 what to" in ended.line

    @pytest.mark.parametrize(
        "gibberish",
        [b"\r\n", b"\xff\xfe\xfd\r\n", b"25\r\n", b"250~ok\r\n", b"HTTP/1.1 400 Bad\r\n"],
    )
    async def test_gibberish(
        self, fake: FakeDaemon, fake_address: str, stage: str, gibberish: bytes
    ) -> None:
        fake.script[stage] = gibberish
        ended = await run(fake_address)
        assert ended == Ended(75, f"4.3.0 what answers at {fake_address} speaks no LMTP")

    async def test_hangs_up(self, fake: FakeDaemon, fake_address: str, stage: str) -> None:
        fake.script[stage] = b""
        ended = await run(fake_address)
        assert ended.status == 75
        assert fake_address in ended.line


@pytest.mark.parametrize("stage", ["connection", "dot"])
async def test_a_daemon_that_hangs(fake: FakeDaemon, fake_address: str, stage: str) -> None:
    fake.script[stage] = None
    ended = await run(fake_address, options=("--time-limit", "1"))
    assert ended == Ended(75, f"4.3.0 no answer from {fake_address} within 1 s")


async def test_no_line_end_for_ever(fake: FakeDaemon, fake_address: str) -> None:
    fake.script["connection"] = b"220 " + b"x" * 1_000_000
    assert (await run(fake_address)).status == 75


async def test_no_end_of_a_reply_for_ever(fake: FakeDaemon, fake_address: str) -> None:
    fake.script["LHLO"] = b"250-and\r\n" * 100_000
    ended = await run(fake_address)
    assert ended == Ended(75, f"4.3.0 what answers at {fake_address} speaks no LMTP")


async def test_what_is_not_offered_is_not_used(fake: FakeDaemon, fake_address: str) -> None:
    fake.script["LHLO"] = b"250-hello\r\n250-XFORWARD NAME\r\n250 PIPELINING\r\n"
    await run(fake_address, sender="jürgen@example.org")
    assert b"XFORWARD" not in fake.received
    assert "MAIL FROM:<jürgen@example.org>\r\n".encode() in fake.received


async def test_a_status_that_contradicts_the_code(fake: FakeDaemon, fake_address: str) -> None:
    fake.script["dot"] = b"451 5.1.1 odd\r\n"
    assert await run(fake_address) == Ended(75, "4.0.0 5.1.1 odd")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["--"],
        ["--", USER1],
        ["--socket"],
        ["--socket", "unix:/nowhere", "--queue-id", "4bX9", "--", USER1],
        ["--socket", "unix:/nowhere", "--queue-id", "4bX9", "--sender", "", "--"],
        ["--socket", "unix:/nowhere", "--queue-id", "4bX9", "--sender", "", USER1],
        ["--socket", "unix:/nowhere", "--queue-id", "4bX9", "--sender", "", "--time-limit", "x",
         "--", USER1],
    ],
)  # fmt: skip
async def test_usage(arguments: list[str]) -> None:
    ended = await end(await start(*arguments), MESSAGE)
    assert ended.status == 75
    assert "usage: --socket" in ended.line


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("unix:/nowhere/lmtp.sock", "cannot reach the daemon at unix:/nowhere/lmtp.sock: No such"),
        ("unix:", '--socket: "unix:" is neither unix:PATH nor inet:HOST:PORT'),
        ("inet:127.0.0.1", '--socket: "inet:127.0.0.1" is neither'),
        ("/var/run/lmtp.sock", '--socket: "/var/run/lmtp.sock" is neither'),
        ("inet:[::1:9", "4.3.0 "),
        ("inet:127.0.0.1:x", "4.3.0 "),
        ("unix:" + "x" * 300, "4.3.0 "),
    ],
)
async def test_no_daemon(address: str, told: str) -> None:
    ended = await run(address)
    assert ended.status == 75
    assert told in ended.line


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_refused(host: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        ended = await run(f"inet:{host}:{port}")
    assert ended.status == 75
    assert "is `waypost serve` running?" in ended.line


@pytest.mark.parametrize("address", ["a\r\nRSET@mydomain.net", "a\n@mydomain.net", "\x7f@x"])
async def test_control_characters(fake: FakeDaemon, fake_address: str, address: str) -> None:
    for ended in (await run(fake_address, address), await run(fake_address, sender=address)):
        assert ended.status == 75
        assert "an address has no control characters" in ended.line
    assert not fake.received


async def test_no_message(fake: FakeDaemon, fake_address: str) -> None:
    ended = await run(fake_address, message=b"")
    assert ended == Ended(75, "4.3.0 no message on standard input")
    assert not fake.received


async def test_standard_input_is_closed(fake_address: str) -> None:
    script = f'exec "$0" -I -S "$1" --socket {fake_address} --queue-id a --sender "" -- a@b <&-'
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", script, sys.executable, PIPE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert (await end(process, None)).status == 75


async def test_standard_output_is_closed() -> None:
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", 'exec "$0" -I -S "$1" >&-', sys.executable, PIPE,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await process.communicate()
    assert errors == b""
    assert process.returncode == 75


async def test_a_full_backlog_is_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "busy.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        waiting = list(fill(path))
        ended = await run(f"unix:{path}", options=("--time-limit", "1"))
        for each in waiting:
            each.close()
    assert ended.status == 75
    assert "no answer within 1 s" in ended.line


def fill(path: str) -> Iterator[socket.socket]:
    """Connections until the backlog is full."""
    while True:
        waiting = socket.socket(socket.AF_UNIX)
        waiting.setblocking(False)
        try:
            waiting.connect(path)
        except BlockingIOError:
            waiting.close()
            return
        yield waiting


async def test_a_message_that_was_cut_off_is_not_handed_over(
    fake: FakeDaemon, fake_address: str
) -> None:
    """`postfix stop` kills pipe(8) in the middle of a large message: the end of file is no end."""
    parent = f"""
        import subprocess, sys
        command = [sys.executable, "-I", "-S", {PIPE!r}, "--socket", {fake_address!r},
                   "--queue-id", "4bX9", "--sender", "", "--", {USER1!r}]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        child.stdin.write(b"Subject: hello\\n\\n" + b"half of it\\n" * 20_000)
        child.stdin.flush()
        child.wait()
    """
    postfix = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(parent), stdout=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(LONG):
        await fake.content_begun.wait()
        postfix.send_signal(signal.SIGTERM)
        await postfix.wait()
        await fake.closed.wait()
    assert b"\r\n.\r\n" not in fake.received


def test_a_parent_is_dying_as_soon_as_it_is_exiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zombie is still the parent, and so is a process that has only closed its files so far."""
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as parent:
        monkeypatch.setattr("posix.getppid", lambda: parent.pid)
        assert not pipe.is_dying(parent.pid)
        parent.kill()
        os.waitid(os.P_PID, parent.pid, os.WEXITED | os.WNOWAIT)
        assert pipe.is_dying(parent.pid)
        assert pipe.is_dying(os.getpid())


async def test_imports_nothing_that_is_slow() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-X", "importtime", PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, told = await process.communicate()
    loaded = {line.rpartition("|")[2].strip() for line in told.decode().splitlines()}
    assert "_socket" in loaded
    assert not loaded & {"socket", "os", "re", "enum", "signal", "collections", "typing"}

"""How LMTP is written: any octets, cut anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.lmtp.wire import MAX_COMMAND_OCTETS, Command, Gone, Input, NotSyntax, written
from waypost.pipe import on_the_wire
from waypost.reply import EnhancedStatus, Reply

# What line ends, dots and their surroundings are made of.
PIECES = [b"\r", b"\n", b"\r\n", b".", b"..", b"a", b"\0", b"\xff", b"\n.\n", b"\r.\r", b"\n.\r\n"]
pieces = st.lists(st.sampled_from(PIECES), max_size=12)
replies = st.builds(
    Reply,
    st.integers(200, 599),
    st.none() | st.just(EnhancedStatus(4, 7, 650)),
    st.text(max_size=1500),
)


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    """`octets` in pieces."""
    places = sorted(place % (len(octets) + 1) for place in places)
    return [octets[a:b] for a, b in zip([0, *places], [*places, len(octets)], strict=True)]


class Segments(asyncio.StreamReader):
    """What arrives is read segment by segment."""

    def __init__(self, segments: list[bytes]) -> None:
        self._segments = iter([segment for segment in segments if segment])

    async def read(self, n: int = -1) -> bytes:  # noqa: ARG002
        return next(self._segments, b"")


def input_of(segments: list[bytes]) -> Input:
    return Input(Segments(segments), seconds=60)


@given(pieces, st.lists(st.integers(0, 100)), st.lists(st.integers(0, 100)))
def test_a_message_comes_through_both_doors_line_by_line(
    message: list[bytes], blocks: list[int], segments: list[int]
) -> None:
    lines = b"".join(message)
    stuffed = b"".join(on_the_wire(filter(None, cut(lines, blocks))))

    async def receive() -> tuple[bytes | None, bytes | None]:
        received = input_of(cut(stuffed + b"NEXT\r\n", segments))
        content = await received.content(lambda _: True)
        assert content.length == len(stuffed) - len(b".\r\n")
        return content.octets, await received.line()

    content, following = asyncio.run(receive())
    complete = lines if lines.endswith(b"\n") or not lines else lines + b"\n"
    assert content == complete.replace(b"\n", b"\r\n")
    assert following == b"NEXT"


@given(pieces, st.lists(st.integers(0, 100)))
def test_only_crlf_dot_crlf_ends_a_content(octets: list[bytes], segments: list[int]) -> None:
    sent = b"".join(octets)
    if b"\r\n.\r\n" in b"\r\n" + sent:
        return

    async def receive() -> None:
        await input_of(cut(sent, segments)).content(lambda _: True)

    with pytest.raises(Gone):
        asyncio.run(receive())


@pytest.mark.parametrize("excess", [0, 1, 2, MAX_COMMAND_OCTETS, 10 * MAX_COMMAND_OCTETS])
@pytest.mark.parametrize("step", [1000, 4095, 4096, 1 << 20])
async def test_a_line_that_is_too_long_is_skipped_whole(excess: int, step: int) -> None:
    long = b"NOOP " + b"x" * (MAX_COMMAND_OCTETS - 7 + excess) + b"\r\n"
    sent = b"NOOP\r\n" + long + b"QUIT\r\n"
    received = input_of([sent[i : i + step] for i in range(0, len(sent), step)])
    assert await received.line() == b"NOOP"
    assert await received.line() == (None if excess else long[:-2])
    assert await received.line() == b"QUIT"


async def test_a_line_that_is_too_long_may_be_cut_between_cr_and_lf() -> None:
    received = input_of([b"x" * MAX_COMMAND_OCTETS + b"\r", b"\nQUIT\r\n"])
    assert await received.line() is None
    assert await received.line() == b"QUIT"


@given(st.binary(max_size=200) | st.from_regex(rb"(?s)(MAIL FROM:|RCPT TO:|XFORWARD ).*"))
def test_any_line_is_a_command_or_none(line: bytes) -> None:
    command = Command.read(line)
    for read in (lambda: command.path("FROM"), lambda: command.path("TO"), command.attributes):
        with contextlib.suppress(NotSyntax):
            read()


@given(replies)
def test_a_reply_never_breaks_out_of_its_lines(reply: Reply) -> None:
    octets = written(reply)
    lines = octets.split(b"\r\n")
    assert lines.pop() == b""
    assert len(lines) == reply.text.count("\n") + 1
    status = "" if reply.status is None else "4\\.7\\.650 "
    for line in lines:
        mark = " " if line is lines[-1] else "-"
        assert re.fullmatch(f"{reply.code}{mark}{status}[ -~]*", line.decode("ascii"))
        assert len(line) + 2 <= 512


def test_a_long_reply_is_cut() -> None:
    octets = written(Reply.own("451 4.3.0 " + "x" * 600))
    assert octets == b"451 4.3.0 " + b"x" * 500 + b"\r\n"


def test_a_short_reply_is_written_as_it_is() -> None:
    reply = Reply.own("451 4.7.650 rate limited; 1 of 2")
    assert written(reply) == b"451 4.7.650 rate limited; 1 of 2\r\n"

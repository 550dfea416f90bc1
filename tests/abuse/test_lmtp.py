"""Bad clients of the transport's socket; a good one beside them notices nothing."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from tests.abuse.clients import (
    ENVELOPE,
    Good,
    assert_says,
    connect,
    flood,
    greeted,
    growing_at_most,
    lines,
)
from tests.abuse.world import World
from waypost.lmtp.room import LARGEST
from waypost.lmtp.session import MAX_RECIPIENTS
from waypost.testing.daemon import Waypost
from waypost.testing.misbehaviours import Hang

MIB = 1 << 20
TO_OTHER = ENVELOPE.replace(b"<me@", b"<other@")


def test_a_command_line_without_an_end(waypost: Waypost, good: Good, transport: str) -> None:
    with greeted(transport) as bad, growing_at_most(waypost, 20 * MIB):
        for _ in range(100):
            bad.sendall(b"x" * MIB)
        good.both()
        bad.sendall(b"\r\nNOOP\r\n")
        assert_says(bad, b"500 5.5.2 line too long")
        assert_says(bad, b"250 2.0.0 ok")


def test_a_message_without_an_end(waypost: Waypost, good: Good, transport: str) -> None:
    with greeted(transport) as bad, growing_at_most(waypost, 2 * LARGEST):
        bad.sendall(TO_OTHER + b"DATA\r\n")
        assert_says(bad, b"354 ")
        line = b"x" * (MIB - 2) + b"\r\n"
        for sent in range(4 * LARGEST // MIB):
            bad.sendall(line)
            if sent % 100 == 0:
                good.both()
        good.both()
        bad.sendall(b".\r\n")
        assert_says(bad, b"552 5.3.4 this message is too large")
        bad.sendall(ENVELOPE)
        assert_says(bad, b"250 2.1.5")


def test_ten_thousand_recipients(waypost: Waypost, good: Good, transport: str) -> None:
    with greeted(transport) as bad, growing_at_most(waypost, 20 * MIB):
        bad.sendall(b"MAIL FROM:<s@example.org>\r\n")
        assert_says(bad, b"250 2.1.0")
        answers: list[bytes] = []
        replies = lines(bad)
        for start in range(0, 10_000, 500):
            chunk = range(start, start + 500)
            bad.sendall(b"".join(b"RCPT TO:<many+%d@mydomain.net>\r\n" % each for each in chunk))
            answers += [next(replies) for _ in chunk]
        assert set(answers[:MAX_RECIPIENTS]) == {b"250 2.1.5 recipient ok"}
        assert set(answers[MAX_RECIPIENTS:]) == {b"452 4.5.3 too many recipients"}
        good.both()


def test_one_that_never_reads(waypost: Waypost, good: Good, transport: str) -> None:
    with greeted(transport) as bad, growing_at_most(waypost, 20 * MIB):
        assert flood(bad, b"HELP\r\n" * 1000, 100 * MIB) < 10 * MIB
        good.both()


def test_one_that_sends_ahead_of_a_hung_delivery(
    waypost: Waypost, good: Good, transport: str, world: World
) -> None:
    hang = Hang()
    world.outlook.at("dot", hang, times=1)
    with greeted(transport) as bad, growing_at_most(waypost, 20 * MIB):
        bad.sendall(TO_OTHER + b"DATA\r\nSubject: hung\r\n\r\n.\r\n")
        hang.wait_until_reached()
        assert flood(bad, b"NOOP\r\n" * 1000, 100 * MIB) < 10 * MIB
        good.both()
        hang.release()
        assert_says(bad, b"250 2.0.0 1 of 1 legs sent")


def test_garbage(good: Good, transport: str) -> None:
    with connect(transport) as bad:
        bad.sendall(b"\0\0\0\rO\0\0\0\6\xff\xff\r\n")
        bad.sendall(b"LHLO \xff\r\nLHLO c\r\nMAIL FROM:<\xff@example.org>\r\nMAIL FROM:<a\0b>\r\n")
        bad.sendall(ENVELOPE + b"RCPT TO:<m\xffe@mydomain.net>\r\n" + b"\r\n" * 3 + b"QUIT\r\n")
        replies = [line for line in lines(bad) if line[3:4] == b" "]
    assert [line[:3] for line in replies] == [
        b"220", b"500", b"250", b"250", b"501", b"500",
        b"250", b"250", b"550", b"500", b"500", b"500", b"221",
    ]  # fmt: skip
    good.both()


def test_slow_ones_and_half_open_ones(good: Good, transport: str) -> None:
    whole = b"LHLO c\r\n" + TO_OTHER + b"DATA\r\nSubject: slow\r\n\r\n."
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(transport)) for _ in range(50)]
        for position in range(len(whole)):
            for each in slow:
                each.sendall(whole[position : position + 1])
            if position % 20 == 0:
                good.delivers()
        for each in slow[:25]:  # they can still hear
            each.shutdown(socket.SHUT_WR)
            assert [line[:3] for line in lines(each) if line[3:4] == b" "] == [
                b"220", b"250", b"250", b"250", b"354",
            ]  # fmt: skip
        good.both()

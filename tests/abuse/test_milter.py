"""Bad clients of the milter's socket; a good one beside them notices nothing."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.abuse.clients import (
    OFFER,
    Good,
    connect,
    end,
    flood,
    growing_at_most,
    negotiated,
    packet,
    rcpt,
    receive,
)
from waypost.milter.codec import MAX_PACKET
from waypost.testing.daemon import Waypost

MAIL = packet(b"M<s@example.org>\0")
MIB = 1 << 20


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\0\0\0\0", id="empty packet"),
        pytest.param(b"\xff\xff\xff\xff" + OFFER, id="four gigabytes"),
        pytest.param((MAX_PACKET + 1).to_bytes(4) + b"x" * 1000, id="an octet too long"),
        pytest.param(b"EHLO client.example\r\n", id="another protocol"),
        pytest.param(packet(b"O" + bytes.fromhex("00000002000001ff001fffff")), id="version 2"),
        pytest.param(packet(b"O" + bytes.fromhex("0000000600000000001fffff")), id="no actions"),
        pytest.param(packet(OFFER + b"more"), id="a long offer"),
        pytest.param(MAIL, id="no offer"),
        pytest.param(packet(OFFER) + packet(OFFER), id="two offers"),
        pytest.param(packet(OFFER) + packet(b"\0"), id="no command"),
        pytest.param(packet(OFFER) + MAIL + packet(b"R<me@mydomain.net>"), id="no NUL"),
        pytest.param(packet(OFFER) + packet(b"DEi\0"), id="half a macro"),
        pytest.param(packet(OFFER) + MAIL + packet(b"B" + b"x" * 65535), id="a body"),
    ],
)
def test_bad_packets_end_their_connection(
    waypost: Waypost, good: Good, milter: str, octets: bytes
) -> None:
    before = len(waypost.events("milter_bad_packet"))
    with connect(milter) as bad:
        bad.sendall(octets)
        answers = []
        while answer := receive(bad):
            answers.append(answer[:1])
        assert answers in ([], [b"O"])
    good.both()
    assert len(waypost.events("milter_bad_packet")) == before + 1


def test_five_hundred_idle_connections(good: Good, milter: str, transport: str) -> None:
    with ExitStack() as stack:
        for number in range(500):
            stack.enter_context(negotiated(milter) if number % 2 else connect(milter))
            stack.enter_context(connect(transport))
        good.both()


def test_slow_ones(good: Good, milter: str) -> None:
    whole = packet(OFFER) + MAIL + rcpt("me@mydomain.net") + end()
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(milter)) for _ in range(50)]
        for position in range(len(whole) - 1):
            for each in slow:
                each.sendall(whole[position : position + 1])
            if position % 20 == 0:
                good.asks(good.session)
        good.both()
        for each in slow:  # slow, but right in all they say
            each.sendall(whole[-1:])
            assert receive(each).startswith(b"O")
            assert receive(each) == b"c"
            assert receive(each).startswith(b"2<")


def test_one_that_never_reads(waypost: Waypost, good: Good, milter: str) -> None:
    with negotiated(milter) as bad, growing_at_most(waypost, 20 * MIB):
        # Refused recipients: each octet that is taken makes two of an answer.
        sent = flood(bad, MAIL + rcpt("x@mydomain.net") * 1000, 100 * MIB)
        assert sent < 10 * MIB
        good.both()


def test_one_that_asks_without_a_pause(good: Good, milter: str) -> None:
    with negotiated(milter) as bad:
        for _ in range(20):
            bad.sendall(MAIL + rcpt("x@mydomain.net") * 200)
            good.asks(good.session)
            for _ in range(200):
                assert receive(bad).startswith(b"y550")


def test_ten_thousand_recipients(waypost: Waypost, good: Good, milter: str) -> None:
    with negotiated(milter) as bad, growing_at_most(waypost, 50 * MIB):
        bad.sendall(MAIL)
        answers = []
        for start in range(0, 10_000, 100):
            chunk = range(start, start + 100)
            bad.sendall(b"".join(rcpt(f"many+{number}@mydomain.net") for number in chunk))
            answers += [receive(bad) for _ in chunk]
        taken = answers.index(b"y452 4.5.3 too many recipients\0")
        assert taken > 5_000
        assert set(answers[:taken]) == {b"c"}
        assert set(answers[taken:]) == {b"y452 4.5.3 too many recipients\0"}
        good.both()
        bad.sendall(end())
        changes = [receive(bad)[:1] for _ in range(2 * taken)]
        assert changes == [b"2"] * taken + [b"-"] * taken
        assert receive(bad) == b"c"
        # That was for this message alone.
        good.asks(bad)


def test_messages_without_an_end(waypost: Waypost, good: Good, milter: str) -> None:
    orcpt = b"ORCPT=rfc822;" + b"x" * 10_000
    with negotiated(milter) as bad, growing_at_most(waypost, 40 * MIB):
        for _ in range(50):
            bad.sendall(MAIL)
            for number in range(200):  # 2 MB for a message, 100 MB in all
                bad.sendall(rcpt(f"many+{number}@mydomain.net", orcpt))
                assert receive(bad) == b"c"
        good.both()


def test_a_message_of_huge_parameters(good: Good, milter: str) -> None:
    orcpt = b"ORCPT=rfc822;" + b"x" * 100_000
    with negotiated(milter) as bad:
        bad.sendall(MAIL)
        answers = []
        for number in range(100):
            bad.sendall(rcpt(f"many+{number}@mydomain.net", orcpt))
            answers.append(receive(bad))
        assert 20 < answers.index(b"y452 4.5.3 too many recipients\0") < 100
    good.both()


def test_huge_macros(waypost: Waypost, good: Good, milter: str) -> None:
    value = b"\xff" * 100_000
    with negotiated(milter) as bad, growing_at_most(waypost, 20 * MIB):
        for _ in range(1000):
            bad.sendall(MAIL + packet(b"DRi\0" + value + b"\0") + packet(b"A"))
        bad.sendall(MAIL + rcpt("me@mydomain.net") + end(value))
        assert [receive(bad)[:1] for _ in range(4)] == [b"c", b"2", b"-", b"c"]
        good.both()
    [event] = [event for event in waypost.events("milter_rewritten") if event["queue_id"] != "4bX9"]
    assert len(str(event["queue_id"])) < 3000


def test_octets_that_are_no_text(good: Good, milter: str) -> None:
    with negotiated(milter) as bad:
        bad.sendall(MAIL + packet(b"DRi\0\xff\xfe\0{rcpt_addr}\0\xc3\x28\0"))
        bad.sendall(
            rcpt(b"m\xffe@mydomain.net") + rcpt(b"\xff@\xff\xfe") + rcpt(b"me\r\n@mydomain.net")
        )
        assert receive(bad) == b"y550 5.1.3 this address is not written as an address must be\0"
        assert receive(bad) == b"c"
        assert receive(bad).startswith(b"y550")
        good.asks(bad)
    good.both()

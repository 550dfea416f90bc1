"""waypost-pipe and the daemon's own server: what it is told, and what it tells."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dialogues.lmtp_delivery import HOSTNAME, FakeDelivery, Given, serving
from tests.unit.pipe_runs import MESSAGE, USER1, USER2, Ended, end, run, start
from waypost.lmtp import LmtpServer
from waypost.reply import Reply
from waypost.testing.waiting import LONG


class TestWithTheServer:
    """Both doors end here: waypost-pipe and the daemon's own server."""

    @pytest.fixture
    def delivery(self) -> FakeDelivery:
        return FakeDelivery()

    @pytest.fixture
    async def daemon(self, delivery: FakeDelivery, tmp_path: Path) -> AsyncIterator[str]:
        path = tmp_path / "lmtp.sock"
        async with serving(LmtpServer(delivery, hostname=HOSTNAME), path):
            yield f"unix:{path}"

    async def test_accepted(self, daemon: str, delivery: FakeDelivery) -> None:
        assert await run(daemon) == Ended(0, "2.0.0 1 of 1 legs sent")
        given = await delivery.given()
        assert given.recipient == USER1
        assert given.content == MESSAGE.replace(b"\n", b"\r\n")
        assert given.envelope.sender == "s@example.org"
        assert given.envelope.queue_id == "4bX9"
        assert not given.envelope.smtputf8

    async def test_deferred(self, daemon: str, delivery: FakeDelivery) -> None:
        delivery.answers[USER1] = Reply.own("451 4.7.650 0 of 2 legs sent; leg 1: 451 throttled")
        told = "4.7.650 0 of 2 legs sent; leg 1: 451 throttled"
        assert await run(daemon) == Ended(75, told)

    async def test_bounced(self, daemon: str, delivery: FakeDelivery) -> None:
        delivery.answers[USER1] = Reply.own("554 5.2.2 0 of 1 legs sent")
        assert await run(daemon) == Ended(69, "5.2.2 0 of 1 legs sent")

    async def test_refused_at_rcpt(self, daemon: str, delivery: FakeDelivery) -> None:
        delivery.refusals[USER1] = Reply.own("550 5.1.1 no such address here")
        assert await run(daemon) == Ended(69, "5.1.1 no such address here")
        assert delivery.nothing_given

    async def test_deferred_at_rcpt(self, daemon: str, delivery: FakeDelivery) -> None:
        delivery.refusals[USER1] = Reply.own("451 4.3.0 trouble here")
        assert await run(daemon) == Ended(75, "4.3.0 trouble here")

    async def test_a_reply_of_many_lines(self, daemon: str, delivery: FakeDelivery) -> None:
        delivery.answers[USER1] = Reply.own("554 5.2.2 one\ntwo")
        assert await run(daemon) == Ended(69, "5.2.2 one two")

    async def test_a_long_reply_is_cut(self, daemon: str, delivery: FakeDelivery) -> None:
        delivery.answers[USER1] = Reply.own("451 4.3.0 " + "\n".join(["x" * 500] * 9))
        assert (await run(daemon)).status == 75

    @pytest.mark.parametrize("sender", ["", "MAILER-DAEMON"])
    async def test_null_sender(self, daemon: str, delivery: FakeDelivery, sender: str) -> None:
        await run(daemon, sender=sender)
        assert (await delivery.given()).envelope.sender == ""

    async def test_a_sender_that_contains_its_name(
        self, daemon: str, delivery: FakeDelivery
    ) -> None:
        await run(daemon, sender="MAILER-DAEMON@example.org")
        assert (await delivery.given()).envelope.sender == "MAILER-DAEMON@example.org"

    async def test_quoted_addresses(self, daemon: str, delivery: FakeDelivery) -> None:
        odd = '"a>b \\" c"@mydomain.net'
        await run(daemon, odd, sender=odd)
        given = await delivery.given()
        assert given.recipient == odd
        assert given.envelope.sender == odd

    @pytest.mark.parametrize(
        ("sender", "recipient", "message"),
        [
            ("jürgen@example.org", USER1, MESSAGE),
            ("", "jürgen@mydomain.net", MESSAGE),
            ("", USER1, "Subject: Grüße\n\nbody\n".encode()),
        ],
    )
    async def test_smtputf8(
        self, daemon: str, delivery: FakeDelivery, sender: str, recipient: str, message: bytes
    ) -> None:
        await run(daemon, recipient, sender=sender, message=message)
        given = await delivery.given()
        assert (given.envelope.sender, given.recipient) == (sender, recipient)
        assert given.envelope.smtputf8

    async def test_a_body_beyond_ascii_needs_no_smtputf8(
        self, daemon: str, delivery: FakeDelivery
    ) -> None:
        await run(daemon, message="Subject: hello\n\nGrüße\n".encode())
        assert not (await delivery.given()).envelope.smtputf8

    async def test_an_address_that_is_not_utf8(self, daemon: str, delivery: FakeDelivery) -> None:
        await run(daemon, os.fsdecode(b"j\xfcrgen@mydomain.net"))
        assert (await delivery.given()).recipient == "j\udcfcrgen@mydomain.net"

    async def test_an_odd_queue_id(self, daemon: str) -> None:
        process = await start(
            "--socket", daemon, "--queue-id", "a b", "--sender", "", "--", USER1
        )  # fmt: skip
        ended = await end(process, MESSAGE)
        assert ended.status == 75
        assert "answered 501 5.5.4 bad argument to XFORWARD" in ended.line

    @pytest.mark.parametrize(
        ("first", "second", "expected"),
        [
            ("250 2.0.0 a", "250 2.0.0 b", Ended(0, "2.0.0 a")),
            ("250 2.0.0 a", "554 5.0.0 b", Ended(69, "5.0.0 b")),
            ("451 4.0.0 a", "554 5.0.0 b", Ended(75, "4.0.0 a")),
            ("554 5.0.0 a", "451 4.0.0 b", Ended(75, "4.0.0 b")),
        ],
    )
    async def test_one_status_for_two_recipients(
        self, daemon: str, delivery: FakeDelivery, first: str, second: str, expected: Ended
    ) -> None:
        delivery.answers |= {USER1: Reply.own(first), USER2: Reply.own(second)}
        assert await run(daemon, USER1, USER2) == expected

    async def test_refused_one_and_accepted_another(
        self, daemon: str, delivery: FakeDelivery
    ) -> None:
        delivery.refusals[USER1] = Reply.own("451 4.3.0 a")
        assert await run(daemon, USER1, USER2) == Ended(75, "4.3.0 a")
        assert (await delivery.given()).recipient == USER2

    async def test_twenty_megabytes(self, daemon: str, delivery: FakeDelivery) -> None:
        line = b".dots, octets \xff\0\r and a line end\n"
        message = MESSAGE + line * (20_000_000 // len(line)) + b"\n.\n.."
        assert (await run(daemon, message=message)).status == 0
        assert (await delivery.given()).content == message.replace(b"\n", b"\r\n") + b"\r\n"

    async def test_over_tcp(self, delivery: FakeDelivery) -> None:
        server = LmtpServer(delivery, hostname=HOSTNAME)
        listener = await asyncio.get_running_loop().create_server(server.protocol, "127.0.0.1", 0)
        async with listener:
            port = listener.sockets[0].getsockname()[1]
            assert (await run(f"inet:127.0.0.1:{port}")).status == 0
            await server.drain(LONG)


PIECES = [b"\r", b"\n", b"\r\n", b".", b"a", b"\0", b"\xff", b"\n.\n", b"x" * 65534, b"\n.\r\n"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=12))
def test_any_lines_arrive_as_the_same_lines(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    message = b"".join(pieces)

    async def hand_over() -> Given:
        delivery = FakeDelivery()
        path = tmp_path_factory.mktemp("pipe") / "lmtp.sock"
        async with serving(LmtpServer(delivery, hostname=HOSTNAME), path):
            assert (await run(f"unix:{path}", message=message)).status == 0
            return await delivery.given()

    content = asyncio.run(hand_over()).content
    assert content == (message + b"\n" * (not message.endswith(b"\n"))).replace(b"\n", b"\r\n")

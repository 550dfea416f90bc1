"""How long each stage may take, and what happens in the middle of a long message."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace

import pytest
import uvloop
from aiosmtplib.protocol import SMTPProtocol

from waypost.address import Address
from waypost.connections import Connections
from waypost.next_hop import HostFinder
from waypost.outcome import Bounced, Deferred, Outcome, Sent, Stage
from waypost.reply import ReplyClass
from waypost.route import NextHop
from waypost.smtp_client import Mail
from waypost.smtp_client.limits import BLOCK_OCTETS, SECONDS
from waypost.testing.conversation import Conversation, HangUp
from waypost.testing.misbehaviours import Hang
from waypost.testing.next_hop import FakeNextHop

MAIL = Mail(
    "sender@sender.example", Address.parse("user1@gmail.com"), b"Subject: hello\r\n\r\n",
    smtputf8=False, eight_bit=False,
)  # fmt: skip
LONG = replace(MAIL, content=MAIL.content + b"0123456789abcdef" * 1024 * 1024 + b"\r\n")
"""Longer than what the system keeps of it while nobody reads."""
EVEN = replace(MAIL, content=b"x" * (BLOCK_OCTETS - 5) + b"\r\n")
"""With its final dot it fills a block to the last octet."""

Run = Callable[[Coroutine[object, object, Outcome]], Outcome]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


@pytest.fixture
def hop() -> Iterator[FakeNextHop]:
    with FakeNextHop("gmail.com") as hop:
        yield hop


async def attempt(hop: FakeNextHop, *mails: Mail) -> Outcome:
    """Send one mail after the other; the last one's outcome."""
    connections = Connections(HostFinder(), helo="mx.mydomain.net")
    try:
        for mail in mails[:-1]:
            await connections.attempt(NextHop("127.0.0.1", hop.port), mail, until=_soon())
        return await connections.attempt(NextHop("127.0.0.1", hop.port), mails[-1], until=_soon())
    finally:
        await connections.close()


def transport(conversation: Conversation) -> asyncio.Transport:
    """What can be told to read no further."""
    found = conversation.writer.transport
    assert isinstance(found, asyncio.Transport)
    return found


def _soon() -> float:
    return asyncio.get_running_loop().time() + 60


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail", "rcpt", "data", "dot"])
def test_each_stage_has_its_time(
    run: Run, hop: FakeNextHop, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setitem(SECONDS, Stage(stage), 0.05)
    hang = Hang()
    hop.at(stage, hang)
    outcome = run(attempt(hop, MAIL))
    hang.release()
    assert isinstance(outcome, Deferred)
    assert (outcome.stage, outcome.reply_class) == (stage, ReplyClass.TIMEOUT)
    assert outcome.ambiguous == (stage == "dot")


def test_the_final_dot_may_take_ten_minutes_and_no_stage_is_without_limit() -> None:
    assert SECONDS[Stage.DOT] == 600
    assert set(SECONDS) == set(Stage) - {Stage.DNS}


@pytest.mark.parametrize("mail", [MAIL, LONG, EVEN], ids=["short", "long", "even"])
def test_a_message_of_any_length_arrives(run: Run, hop: FakeNextHop, mail: Mail) -> None:
    assert isinstance(run(attempt(hop, mail, mail)), Sent)
    assert [message.data == mail.content for message in hop.messages] == [True, True]
    assert hop.connections == 1


def test_the_last_block_is_not_waited_for(
    run: Run, hop: FakeNextHop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an answer to the whole message could be taken for one to half of it."""

    async def never(_: SMTPProtocol) -> None:
        raise AssertionError("the whole message is in the first block, which is the last")

    monkeypatch.setattr(SMTPProtocol, "_drain_helper", never)
    assert isinstance(run(attempt(hop, EVEN)), Sent)


def test_a_host_that_reads_no_further_is_given_up(
    run: Run, hop: FakeNextHop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost.smtp_client.connection.BLOCK_SECONDS", 0.05)
    hang = Hang()

    async def stop_reading(conversation: Conversation) -> str | None:
        transport(conversation).pause_reading()
        await conversation.send(b"354 end with a dot\r\n")
        await hang(conversation)
        raise HangUp

    hop.at("data", stop_reading)
    outcome = run(attempt(hop, LONG))
    hang.release()
    assert isinstance(outcome, Deferred)
    assert (outcome.stage, outcome.reply_class) == (Stage.DATA, ReplyClass.TIMEOUT)
    assert not outcome.ambiguous


def test_a_host_that_goes_in_the_middle_has_not_taken_the_message(
    run: Run, hop: FakeNextHop
) -> None:
    async def go(conversation: Conversation) -> str | None:
        transport(conversation).pause_reading()
        await conversation.send(b"354 end with a dot\r\n")
        raise HangUp

    hop.at("data", go)
    outcome = run(attempt(hop, LONG))
    assert isinstance(outcome, Deferred)
    assert (outcome.stage, outcome.ambiguous) == (Stage.DATA, False)


@pytest.mark.parametrize(
    ("early", "expected"), [("552 5.3.4 too big", Bounced), ("250 2.0.0 ok", Deferred)]
)
def test_an_answer_in_the_middle_counts_if_it_refuses(
    run: Run,
    hop: FakeNextHop,
    monkeypatch: pytest.MonkeyPatch,
    early: str,
    expected: type[Outcome],
) -> None:
    heard = threading.Event()
    data_received = SMTPProtocol.data_received

    def listen(protocol: SMTPProtocol, data: bytes) -> None:
        data_received(protocol, data)
        if data.startswith(early.encode()):
            heard.set()

    monkeypatch.setattr(SMTPProtocol, "data_received", listen)

    async def answer_early(conversation: Conversation) -> str | None:
        await conversation.send(b"354 end with a dot\r\n")
        await conversation.reader.readuntil(b"abcdef")
        # The client stands in the middle of the content until it has heard the answer.
        transport(conversation).pause_reading()
        await conversation.send(early.encode() + b"\r\n")
        await asyncio.to_thread(heard.wait, 30)
        transport(conversation).resume_reading()
        await conversation.reader.read()
        raise HangUp

    hop.at("data", answer_early, times=1)
    outcome = run(attempt(hop, LONG))
    assert isinstance(outcome, expected)
    assert not (isinstance(outcome, Deferred) and outcome.ambiguous)
    assert isinstance(run(attempt(hop, MAIL)), Sent)


def test_a_stray_reply_is_never_taken_for_that_to_the_dot(run: Run, hop: FakeNextHop) -> None:
    hop.at("data", "354 end with a dot\r\n250 2.0.0 queued as nothing", times=1)
    hop.at("dot", "451 4.3.0 not now")
    outcome = run(attempt(hop, MAIL))
    assert isinstance(outcome, Deferred)
    assert outcome.stage is Stage.DATA


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail", "rcpt", "data"])
def test_two_replies_at_once_defer(run: Run, hop: FakeNextHop, stage: str) -> None:
    usual = {"greeting": "220 hello", "data": "354 go on"}.get(stage, "250 ok")
    hop.at(stage, f"{usual}\r\n250 ok")
    outcome = run(attempt(hop, MAIL))
    assert isinstance(outcome, Deferred)
    assert (outcome.stage, str(outcome.reply)) == (stage, f"451 4.5.0 no SMTP reply ({stage})")
    assert hop.messages == []


def test_two_replies_to_the_dot_are_one_and_the_end_of_the_connection(
    run: Run, hop: FakeNextHop
) -> None:
    hop.at("dot", "250 2.0.0 queued\r\n250 ok", times=1)
    assert isinstance(run(attempt(hop, MAIL, MAIL)), Sent)
    assert hop.connections == 2
    assert len([command for command in hop.commands if command.startswith("MAIL")]) == 2


def test_what_was_refused_is_told_without_waiting_for_the_reset(run: Run, hop: FakeNextHop) -> None:
    hang = Hang()
    hop.at("rset", hang)
    hop.at("rcpt", "550 5.1.1 unknown")
    assert isinstance(run(attempt(hop, MAIL)), Bounced)
    hang.release()


@pytest.mark.parametrize("answer", ["451 4.3.0 no", "421 4.3.0 no"])
def test_a_reset_that_fails_costs_a_fresh_connection(
    run: Run, hop: FakeNextHop, answer: str
) -> None:
    hop.at("rcpt", "550 5.1.1 unknown", times=1)
    hop.at("rset", answer)
    assert isinstance(run(attempt(hop, MAIL, MAIL)), Sent)
    assert hop.connections == 2

"""Attempts at next hops that answer in every way, and connections that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import pytest

from waypost.address import Address
from waypost.connections import Connections
from waypost.next_hop import HostFinder
from waypost.outcome import Bounced, Deferred, Outcome, Sent, Stage
from waypost.reply import ReplyClass
from waypost.route import NextHop
from waypost.slots import Slots
from waypost.smtp_client import Mail
from waypost.testing.conversation import Conversation, HangUp
from waypost.testing.misbehaviours import Hang, hang_up, take_then_hang_up
from waypost.testing.next_hop import FakeNextHop

CONTENT = b"Subject: hello\r\n\r\n.a dot\r\nand more\r\n"
MAIL = Mail(
    "sender@sender.example", Address.parse("user1@gmail.com"), CONTENT, smtputf8=False,
    eight_bit=False,
)  # fmt: skip


@pytest.fixture
def hop() -> Iterator[FakeNextHop]:
    with FakeNextHop("gmail.com") as hop:
        yield hop


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    connections = Connections(HostFinder(), helo="mx.mydomain.net", slots=Slots(limit=2))
    yield connections
    await connections.close()


Ask = Callable[..., asyncio.Future[Outcome]]


@pytest.fixture
def ask(hop: FakeNextHop, connections: Connections) -> Ask:
    async def attempt(mail: Mail, seconds: float) -> Outcome:
        until = asyncio.get_running_loop().time() + seconds
        next_hop = NextHop("127.0.0.1", hop.port)
        async with connections.slot(next_hop, until=until):
            return await connections.attempt(next_hop, mail, until=until)

    return lambda mail=MAIL, seconds=30.0: asyncio.ensure_future(attempt(mail, seconds))


async def test_an_accepted_message_is_sent_and_arrives_as_it_is(hop: FakeNextHop, ask: Ask) -> None:
    assert isinstance(await ask(), Sent)
    [message] = hop.messages
    assert message.data == CONTENT
    assert message.sender == "sender@sender.example"
    assert message.recipients == ("user1@gmail.com",)
    assert hop.commands[0] == "EHLO mx.mydomain.net"


async def test_the_null_sender_goes_out_as_it_is(hop: FakeNextHop, ask: Ask) -> None:
    await ask(replace(MAIL, sender=""))
    assert hop.messages[0].sender == ""


@pytest.mark.parametrize(
    "local", ["a,b", "a b", 'quo"te', "back\\slash", "bounce=user=x", "a..b", "per%cent", "bang!x"]
)
async def test_recipients_go_out_exactly_as_meant(hop: FakeNextHop, ask: Ask, local: str) -> None:
    to = Address(local, "gmail.com")
    assert isinstance(await ask(replace(MAIL, to=to)), Sent)
    assert [Address.parse(each) for each in hop.messages[0].recipients] == [to]


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize(
    ("code", "kind"), [("451 4.7.1 later", Deferred), ("550 5.7.1 no", Bounced)]
)
async def test_answers_about_the_message(
    hop: FakeNextHop, ask: Ask, stage: str, code: str, kind: type[Outcome]
) -> None:
    hop.at(stage, code)
    outcome = await ask()
    assert isinstance(outcome, kind)
    assert not isinstance(outcome, Sent)
    assert outcome.stage == stage
    assert not hop.messages


@pytest.mark.parametrize("stage", ["greeting", "ehlo"])
@pytest.mark.parametrize("code", ["450 4.3.2 later", "554 5.7.1 not you"])
async def test_answers_before_the_envelope_never_bounce(
    hop: FakeNextHop, ask: Ask, stage: str, code: str
) -> None:
    hop.at(stage, code)
    hop.at("helo", code)
    outcome = await ask()
    assert isinstance(outcome, Deferred)
    assert (outcome.reply_class is ReplyClass.MISCONFIGURED) == code.startswith("5")


async def test_authentication_required_never_bounces(hop: FakeNextHop, ask: Ask) -> None:
    hop.at("mail", "530 5.7.0 authentication required")
    outcome = await ask()
    assert isinstance(outcome, Deferred)
    assert outcome.reply_class is ReplyClass.MISCONFIGURED


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail", "rcpt", "data"])
async def test_a_connection_lost_before_the_dot_defers(
    hop: FakeNextHop, ask: Ask, stage: str
) -> None:
    hop.at(stage, hang_up)
    outcome = await ask()
    assert isinstance(outcome, Deferred)
    assert outcome.stage == stage
    assert not outcome.ambiguous


async def test_a_connection_lost_after_the_dot_is_ambiguous(hop: FakeNextHop, ask: Ask) -> None:
    hop.at("dot", take_then_hang_up)
    outcome = await ask()
    assert isinstance(outcome, Deferred)
    assert outcome.ambiguous


async def test_a_refused_connection_defers(hop: FakeNextHop, ask: Ask) -> None:
    hop.down()
    outcome = await ask()
    assert isinstance(outcome, Deferred)
    assert (outcome.stage, outcome.reply_class) == (Stage.CONNECT, ReplyClass.CONNECT)


async def test_gibberish_defers_and_ends_the_connection(hop: FakeNextHop, ask: Ask) -> None:
    async def gibberish(conversation: Conversation) -> str | None:
        await conversation.send(b"what?\r\n")
        raise HangUp

    hop.at("rcpt", gibberish, times=1)
    assert isinstance(await ask(), Deferred)
    assert isinstance(await ask(), Sent)
    assert hop.connections == 2


async def test_a_host_that_knows_only_helo_is_served(hop: FakeNextHop, ask: Ask) -> None:
    hop.at("ehlo", "502 5.5.1 what?")
    assert isinstance(await ask(), Sent)
    assert "HELO mx.mydomain.net" in hop.commands


@pytest.mark.parametrize(
    ("extensions", "mail", "status"),
    [
        (["SIZE 10"], MAIL, "5.3.4"),
        ([], replace(MAIL, eight_bit=True), "5.6.3"),
        (["8BITMIME"], replace(MAIL, smtputf8=True), "5.6.7"),
    ],
)
async def test_what_a_host_cannot_take_bounces_without_a_try(
    hop: FakeNextHop, ask: Ask, extensions: list[str], mail: Mail, status: str
) -> None:
    hop.extensions = extensions
    outcome = await ask(mail)
    assert isinstance(outcome, Bounced)
    assert str(outcome.reply.status) == status
    assert not any(command.startswith("MAIL") for command in hop.commands)


async def test_what_is_needed_is_asked_for(hop: FakeNextHop, ask: Ask) -> None:
    hop.extensions = ["8BITMIME", "SMTPUTF8", "SIZE 100000"]
    await ask(replace(MAIL, eight_bit=True, smtputf8=True))
    assert hop.messages[0].mail_parameters == f"SIZE={len(CONTENT)} BODY=8BITMIME SMTPUTF8"


async def test_a_bare_line_feed_cannot_end_the_message(hop: FakeNextHop, ask: Ask) -> None:
    smuggled = b"a\n.\nMAIL FROM:<evil@evil.example>\r\n\r.\r\nb\r\n"
    await ask(replace(MAIL, content=smuggled))
    [message] = hop.messages
    assert b"MAIL FROM:<evil@evil.example>" in message.data
    assert len([each for each in hop.commands if each.startswith("MAIL")]) == 1


async def test_a_connection_is_used_again(hop: FakeNextHop, ask: Ask) -> None:
    await ask()
    hop.at("rcpt", "550 5.1.1 unknown", times=1)
    assert isinstance(await ask(), Bounced)
    assert isinstance(await ask(), Sent)
    assert hop.connections == 1
    assert len(hop.messages) == 2


@pytest.mark.parametrize("stage", ["mail"])
@pytest.mark.parametrize("answer", [hang_up, "421 4.4.2 idle too long"])
async def test_a_kept_connection_that_closes_costs_one_fresh_one(
    hop: FakeNextHop, ask: Ask, stage: str, answer: str
) -> None:
    await ask()
    hop.at(stage, answer, times=1)
    assert isinstance(await ask(), Sent)
    assert hop.connections == 2
    assert len(hop.messages) == 2


async def test_the_fresh_connection_s_answer_counts(hop: FakeNextHop, ask: Ask) -> None:
    await ask()
    hop.at("mail", "421 4.7.0 go away", times=2)
    outcome = await ask()
    assert isinstance(outcome, Deferred)
    assert outcome.reply.code == 421


async def test_two_replies_in_one_segment_end_the_connection(hop: FakeNextHop, ask: Ask) -> None:
    async def twice(_: Conversation) -> str | None:
        return "250 2.1.0 ok\r\n250 2.1.5 a stray one"

    hop.at("mail", twice, times=1)
    await ask()
    assert isinstance(await ask(), Sent)
    assert hop.connections == 2


async def test_a_silent_host_defers_at_the_deadline(hop: FakeNextHop, ask: Ask) -> None:
    hang = Hang()
    hop.at("rcpt", hang)
    outcome = await ask(seconds=0.2)
    hang.release()
    assert isinstance(outcome, Deferred)
    assert (outcome.stage, outcome.reply_class) == (Stage.RCPT, ReplyClass.TIMEOUT)


async def test_past_data_the_deadline_waits_for_the_answer(hop: FakeNextHop, ask: Ask) -> None:
    hang = Hang()
    hop.at("dot", hang)
    attempt = ask(seconds=0.2)
    await asyncio.to_thread(hang.wait_until_reached)
    done, _ = await asyncio.wait([attempt], timeout=0.4)
    assert not done
    hang.release()
    assert isinstance(await attempt, Sent)


async def test_conversations_with_one_next_hop_are_bounded(hop: FakeNextHop, ask: Ask) -> None:
    hang = Hang()
    hop.at("dot", hang)
    attempts = [ask() for _ in range(5)]
    await asyncio.to_thread(hang.wait_until_reached)
    with pytest.raises(TimeoutError):
        await ask(seconds=0.2)
    hang.release()
    assert all(isinstance(outcome, Sent) for outcome in await asyncio.gather(*attempts))
    assert hop.connections == 2


async def test_a_connection_is_not_used_for_ever(
    hop: FakeNextHop, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost.connections.MESSAGES", 2)
    for _ in range(5):
        await ask()
    assert hop.connections == 3

"""Logging in at a relay: with whom, how often, and never in plaintext."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from tests.certificates import authority
from waypost.address import Address
from waypost.connections import Connections
from waypost.next_hop import HostFinder
from waypost.outcome import Deferred, Outcome, Sent, Stage
from waypost.reply import ReplyClass
from waypost.route import Host, Login, NextHop, Tls, TlsPolicy
from waypost.smtp_client import Mail
from waypost.smtp_client.racing import connect
from waypost.testing.misbehaviours import hang_up
from waypost.testing.next_hop import FakeNextHop

MAIL = Mail(
    "sender@sender.example", Address.parse("user1@gmail.com"), b"Subject: hello\r\n\r\nhello\r\n",
    smtputf8=False, eight_bit=False,
)  # fmt: skip
RIGHT = Login("user1", "pass wörd")
WRONG = Login("user1", "guessed")


@pytest.fixture
def hop() -> Iterator[FakeNextHop]:
    logins = {RIGHT.username: RIGHT.password}
    with FakeNextHop("relay.example", tls=authority().server(), logins=logins) as hop:
        yield hop


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    connections = Connections(HostFinder(), helo="mx.mydomain.net")
    yield connections
    await connections.close()


Ask = Callable[..., Awaitable[Outcome]]


@pytest.fixture
def ask(hop: FakeNextHop, connections: Connections) -> Ask:
    async def attempt(
        login: Login | None = RIGHT, policy: TlsPolicy = TlsPolicy.REQUIRE
    ) -> Outcome:
        next_hop = NextHop("127.0.0.1", hop.port, "relay", Tls(policy), login)
        until = asyncio.get_running_loop().time() + 30
        return await connections.attempt(next_hop, MAIL, until=until)

    return attempt


def logins_of(hop: FakeNextHop) -> list[str]:
    return [command for command in hop.commands if command.startswith("AUTH")]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
async def test_the_right_password(hop: FakeNextHop, ask: Ask, mechanism: str) -> None:
    hop.mechanisms = ("X-OWN", mechanism)
    assert isinstance(await ask(), Sent)
    [message] = hop.messages
    assert message.tls
    assert message.login == "user1"


async def test_a_wrong_password_defers_and_is_tried_once(hop: FakeNextHop, ask: Ask) -> None:
    outcome = await ask(WRONG)
    assert isinstance(outcome, Deferred)
    assert (outcome.stage, outcome.reply_class) == (Stage.AUTH, ReplyClass.MISCONFIGURED)
    assert outcome.reply.code == 535
    assert len(logins_of(hop)) == 1
    assert hop.messages == []


@pytest.mark.parametrize("mechanisms", [(), ("X-OWN", "GSSAPI")])
async def test_a_host_without_a_login_that_we_know(
    hop: FakeNextHop, ask: Ask, mechanisms: tuple[str, ...]
) -> None:
    hop.mechanisms = mechanisms
    outcome = await ask()
    assert isinstance(outcome, Deferred)
    assert (outcome.stage, outcome.reply_class) == (Stage.AUTH, ReplyClass.MISCONFIGURED)
    assert logins_of(hop) == []


@pytest.mark.parametrize(
    ("answer", "reply_class"),
    [
        ("454 4.7.0 not now", ReplyClass.UNAVAILABLE),
        ("421 4.7.0 too busy", ReplyClass.UNAVAILABLE),
        ("334 what else?", ReplyClass.UNAVAILABLE),
        (hang_up, ReplyClass.CONNECT),
    ],
)
async def test_trouble_with_the_login_defers(
    hop: FakeNextHop, ask: Ask, answer: str, reply_class: ReplyClass
) -> None:
    hop.at("auth", answer)
    outcome = await ask()
    assert isinstance(outcome, Deferred)
    assert outcome.stage is Stage.AUTH
    assert outcome.reply_class in (reply_class, ReplyClass.THROTTLED)


async def test_who_must_log_in_and_does_not_is_deferred(ask: Ask) -> None:
    outcome = await ask(None)
    assert isinstance(outcome, Deferred)
    assert (outcome.reply.code, outcome.reply_class) == (530, ReplyClass.MISCONFIGURED)


async def test_to_loopback_a_password_may_go_in_plaintext(hop: FakeNextHop, ask: Ask) -> None:
    hop.tls = None
    assert isinstance(await ask(policy=TlsPolicy.OPPORTUNISTIC), Sent)
    assert not hop.messages[0].tls


@pytest.mark.parametrize("policy", [TlsPolicy.OPPORTUNISTIC, TlsPolicy.NEVER])
async def test_elsewhere_a_password_never_goes_in_plaintext(
    hop: FakeNextHop, ask: Ask, monkeypatch: pytest.MonkeyPatch, policy: TlsPolicy
) -> None:
    async def connect_elsewhere(host: Host, bind: str | None) -> tuple[str, socket.socket]:
        _, sock = await connect(host, bind)
        return "192.0.2.1", sock

    monkeypatch.setattr("waypost.smtp_client.opening.connect", connect_elsewhere)
    hop.tls = None
    outcome = await ask(policy=policy)
    assert isinstance(outcome, Deferred)
    assert (outcome.stage, outcome.reply_class) == (Stage.AUTH, ReplyClass.MISCONFIGURED)
    assert logins_of(hop) == []


async def test_a_connection_serves_one_login_and_one_policy(hop: FakeNextHop, ask: Ask) -> None:
    assert isinstance(await ask(), Sent)
    assert isinstance(await ask(WRONG), Deferred)
    assert isinstance(await ask(policy=TlsPolicy.OPPORTUNISTIC), Sent)
    assert hop.connections == 3
    assert isinstance(await ask(), Sent)
    assert hop.connections == 3

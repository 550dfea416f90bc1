"""Which of a next hop's hosts and addresses are tried, and how long a connection is kept."""

from __future__ import annotations

import asyncio

import pytest

from waypost.address import Address
from waypost.connections import Connections
from waypost.next_hop import HostFinder
from waypost.outcome import Deferred, Outcome, Sent, Stage
from waypost.reply import Reply, ReplyClass, Scope
from waypost.route import Host, NextHop
from waypost.smtp_client import Connection, Mail, Opener, Unavailable
from waypost.testing.next_hop import FakeNextHop
from waypost.testing.waiting import wait_until

MAIL = Mail(
    "sender@sender.example", Address.parse("user1@gmail.com"), b"Subject: hello\r\n\r\n",
    smtputf8=False, eight_bit=False,
)  # fmt: skip
NEXT_HOP = NextHop("relay.example", 25)
FIRST, SECOND = Host(("192.0.2.1", "192.0.2.2"), 25), Host(("192.0.2.3", "192.0.2.4"), 25)


class Found(HostFinder):
    """Finds what it is told."""

    def __init__(self, *hosts: Host) -> None:
        super().__init__()
        self._hosts = list(hosts)

    async def find(self, next_hop: NextHop) -> list[Host]:
        assert next_hop == NEXT_HOP
        return self._hosts


Asked = list[tuple[str, ...]]


def nobody_answers(monkeypatch: pytest.MonkeyPatch, stage: Stage, address: str | None) -> Asked:
    """The addresses of each host that is to be opened; `address` is said to have been reached, or
    the first one.
    """
    asked: Asked = []

    async def refuse(opener: Opener, host: Host, *, until: float) -> Connection:
        assert opener.next_hop == NEXT_HOP
        assert until > asyncio.get_running_loop().time()
        asked.append(host.addresses)
        reached = host.addresses[0] if address == "the first" else address
        raise Unavailable(deferred(stage), reached)

    monkeypatch.setattr(Opener, "open", refuse)
    return asked


def deferred(stage: Stage) -> Deferred:
    return Deferred(Reply.own("450 4.3.2 later"), ReplyClass.UNAVAILABLE, Scope.HOST, stage)


async def attempt(*hosts: Host) -> Outcome:
    connections = Connections(Found(*hosts), helo="mx.mydomain.net")
    until = asyncio.get_running_loop().time() + 30
    return await connections.attempt(NEXT_HOP, MAIL, until=until)


async def test_every_address_of_every_host_is_asked_before_it_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = nobody_answers(monkeypatch, Stage.GREETING, "the first")
    assert isinstance(await attempt(FIRST, SECOND), Deferred)
    assert asked == [FIRST.addresses, ("192.0.2.2",), SECOND.addresses, ("192.0.2.4",)]


@pytest.mark.parametrize(("stage", "address"), [(Stage.AUTH, "the first"), (Stage.CONNECT, None)])
async def test_a_login_that_fails_is_not_repeated_nor_what_reached_nobody(
    monkeypatch: pytest.MonkeyPatch, stage: Stage, address: str | None
) -> None:
    asked = nobody_answers(monkeypatch, stage, address)
    assert isinstance(await attempt(FIRST), Deferred)
    assert asked == [FIRST.addresses]


async def test_the_next_host_is_asked_when_the_first_does_not_answer() -> None:
    with FakeNextHop() as hop:
        outcome = await attempt(Host(("127.0.0.2",), hop.port), Host(("127.0.0.1",), hop.port))
    assert isinstance(outcome, Sent)


async def test_an_idle_connection_is_ended_politely() -> None:
    with FakeNextHop() as hop:
        connections = Connections(HostFinder(), helo="mx.mydomain.net", idle_seconds=0.01)
        until = asyncio.get_running_loop().time() + 30
        await connections.attempt(NextHop("127.0.0.1", hop.port), MAIL, until=until)
        await asyncio.to_thread(wait_until, lambda: "QUIT" in hop.commands, "QUIT")
        await connections.close()

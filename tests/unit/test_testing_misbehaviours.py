"""Each misbehaviour does what its name says: octet by octet, as a client sees it."""

from __future__ import annotations

import re
import smtplib
import socket
from collections.abc import Iterator

import pytest

from waypost.testing import misbehaviours
from waypost.testing.conversation import Conversation
from waypost.testing.misbehaviours import BY_NAME
from waypost.testing.next_hop import FakeNextHop
from waypost.testing.waiting import LONG

USUAL = b"250 2.1.0 ok\r\n"


@pytest.fixture
def hop() -> Iterator[FakeNextHop]:
    with FakeNextHop("gmail.com") as hop:
        yield hop


@pytest.fixture
def client(hop: FakeNextHop) -> Iterator[socket.socket]:
    """Somebody who has heard the greeting."""
    with socket.create_connection(("127.0.0.1", hop.port), timeout=LONG) as client:
        assert client.recv(1000) == b"220 gmail.com ESMTP\r\n"
        yield client


def said_to_mail(client: socket.socket) -> bytes:
    """All that is said to MAIL before the connection closes."""
    client.sendall(b"MAIL FROM:<>\r\n")
    return rest(client)


def exactly(client: socket.socket, count: int) -> bytes:
    with client.makefile("rb") as file:
        return file.read(count)


def rest(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(10000), b""))


def test_all_are_told_of_in_the_order_of_the_table() -> None:
    documentation = misbehaviours.__doc__ or ""
    assert re.findall(r"^\| `(.*?)` \|", documentation, re.MULTILINE) == list(BY_NAME)


def test_what_is_no_name_is_told_with_those_that_are(hop: FakeNextHop) -> None:
    with pytest.raises(ValueError, match=r'"dorp" is neither a reply nor one of .*, drop, '):
        hop.at("mail", "dorp")


@pytest.mark.parametrize(("name", "code"), [("4xx", b"451 4."), ("5xx", b"554 5.")])
def test_refuses_and_goes_on(
    hop: FakeNextHop, client: socket.socket, name: str, code: bytes
) -> None:
    hop.at("mail", name, times=1)
    client.sendall(b"MAIL FROM:<>\r\nQUIT\r\n")
    assert rest(client).startswith(code)
    assert hop.commands == ["MAIL FROM:<>", "QUIT"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("421", rb"421 4\.\d\.\d .*\r\n"),
        ("drop", b""),
        ("cut short", re.escape(USUAL[:6])),
    ],
)
def test_closes_the_connection(
    hop: FakeNextHop, client: socket.socket, name: str, said: bytes
) -> None:
    hop.at("mail", name)
    assert re.fullmatch(said, said_to_mail(client))


@pytest.mark.parametrize(
    ("name", "said"), [("hang", b""), ("gibberish", b"\x16\x03\xff what?\r\n")]
)
def test_says_nothing_more_until_the_client_goes(
    hop: FakeNextHop, client: socket.socket, name: str, said: bytes
) -> None:
    hop.at("mail", name)
    client.sendall(b"MAIL FROM:<>\r\nQUIT\r\n")
    client.shutdown(socket.SHUT_WR)
    assert rest(client) == said
    assert hop.commands == ["MAIL FROM:<>"]


def test_says_it_twice(hop: FakeNextHop, client: socket.socket) -> None:
    hop.at("mail", "two replies")
    client.sendall(b"MAIL FROM:<>\r\nQUIT\r\n")
    assert rest(client) == USUAL * 2 + b"221 2.0.0 bye\r\n"


def test_says_it_on_many_lines(hop: FakeNextHop, client: socket.socket) -> None:
    hop.at("mail", "many lines")
    client.sendall(b"MAIL FROM:<>\r\nRCPT TO:<anna@gmail.com>\r\nQUIT\r\n")
    *many, usual, rcpt, _ = rest(client).splitlines(keepends=True)
    assert len(many) == 20
    assert all(line.startswith(b"250-") for line in many)
    assert usual == USUAL
    assert rcpt == b"250 2.1.5 ok\r\n"


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("endless line", rb"250-x+"), ("endless reply", rb"(250-and more\r\n)+.*")],
)
def test_finds_no_end(hop: FakeNextHop, client: socket.socket, name: str, pattern: bytes) -> None:
    hop.at("mail", name)
    client.sendall(b"MAIL FROM:<>\r\n")
    said = exactly(client, 300_000)
    assert len(said) == 300_000
    assert re.fullmatch(pattern, said, re.DOTALL)


def test_says_an_octet_now_and_then(hop: FakeNextHop, client: socket.socket) -> None:
    hop.at("mail", "trickle")
    client.sendall(b"MAIL FROM:<>\r\n")
    assert exactly(client, 8) == b"250-xxxx"


def test_is_slow_from_then_on(hop: FakeNextHop, client: socket.socket) -> None:
    conversations = []

    async def watch(conversation: Conversation) -> None:
        conversations.append((conversation.sender, conversation.pause > 0))

    hop.at("mail", watch, times=1)
    hop.at("mail", "slow")
    hop.at("quit", watch)
    client.sendall(b"MAIL FROM:<>\r\nMAIL FROM:<anna@gmail.com>\r\nQUIT\r\n")
    assert rest(client) == USUAL * 2 + b"221 2.0.0 bye\r\n"
    assert conversations == [(None, False), ("anna@gmail.com", True)]


def test_takes_the_message_and_says_nothing(hop: FakeNextHop, client: socket.socket) -> None:
    hop.at("dot", "take and drop")
    client.sendall(b"MAIL FROM:<>\r\nRCPT TO:<anna@gmail.com>\r\nDATA\r\n.\r\n")
    assert rest(client).splitlines()[-1].startswith(b"354")
    assert len(hop.messages) == 1


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("small SIZE", {"pipelining", "8bitmime", "smtputf8", "enhancedstatuscodes", "size"}),
        ("no 8BITMIME", {"pipelining", "smtputf8", "enhancedstatuscodes"}),
        ("no SMTPUTF8", {"pipelining", "8bitmime", "enhancedstatuscodes"}),
    ],
)
def test_offers_more_or_less(hop: FakeNextHop, name: str, offered: set[str]) -> None:
    hop.at("ehlo", name)
    with smtplib.SMTP("127.0.0.1", hop.port, local_hostname="here.example") as client:
        client.ehlo()
        assert set(client.esmtp_features) == offered
        assert client.esmtp_features.get("size") in (None, "100")

"""Each TLS policy does what its name says, whatever a host does."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Literal

import pytest
import uvloop

from tests.certificates import authority, expired, self_signed, stranger
from waypost.address import Address
from waypost.connections import Connections
from waypost.next_hop import HostFinder
from waypost.outcome import Deferred, Outcome, Sent, Stage
from waypost.reply import ReplyClass
from waypost.route import NextHop, Tls, TlsPolicy
from waypost.smtp_client import Mail
from waypost.smtp_client.limits import SECONDS
from waypost.testing.conversation import Conversation, HangUp
from waypost.testing.misbehaviours import Hang, hang_up
from waypost.testing.next_hop import FakeNextHop

Way = Literal["TLS", "plaintext", "deferred"]
OPPORTUNISTIC, REQUIRE, VERIFY, NEVER = TlsPolicy
NOT_ACCEPTED = "451 4.7.5 the certificate is not accepted: "
MAIL = Mail(
    "sender@sender.example", Address.parse("user1@gmail.com"), b"Subject: hello\r\n\r\nhello\r\n",
    smtputf8=False, eight_bit=False,
)  # fmt: skip


Run = Callable[[Coroutine[object, object, Outcome]], Outcome]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs to the end, also as the daemon does: the TLS of uvloop is not that of asyncio."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


@pytest.fixture
def hop() -> Iterator[FakeNextHop]:
    with FakeNextHop("relay.example", tls=authority().server()) as hop:
        yield hop


async def attempt(hop: FakeNextHop, tls: Tls, host: str = "127.0.0.1") -> Outcome:
    connections = Connections(HostFinder(family="ipv4"), helo="mx.mydomain.net")
    until = asyncio.get_running_loop().time() + 30
    try:
        return await connections.attempt(NextHop(host, hop.port, "relay", tls), MAIL, until=until)
    finally:
        await connections.close()


def way(hop: FakeNextHop, outcome: Outcome) -> Way:
    if isinstance(outcome, Sent):
        return "TLS" if hop.messages[0].tls else "plaintext"
    assert isinstance(outcome, Deferred)
    assert not any(command.startswith("MAIL") for command in hop.commands)
    return "deferred"


# What hosts do


def good(_: FakeNextHop) -> None:
    """TLS as it should be."""


def certificate_expired(hop: FakeNextHop) -> None:
    hop.tls = authority().server(expires=expired())


def certificate_of_another_name(hop: FakeNextHop) -> None:
    hop.tls = authority().server("127.0.0.2")


def certificate_self_signed(hop: FakeNextHop) -> None:
    hop.tls = self_signed()


def certificate_of_a_stranger(hop: FakeNextHop) -> None:
    hop.tls = stranger().server()


def not_offered(hop: FakeNextHop) -> None:
    hop.tls = None


def stripped(hop: FakeNextHop) -> None:
    hop.at("ehlo", "250-relay.example\r\n250 8BITMIME")


def no_ehlo(hop: FakeNextHop) -> None:
    hop.at("ehlo", "502 5.5.1 what?")


def refused_for_now(hop: FakeNextHop) -> None:
    hop.at("starttls", "454 4.7.0 TLS not available due to temporary reason")


def refused_for_good(hop: FakeNextHop) -> None:
    hop.at("starttls", "554 5.7.3 no")


def refused_and_closed(hop: FakeNextHop) -> None:
    hop.at("starttls", "421 4.7.0 no")


def answered_by_250(hop: FakeNextHop) -> None:
    hop.at("starttls", "250 ok")


def answered_by_gibberish(hop: FakeNextHop) -> None:
    async def gibberish(conversation: Conversation) -> str | None:
        await conversation.send(b"what?\r\n")
        raise HangUp

    hop.at("starttls", gibberish)


def hung_up(hop: FakeNextHop) -> None:
    hop.at("starttls", hang_up)


def handshake_broken(hop: FakeNextHop) -> None:
    async def broken(conversation: Conversation) -> str | None:
        await conversation.send(b"220 2.0.0 go ahead\r\n")
        await conversation.reader.read(1)
        await conversation.send(b"this is no TLS at all\r\n")
        raise HangUp

    hop.at("starttls", broken)


def handshake_hung_up(hop: FakeNextHop) -> None:
    async def hang_up_later(conversation: Conversation) -> str | None:
        await conversation.send(b"220 2.0.0 go ahead\r\n")
        await conversation.reader.read(1)
        raise HangUp

    hop.at("starttls", hang_up_later)


def plaintext_injected(hop: FakeNextHop) -> None:
    # If it were believed, the message would be too large (RFC 3207 section 6).
    hop.at("starttls", "220 2.0.0 go ahead\r\n250-evil.example\r\n250 SIZE 1")


def old_tls(hop: FakeNextHop) -> None:
    hop.tls = authority().server()
    hop.tls.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        hop.tls.minimum_version = hop.tls.maximum_version = ssl.TLSVersion.TLSv1_1


def client_certificate_demanded(hop: FakeNextHop) -> None:
    hop.tls = authority().demanding_server()


def client_certificate_demanded_by_tls_1_2(hop: FakeNextHop) -> None:
    hop.tls = authority().demanding_server()
    hop.tls.maximum_version = ssl.TLSVersion.TLSv1_2


TABLE: dict[Callable[[FakeNextHop], None], tuple[Way, Way, Way, Way]] = {
    # What the host does: opportunistic, require, verify, never.
    good: ("TLS", "TLS", "TLS", "plaintext"),
    certificate_expired: ("TLS", "TLS", "deferred", "plaintext"),
    certificate_of_another_name: ("TLS", "TLS", "deferred", "plaintext"),
    certificate_self_signed: ("TLS", "TLS", "deferred", "plaintext"),
    certificate_of_a_stranger: ("TLS", "TLS", "deferred", "plaintext"),
    plaintext_injected: ("TLS", "TLS", "TLS", "plaintext"),
    old_tls: ("TLS", "deferred", "deferred", "plaintext"),
    not_offered: ("plaintext", "deferred", "deferred", "plaintext"),
    stripped: ("plaintext", "deferred", "deferred", "plaintext"),
    no_ehlo: ("plaintext", "deferred", "deferred", "plaintext"),
    refused_for_now: ("plaintext", "deferred", "deferred", "plaintext"),
    refused_for_good: ("plaintext", "deferred", "deferred", "plaintext"),
    refused_and_closed: ("plaintext", "deferred", "deferred", "plaintext"),
    answered_by_250: ("plaintext", "deferred", "deferred", "plaintext"),
    answered_by_gibberish: ("plaintext", "deferred", "deferred", "plaintext"),
    hung_up: ("plaintext", "deferred", "deferred", "plaintext"),
    handshake_broken: ("plaintext", "deferred", "deferred", "plaintext"),
    handshake_hung_up: ("plaintext", "deferred", "deferred", "plaintext"),
    client_certificate_demanded: ("plaintext", "deferred", "deferred", "plaintext"),
    client_certificate_demanded_by_tls_1_2: ("plaintext", "deferred", "deferred", "plaintext"),
}


@pytest.mark.parametrize(
    ("situation", "policy", "expected"),
    [
        pytest.param(situation, policy, expected, id=f"{situation.__name__}-{policy}")
        for situation, row in TABLE.items()
        for policy, expected in zip(TlsPolicy, row, strict=True)
    ],
)
def test_a_policy_does_what_its_name_says(
    run: Run,
    hop: FakeNextHop,
    tmp_path: Path,
    situation: Callable[[FakeNextHop], None],
    policy: TlsPolicy,
    expected: Way,
) -> None:
    situation(hop)
    ca_file = str(authority().write_ca(tmp_path)) if policy is VERIFY else None
    outcome = run(attempt(hop, Tls(policy, ca_file=ca_file)))
    assert way(hop, outcome) == expected
    if isinstance(outcome, Deferred):
        assert outcome.stage is Stage.STARTTLS


@pytest.mark.parametrize(
    ("situation", "connections"),
    [(refused_for_now, 1), (refused_for_good, 1), (handshake_broken, 2), (hung_up, 2)],
)
def test_plaintext_goes_on_where_it_can_and_starts_anew_where_not(
    run: Run, hop: FakeNextHop, situation: Callable[[FakeNextHop], None], connections: int
) -> None:
    situation(hop)
    assert isinstance(run(attempt(hop, Tls())), Sent)
    assert hop.connections == connections


@pytest.mark.parametrize(
    ("situation", "reply", "reply_class"),
    [
        (not_offered, "451 4.7.4 TLS is required and not offered", ReplyClass.MISCONFIGURED),
        (refused_for_good, "554 5.7.3 no", ReplyClass.MISCONFIGURED),
        (
            refused_for_now,
            "454 4.7.0 TLS not available due to temporary reason",
            ReplyClass.UNAVAILABLE,
        ),
        (hung_up, "451 4.4.2 connection lost (starttls)", ReplyClass.CONNECT),
        (
            certificate_expired,
            NOT_ACCEPTED + "certificate has expired",
            ReplyClass.MISCONFIGURED,
        ),
        (
            certificate_of_another_name,
            NOT_ACCEPTED + "IP address mismatch, certificate is not valid for '127.0.0.1'.",
            ReplyClass.MISCONFIGURED,
        ),
        (handshake_broken, "451 4.7.5 TLS failed: WRONG_VERSION_NUMBER", ReplyClass.MISCONFIGURED),
    ],
)
def test_what_is_said_about_tls_that_did_not_come_about(
    run: Run,
    hop: FakeNextHop,
    tmp_path: Path,
    situation: Callable[[FakeNextHop], None],
    reply: str,
    reply_class: ReplyClass,
) -> None:
    situation(hop)
    outcome = run(attempt(hop, Tls(VERIFY, ca_file=str(authority().write_ca(tmp_path)))))
    assert isinstance(outcome, Deferred)
    assert (str(outcome.reply), outcome.reply_class) == (reply, reply_class)


@pytest.mark.parametrize(("name", "expected"), [("localhost", "TLS"), ("127.0.0.1", "deferred")])
@pytest.mark.parametrize("from_the_start", [False, True])
def test_the_certificate_must_name_the_host_as_it_is_configured(
    run: Run, tmp_path: Path, name: str, expected: Way, from_the_start: bool
) -> None:
    tls = Tls(VERIFY, from_the_start, ca_file=str(authority().write_ca(tmp_path)))
    server = authority().server(name)
    with FakeNextHop("relay", tls=server, tls_from_the_start=from_the_start) as hop:
        assert way(hop, run(attempt(hop, tls, host="localhost"))) == expected


@pytest.mark.parametrize("policy", [OPPORTUNISTIC, REQUIRE, VERIFY])
def test_a_client_certificate_is_shown(
    run: Run, hop: FakeNextHop, tmp_path: Path, policy: TlsPolicy
) -> None:
    client_certificate_demanded(hop)
    cert, key = authority().write_client_cert(tmp_path)
    ca_file = str(authority().write_ca(tmp_path)) if policy is VERIFY else None
    tls = Tls(policy, ca_file=ca_file, client_cert=str(cert), client_key=str(key))
    assert way(hop, run(attempt(hop, tls))) == "TLS"


def test_a_file_that_has_gone_since_the_start_defers(run: Run, hop: FakeNextHop) -> None:
    outcome = run(attempt(hop, Tls(VERIFY, ca_file="/nonexistent/ca.pem")))
    assert isinstance(outcome, Deferred)
    assert outcome.reply_class is ReplyClass.MISCONFIGURED
    assert outcome.reply.text == "/nonexistent/ca.pem: No such file or directory"
    assert hop.connections == 0


def test_what_a_host_offers_is_read_anew_in_tls(run: Run, hop: FakeNextHop) -> None:
    async def lie_in_plaintext(conversation: Conversation) -> str | None:
        return None if conversation.in_tls else "250-relay.example\r\n250-SIZE 1\r\n250 STARTTLS"

    hop.at("ehlo", lie_in_plaintext)
    assert isinstance(run(attempt(hop, Tls())), Sent)


def test_a_refusal_in_tls_is_no_reason_for_plaintext(run: Run, hop: FakeNextHop) -> None:
    async def refuse_in_tls(conversation: Conversation) -> str | None:
        return "554 5.7.1 not you" if conversation.in_tls else None

    hop.at("ehlo", refuse_in_tls)
    hop.at("helo", refuse_in_tls)
    outcome = run(attempt(hop, Tls()))
    assert isinstance(outcome, Deferred)
    assert (outcome.stage, outcome.reply.code) == (Stage.EHLO, 554)
    assert hop.connections == 1


@pytest.mark.parametrize(
    ("policy", "expected"), [(OPPORTUNISTIC, "plaintext"), (REQUIRE, "deferred")]
)
def test_a_handshake_that_hangs(
    run: Run, hop: FakeNextHop, monkeypatch: pytest.MonkeyPatch, policy: TlsPolicy, expected: Way
) -> None:
    monkeypatch.setitem(SECONDS, Stage.STARTTLS, 0.05)
    hang = Hang(then="421 4.3.2 too late")

    async def hang_in_handshake(conversation: Conversation) -> str | None:
        await conversation.send(b"220 2.0.0 go ahead\r\n")
        return await hang(conversation)

    hop.at("starttls", hang_in_handshake)
    outcome = run(attempt(hop, Tls(policy)))
    hang.release()
    assert way(hop, outcome) == expected
    if isinstance(outcome, Deferred):
        assert (outcome.stage, outcome.reply_class) == (Stage.STARTTLS, ReplyClass.TIMEOUT)


# TLS from the start


@pytest.mark.parametrize(
    ("situation", "policy", "expected"),
    [
        (good, REQUIRE, "TLS"),
        (good, VERIFY, "TLS"),
        (certificate_expired, REQUIRE, "TLS"),
        (certificate_expired, VERIFY, "deferred"),
        (certificate_of_another_name, VERIFY, "deferred"),
    ],
)
def test_tls_from_the_start(
    run: Run,
    tmp_path: Path,
    situation: Callable[[FakeNextHop], None],
    policy: TlsPolicy,
    expected: Way,
) -> None:
    hop = FakeNextHop("relay.example", tls=authority().server(), tls_from_the_start=True)
    situation(hop)
    ca_file = str(authority().write_ca(tmp_path)) if policy is VERIFY else None
    with hop:
        outcome = run(attempt(hop, Tls(policy, from_the_start=True, ca_file=ca_file)))
    assert way(hop, outcome) == expected
    if isinstance(outcome, Deferred):
        assert (outcome.stage, outcome.reply_class) == (Stage.STARTTLS, ReplyClass.MISCONFIGURED)
        assert outcome.reply.status is not None
        assert hop.commands == []


def test_tls_from_the_start_with_a_host_that_has_none(run: Run, hop: FakeNextHop) -> None:
    outcome = run(attempt(hop, Tls(REQUIRE, from_the_start=True)))
    assert isinstance(outcome, Deferred)
    assert (outcome.stage, outcome.reply_class) == (Stage.STARTTLS, ReplyClass.MISCONFIGURED)
    assert hop.connections == 1

"""The fake next hop in TLS, and as one that wants a login."""

from __future__ import annotations

import smtplib
import ssl
from pathlib import Path

import pytest

from tests.certificates import authority
from waypost.testing.next_hop import FakeNextHop

SENDER, ANNA = "sender@sender.example", "anna@gmail.com"
MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"
LOGINS = {"user1": "secret"}


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().ca.configure_trust(context)
    return context


def connect(hop: FakeNextHop) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", hop.port, local_hostname="here.example", timeout=10)


def test_speaks_tls_after_starttls_and_forgets_what_was_said_before() -> None:
    with FakeNextHop(tls=authority().server()) as hop, connect(hop) as client:
        client.ehlo()
        assert client.has_extn("starttls")
        client.mail(SENDER)
        client.starttls(context=client_context())
        client.ehlo()
        assert not client.has_extn("starttls")
        assert client.rcpt(ANNA)[0] == 503
        client.sendmail(SENDER, [ANNA], MESSAGE)
        [message] = hop.messages
        assert message.tls
        assert message.data == MESSAGE


def test_speaks_tls_from_the_start() -> None:
    server = authority().server()
    with FakeNextHop(tls=server, tls_from_the_start=True) as hop:
        assert hop.url == f"smtps://127.0.0.1:{hop.port}"
        with smtplib.SMTP_SSL("127.0.0.1", hop.port, context=client_context()) as client:
            client.sendmail(SENDER, [ANNA], MESSAGE)
        assert hop.messages[0].tls


def test_has_no_tls_unless_told_so() -> None:
    with FakeNextHop() as hop, connect(hop) as client:
        client.sendmail(SENDER, [ANNA], MESSAGE)
        assert not client.has_extn("starttls")
        assert client.docmd("STARTTLS")[0] == 502
        assert not hop.messages[0].tls


def test_refuses_starttls_by_script() -> None:
    with FakeNextHop(tls=authority().server()) as hop, connect(hop) as client:
        hop.at("starttls", "454 4.7.0 not now")
        client.ehlo()
        assert client.docmd("STARTTLS")[0] == 454
        client.sendmail(SENDER, [ANNA], MESSAGE)
        assert not hop.messages[0].tls


def test_talks_to_nobody_without_the_certificate_it_demands(tmp_path: Path) -> None:
    with FakeNextHop(tls=authority().demanding_server()) as hop:
        with connect(hop) as stranger:
            stranger.starttls(context=client_context())
            with pytest.raises((ssl.SSLError, smtplib.SMTPServerDisconnected, ConnectionError)):
                stranger.ehlo()
        context = client_context()
        context.load_cert_chain(*authority().write_client_cert(tmp_path))
        with connect(hop) as friend:
            friend.starttls(context=context)
            friend.sendmail(SENDER, [ANNA], MESSAGE)
        assert len(hop.messages) == 1


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "PLAIN", "LOGIN"])
def test_knows_who_logs_in(mechanism: str) -> None:
    with FakeNextHop(logins=LOGINS) as hop, connect(hop) as client:
        hop.mechanisms = (mechanism,)
        client.ehlo()
        assert client.mail(SENDER)[0] == 530
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("user1", "wrong")
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("user2", "")
        client.login("user1", "secret")
        client.sendmail(SENDER, [ANNA], MESSAGE)
        assert hop.messages[0].login == "user1"


def test_offers_a_login_in_tls_only_when_there_is_tls() -> None:
    with FakeNextHop(tls=authority().server(), logins=LOGINS) as hop, connect(hop) as client:
        client.ehlo()
        assert not client.has_extn("auth")
        client.starttls(context=client_context())
        client.ehlo()
        assert client.has_extn("auth")


def test_refuses_a_login_by_script() -> None:
    with FakeNextHop(logins=LOGINS) as hop, connect(hop) as client:
        hop.at("auth", "454 4.7.0 not now")
        with pytest.raises(smtplib.SMTPAuthenticationError, match="not now"):
            client.login("user1", "secret")

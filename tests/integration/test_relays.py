"""A relay that wants TLS and a login, as mail providers do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import authority
from tests.integration.conftest import StartWaypost
from waypost.testing.next_hop import FakeNextHop
from waypost.testing.postfix import PrivatePostfix
from waypost.testing.smtp import plain_message

SENDER = "alice@sender.example"
PASSWORD = "correct horse"


@pytest.fixture
def relay() -> Iterator[FakeNextHop]:
    tls, logins = authority().server(), {"user1": PASSWORD}
    with FakeNextHop("relay.example", tls=tls, logins=logins) as relay:
        yield relay


@pytest.fixture
def routes(relay: FakeNextHop, tmp_path: Path) -> str:
    secret = tmp_path / "relay.secret"
    secret.touch(mode=0o600)
    secret.write_text(PASSWORD + "\n")
    return f"""
        [relays.provider]
        url = "{relay.url}"
        tls = "verify"
        ca_file = "{authority().write_ca(tmp_path)}"
        username = "user1"
        password_file = "{secret}"
        [routes.user1]
        match.exact = ["user1@mydomain.net"]
        deliver = [{{ to = "user1@gmail.com", via = "provider" }}]
    """


def test_mail_leaves_in_verified_tls_after_a_login(
    postfix: PrivatePostfix, relay: FakeNextHop, waypost: StartWaypost, routes: str
) -> None:
    daemon = waypost(routes)
    postfix.send(SENDER, ["user1@mydomain.net"], plain_message("by a provider"))
    [message] = relay.wait_for(1)
    postfix.wait_until_empty()
    assert message.recipients == ("user1@gmail.com",)
    assert message.tls
    assert message.login == "user1"
    assert PASSWORD not in daemon.log()


def test_a_password_that_is_no_longer_right_waits_for_the_operator(
    postfix: PrivatePostfix,
    relay: FakeNextHop,
    waypost: StartWaypost,
    routes: str,
    tmp_path: Path,
) -> None:
    relay.logins = {"user1": "another one"}
    daemon = waypost(routes)
    postfix.send(SENDER, ["user1@mydomain.net"], plain_message("by a provider"))
    attempt = daemon.wait_for_event("attempt", outcome="deferred", stage="auth")
    assert attempt["reply_class"] == "misconfigured"
    assert attempt["level"] == "error"
    (tmp_path / "relay.secret").write_text("another one\n")
    assert daemon.reload()["event"] == "config_loaded"
    postfix.flush()
    [message] = relay.wait_for(1)
    assert message.login == "user1"

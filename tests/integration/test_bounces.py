"""What a sender is told when no way is left, and when it is told nothing."""

from __future__ import annotations

import pytest

from tests.integration.conftest import MakeNextHop, StartWaypost
from waypost.testing.postfix import PrivatePostfix
from waypost.testing.smtp import plain_message

ANNA = """
[routes.anna]
match.plus = ["anna@mydomain.net"]
deliver = ["secret-primary@gmail.com", "secret-backup@outlook.com"]
"""
RECIPIENT = "anna+shop@mydomain.net"


@pytest.fixture
def all_ways_fail(next_hop: MakeNextHop, waypost: StartWaypost) -> None:
    for domain in ("gmail.com", "outlook.com"):
        next_hop(domain).at(
            "rcpt", f"550 5.2.1 <secret-mailbox@{domain}> is disabled, says {domain}"
        )
    waypost(ANNA)


@pytest.mark.usefixtures("all_ways_fail")
def test_tells_codes_and_no_secrets(postfix: PrivatePostfix) -> None:
    sender = "curious@sender.example"
    postfix.send(sender, [RECIPIENT], plain_message("let me in"))
    bounce = postfix.wait_for_bounce(sender)
    assert "0 of 1 legs sent" in bounce.text
    assert bounce.text.count("550 rejected") == 2
    for secret in (b"secret", b"gmail", b"outlook", b"disabled"):
        assert secret not in bounce.data.lower()


@pytest.mark.usefixtures("all_ways_fail")
def test_names_the_address_that_was_written_to(postfix: PrivatePostfix) -> None:
    sender = "tidy@sender.example"
    postfix.send(sender, [RECIPIENT], plain_message("hello"))
    [told] = postfix.wait_for_bounce(sender).recipients
    assert told["original-recipient"] == f"rfc822;{RECIPIENT}"
    assert (told["action"], told["status"]) == ("failed", "5.2.1")


@pytest.mark.usefixtures("all_ways_fail")
def test_keeps_the_senders_own_original_recipient(postfix: PrivatePostfix) -> None:
    sender, original = "list@sender.example", "rfc822;Everybody@lists.example"
    postfix.send(sender, [RECIPIENT], plain_message("hello"), rcpt=f"ORCPT={original}")
    [told] = postfix.wait_for_bounce(sender).recipients
    assert told["original-recipient"] == original


def test_tells_of_no_recipient_but_the_one_that_failed(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost
) -> None:
    gmail = next_hop("gmail.com")
    gmail.at("rcpt", "550 5.1.1 no such user", recipient="ben@gmail.com")
    waypost("""
        [routes.anna]
        match.exact = ["anna@mydomain.net"]
        deliver = ["anna@gmail.com"]
        [routes.ben]
        match.exact = ["ben@mydomain.net"]
        deliver = ["ben@gmail.com"]
    """)
    sender = "both@sender.example"
    recipients = ["anna@mydomain.net", "ben@mydomain.net"]
    postfix.send(sender, recipients, plain_message("for two"))
    told = postfix.wait_for_bounce(sender).recipients
    assert [each["original-recipient"] for each in told] == ["rfc822;ben@mydomain.net"]
    gmail.wait_for(1)
    postfix.wait_until_empty()
    assert [message.recipients for message in gmail.messages] == [("anna@gmail.com",)]


@pytest.mark.usefixtures("all_ways_fail")
def test_never_where_the_sender_wants_none(postfix: PrivatePostfix) -> None:
    sender = "quiet@sender.example"
    postfix.send(sender, [RECIPIENT], plain_message("hello"), rcpt="NOTIFY=NEVER")
    postfix.wait_for_log("status=bounced")
    postfix.wait_until_empty()
    assert postfix.bounces(sender) == []


@pytest.mark.usefixtures("all_ways_fail")
def test_never_to_the_null_sender(postfix: PrivatePostfix) -> None:
    before = len(postfix.elsewhere.messages)
    postfix.send("", [RECIPIENT], plain_message("out of office"))
    postfix.wait_for_log("status=bounced")
    postfix.wait_until_empty()
    assert len(postfix.elsewhere.messages) == before

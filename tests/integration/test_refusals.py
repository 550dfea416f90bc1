"""What is refused, while the client is still there."""

from __future__ import annotations

from tests.integration.conftest import MakeNextHop, StartWaypost
from waypost.testing.postfix import INSIDE, PrivatePostfix
from waypost.testing.smtp import plain_message

SENDER = "alice@sender.example"
ANNA = """
[routes.anna]
match.exact = ["anna@mydomain.net"]
deliver = ["anna@gmail.com"]
"""
# In the form of a route address, but not made by this Waypost.
FORGED = "aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb.anna=mydomain.net@waypost.invalid"


def test_an_unknown_recipient(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost
) -> None:
    gmail = next_hop("gmail.com")
    waypost(ANNA)
    recipients = ["nobody@mydomain.net", "anna@mydomain.net", "anna@deep.mydomain.net"]
    answers = postfix.send(SENDER, recipients, plain_message("who?"))
    replies = [(reply.code, str(reply.effective_status)) for reply in answers.rcpt.values()]
    assert replies == [(550, "5.1.1"), (250, "2.1.5"), (550, "5.1.1")]
    [message] = gmail.wait_for(1)
    assert message.recipients == ("anna@gmail.com",)


def test_an_unknown_recipient_of_a_local_submission_bounces(
    postfix: PrivatePostfix, waypost: StartWaypost
) -> None:
    waypost(ANNA)
    sender = "unknown@sender.example"
    postfix.sendmail(sender, ["nobody@mydomain.net"], plain_message("who?"))
    assert postfix.wait_for_bounce(sender).recipients[0]["status"] == "5.1.1"


def test_what_is_not_ours_from_outside(postfix: PrivatePostfix, waypost: StartWaypost) -> None:
    waypost(ANNA)
    recipient = "somebody@imx.mydomain.net"
    answers = postfix.send(SENDER, [recipient], plain_message("relay this"))
    assert (answers.rcpt[recipient].code, answers.dot) == (454, None)


def test_the_route_domain_from_outside(postfix: PrivatePostfix, waypost: StartWaypost) -> None:
    waypost(ANNA)
    answers = postfix.send(SENDER, [FORGED], plain_message("sneaky"))
    assert (answers.rcpt[FORGED].code, answers.dot) == (454, None)


def test_the_route_domain_from_inside(postfix: PrivatePostfix, waypost: StartWaypost) -> None:
    waypost(ANNA)
    for recipient in (FORGED, "anything@waypost.invalid"):
        answers = postfix.send(SENDER, [recipient], plain_message("sneaky"), client=INSIDE)
        reply = answers.rcpt[recipient]
        assert (reply.code, str(reply.effective_status)) == (550, "5.7.1")


def test_the_route_domain_by_local_submission(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost
) -> None:
    gmail = next_hop("gmail.com")
    waypost(ANNA)
    sender, recipient = "sneaky@sender.example", "anything@waypost.invalid"
    postfix.sendmail(sender, [recipient], plain_message("sneaky"))
    assert postfix.wait_for_bounce(sender).recipients[0]["status"] == "5.7.1"
    assert gmail.messages == []

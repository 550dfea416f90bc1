"""The main job: a message takes the ways that its route names."""

from __future__ import annotations

from tests.integration.conftest import MakeNextHop, StartWaypost
from waypost.testing.next_hop import FakeNextHop
from waypost.testing.postfix import INSIDE, PrivatePostfix
from waypost.testing.smtp import deliver, plain_message

SENDER = "alice@sender.example"
RATE_LIMITED = (
    "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation"
)
FAMILY = """
[routes.family]
match.exact = ["family@mydomain.net"]
fan_out = [["email1@gmail.com", "email1@outlook.com"], ["email2@gmail.com", "email2@outlook.com"]]
"""
EVERYONE = """
[routes.everyone]
match.catch_all = ["mydomain.net"]
deliver = ["catchall+{local}@gmail.com"]
"""


def taken(hop: FakeNextHop) -> list[tuple[tuple[str, ...], str]]:
    """Recipients and subject of each message, sorted."""
    return sorted((each.recipients, each.parsed["Subject"]) for each in hop.messages)


def test_the_second_destination_takes_what_the_first_defers(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost
) -> None:
    gmail, outlook = next_hop("gmail.com"), next_hop("outlook.com")
    gmail.at("rcpt", RATE_LIMITED)
    daemon = waypost("""
        [routes.user1]
        match.plus = ["user1@mydomain.net"]
        deliver = ["user1@gmail.com", "user1@outlook.com"]
    """)
    answers = postfix.send(SENDER, ["user1+shop@mydomain.net"], plain_message("offer"))
    outlook.wait_for(1)
    postfix.wait_until_empty()
    assert taken(outlook) == [(("user1@outlook.com",), "offer")]
    assert gmail.messages == []
    # By the queue id an operator comes from Postfix's log to ours.
    attempts = daemon.events("attempt", queue_id=answers.queue_id)
    assert [attempt["outcome"] for attempt in attempts] == ["deferred", "sent"]


def test_each_leg_of_a_fan_out_has_a_backup_of_its_own(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost
) -> None:
    gmail, outlook = next_hop("gmail.com"), next_hop("outlook.com")
    gmail.at("rcpt", RATE_LIMITED, recipient="email1@gmail.com")
    waypost(FAMILY)
    postfix.send(SENDER, ["family@mydomain.net"], plain_message("dinner"))
    outlook.wait_for(1)
    postfix.wait_until_empty()
    assert taken(gmail) == [(("email2@gmail.com",), "dinner")]
    assert taken(outlook) == [(("email1@outlook.com",), "dinner")]


def test_a_leg_that_is_deferred_does_not_repeat_the_other(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost
) -> None:
    gmail, outlook = next_hop("gmail.com"), next_hop("outlook.com")
    for hop, recipient in ((gmail, "email1@gmail.com"), (outlook, "email1@outlook.com")):
        hop.at("rcpt", RATE_LIMITED, recipient=recipient, times=2)
    waypost(FAMILY)
    postfix.send(SENDER, ["family@mydomain.net"], plain_message("dinner"))
    postfix.wait_for_log("1 of 2 legs sent")
    postfix.wait_until_empty()
    assert taken(gmail) == [
        (("email1@gmail.com",), "dinner"),
        (("email2@gmail.com",), "dinner"),
    ]
    assert outlook.messages == []


def test_messages_of_one_connection_do_not_touch_each_other(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost
) -> None:
    gmail = next_hop("gmail.com")
    waypost(EVERYONE)
    with postfix.smtp() as client:
        deliver(client, SENDER, ["anna@mydomain.net"], plain_message("first"))
        client.mail(SENDER)
        client.rcpt("never@mydomain.net")
        client.rset()
        deliver(client, SENDER, ["ben@mydomain.net"], plain_message("second"))
        deliver(client, SENDER, ["carla@mydomain.net"], plain_message("third"))
    gmail.wait_for(3)
    postfix.wait_until_empty()
    assert taken(gmail) == [
        (("catchall+anna@gmail.com",), "first"),
        (("catchall+ben@gmail.com",), "second"),
        (("catchall+carla@gmail.com",), "third"),
    ]


def test_one_message_to_three_routes_and_to_somewhere_else(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost
) -> None:
    gmail, outlook, gmx = next_hop("gmail.com"), next_hop("outlook.com"), next_hop("gmx.de")
    waypost("""
        [routes.anna]
        match.exact = ["anna@mydomain.net"]
        deliver = ["anna@gmail.com"]
        [routes.ben]
        match.subdomain = ["ben.mydomain.net"]
        deliver = ["ben@outlook.com"]
        [routes.carla]
        match.regex = ['c(arla)?-.*@seconddomain\\.de']
        deliver = ["carla@gmx.de"]
    """)
    recipients = ["anna@mydomain.net", "x@deep.ben.mydomain.net", "c-shop@seconddomain.de"]
    foreign = "somebody@foreign.example"
    postfix.send(SENDER, [*recipients, foreign], plain_message("for many"), client=INSIDE)
    postfix.wait_until_empty()
    assert taken(gmail) == [(("anna@gmail.com",), "for many")]
    assert taken(outlook) == [(("ben@outlook.com",), "for many")]
    assert taken(gmx) == [(("carla@gmx.de",), "for many")]
    assert ((foreign,), "for many") in taken(postfix.elsewhere)


def test_recipients_of_one_message_have_destinations_of_their_own(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost
) -> None:
    gmail = next_hop("gmail.com")
    waypost(EVERYONE)
    postfix.send(SENDER, ["anna@mydomain.net", "ben@mydomain.net"], plain_message("for two"))
    gmail.wait_for(2)
    postfix.wait_until_empty()
    assert taken(gmail) == [
        (("catchall+anna@gmail.com",), "for two"),
        (("catchall+ben@gmail.com",), "for two"),
    ]


def test_a_local_part_that_must_be_quoted(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost
) -> None:
    gmail = next_hop("gmail.com")
    waypost(EVERYONE)
    postfix.send(SENDER, ['"anna b"@mydomain.net'], plain_message("odd"))
    [message] = gmail.wait_for(1)
    assert message.recipients == ('"catchall+anna b"@gmail.com',)


def test_the_null_sender_stays_null(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost
) -> None:
    gmail = next_hop("gmail.com")
    waypost(EVERYONE)
    postfix.send("", ["anna@mydomain.net"], plain_message("a receipt"))
    [message] = gmail.wait_for(1)
    assert message.sender == ""


def test_local_submission_goes_the_same_way(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost
) -> None:
    gmail = next_hop("gmail.com")
    waypost(EVERYONE)
    recipients = ["anna@mydomain.net", "ben@deep.mydomain.net"]
    postfix.sendmail("cron@mydomain.net", recipients, plain_message("from cron"))
    gmail.wait_for(2)
    postfix.wait_until_empty()
    assert taken(gmail) == [
        (("catchall+anna@gmail.com",), "from cron"),
        (("catchall+ben@gmail.com",), "from cron"),
    ]


def test_what_is_not_ours_is_not_touched(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost
) -> None:
    gmail = next_hop("gmail.com")
    waypost(EVERYONE)
    recipient = "somebody@imx.mydomain.net"
    postfix.send(SENDER, [recipient], plain_message("not ours"), client=INSIDE)
    postfix.wait_until_empty()
    assert ((recipient,), "not ours") in taken(postfix.elsewhere)
    assert gmail.messages == []

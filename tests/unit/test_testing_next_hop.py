"""The fake next hop behaves as it is told, and keeps what it got."""

import smtplib
from collections.abc import Iterator

import pytest

from waypost.testing.conversation import Conversation
from waypost.testing.misbehaviours import Hang, hang_up, take_then_hang_up
from waypost.testing.next_hop import FakeNextHop

SENDER, ANNA, BEN = "sender@sender.example", "anna@gmail.com", "ben@gmail.com"
MESSAGE = b"Subject: hello\r\n\r\n.dot\r\n..two dots.\r\nend.\r\n"


@pytest.fixture
def hop() -> Iterator[FakeNextHop]:
    with FakeNextHop("gmail.com") as hop:
        yield hop


@pytest.fixture
def client(hop: FakeNextHop) -> Iterator[smtplib.SMTP]:
    client = connect(hop)
    yield client
    client.close()


def connect(hop: FakeNextHop) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", hop.port, local_hostname="here.example", timeout=10)


def test_keeps_what_it_takes(hop: FakeNextHop, client: smtplib.SMTP) -> None:
    client.sendmail(SENDER, [ANNA, BEN], MESSAGE, ["BODY=8BITMIME"], ["NOTIFY=NEVER"])
    [message] = hop.wait_for(1)
    assert (message.sender, message.recipients) == (SENDER, (ANNA, BEN))
    assert message.data == MESSAGE
    assert message.parsed["Subject"] == "hello"
    assert message.mail_parameters == "BODY=8BITMIME"
    assert message.rcpt_parameters == ("NOTIFY=NEVER", "NOTIFY=NEVER")
    assert hop.commands[-1] == "data"


@pytest.mark.parametrize("data", [b"", b".\r\n", b"\r\n", b"no header, ends with a dot.\r\n"])
def test_ends_a_message_at_the_dot_alone(
    hop: FakeNextHop, client: smtplib.SMTP, data: bytes
) -> None:
    client.ehlo()
    client.mail("")
    client.rcpt(ANNA)
    client.docmd("DATA")
    stuffed = b"." + data if data.startswith(b".") else data
    client.send(stuffed + b".\r\n")
    assert client.getreply()[0] == 250
    assert [message.data for message in hop.messages] == [data]


@pytest.mark.parametrize("stage", ["ehlo", "mail", "rcpt", "data", "dot", "rset"])
def test_answers_by_script(hop: FakeNextHop, client: smtplib.SMTP, stage: str) -> None:
    hop.at(stage, "451 4.7.650 not now")
    replies = {
        "ehlo": client.ehlo()[0],
        "mail": client.docmd(f"MAIL FROM:<{SENDER}>")[0],
        "rcpt": client.docmd(f"RCPT TO:<{ANNA}>")[0],
        "data": client.docmd("DATA")[0],
    }
    if replies["data"] == 354:
        client.send(b".\r\n")
        replies["dot"] = client.getreply()[0]
    replies["rset"] = client.docmd("RSET")[0]
    assert replies[stage] == 451
    if stage in ("mail", "rcpt", "data", "dot"):
        assert hop.messages == []
    else:
        assert len(hop.messages) == 1


def test_answers_a_greeting_by_script(hop: FakeNextHop) -> None:
    hop.at("greeting", "554 5.7.1 not you", times=1)
    with pytest.raises(smtplib.SMTPConnectError) as refused:
        connect(hop)
    assert refused.value.smtp_code == 554
    connect(hop).close()
    assert hop.connections == 2


def test_answers_one_recipient_and_some_times(hop: FakeNextHop, client: smtplib.SMTP) -> None:
    hop.at("rcpt", "550 5.1.1 unknown", recipient="BEN@gmail.com", times=2)
    client.ehlo()
    client.mail(SENDER)
    assert [client.rcpt(ben)[0] for ben in (ANNA, BEN, BEN, BEN)] == [250, 550, 550, 250]
    hop.at("rcpt", "452 4.2.2 full")
    assert client.rcpt(ANNA)[0] == 452
    hop.behave()
    assert client.rcpt(ANNA)[0] == 250


def test_421_closes_the_connection(hop: FakeNextHop, client: smtplib.SMTP) -> None:
    hop.at("mail", "421 4.7.0 later")
    client.ehlo()
    assert client.docmd(f"MAIL FROM:<{SENDER}>")[0] == 421
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()


@pytest.mark.parametrize("stage", ["ehlo", "mail", "rcpt", "data", "dot"])
def test_hangs_up(hop: FakeNextHop, client: smtplib.SMTP, stage: str) -> None:
    hop.at(stage, hang_up)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.sendmail(SENDER, [ANNA], MESSAGE)
    assert hop.messages == []


def test_takes_the_message_and_hangs_up(hop: FakeNextHop, client: smtplib.SMTP) -> None:
    hop.at("dot", take_then_hang_up)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.sendmail(SENDER, [ANNA], MESSAGE)
    assert [message.data for message in hop.messages] == [MESSAGE]


def test_hangs_until_released(hop: FakeNextHop, client: smtplib.SMTP) -> None:
    hang = Hang(then="450 4.2.0 that took long")
    hop.at("rcpt", hang, times=1)
    client.ehlo()
    client.mail(SENDER)
    client.putcmd("RCPT", f"TO:<{ANNA}>")
    hang.wait_until_reached()
    hang.release()
    assert client.getreply()[0] == 450


def test_goes_down_and_comes_up_on_the_same_port(hop: FakeNextHop, client: smtplib.SMTP) -> None:
    client.ehlo()
    hop.down()
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()
    with pytest.raises(ConnectionRefusedError):
        connect(hop)
    hop.up()
    connect(hop).close()


def test_stops_while_a_client_is_kept_waiting() -> None:
    hang = Hang()
    with FakeNextHop() as hop:
        hop.at("ehlo", hang)
        client = connect(hop)
        client.putcmd("EHLO", "here.example")
        hang.wait_until_reached()
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.getreply()
    client.close()


def test_offers_the_extensions_it_is_given(hop: FakeNextHop, client: smtplib.SMTP) -> None:
    hop.extensions = ("SIZE 1000",)
    client.ehlo()
    assert client.esmtp_features == {"size": "1000"}


@pytest.mark.parametrize(
    "path", ['"a b>c"@gmail.com', '"a\\"b"@gmail.com', "a=b@gmail.com", "ü@gmail.com"]
)
def test_reads_any_address(hop: FakeNextHop, client: smtplib.SMTP, path: str) -> None:
    client.ehlo()
    client.command_encoding = "utf-8"
    client.docmd("MAIL FROM:<> SMTPUTF8")
    client.docmd(f"RCPT TO:<{path}>")
    client.data(MESSAGE)
    assert hop.messages[0].recipients == (path,)


def test_orders_messages_across_next_hops() -> None:
    def deliver(hop: FakeNextHop) -> None:
        with connect(hop) as client:
            client.sendmail(SENDER, [ANNA], MESSAGE)

    with FakeNextHop("first") as first, FakeNextHop("second") as second:
        for hop in (second, first, second):
            deliver(hop)
        taken = sorted([*first.messages, *second.messages], key=lambda message: message.order)
        assert [message in first.messages for message in taken] == [False, True, False]


def test_says_what_it_heard_when_a_message_does_not_come(hop: FakeNextHop) -> None:
    with pytest.raises(TimeoutError, match=r"1 messages at gmail.com; it has 0"):
        hop.wait_for(1, seconds=0)


def test_a_misbehaviour_of_ones_own(hop: FakeNextHop, client: smtplib.SMTP) -> None:
    async def two_replies(_: Conversation) -> str:
        return "250 2.1.0 one\r\n250 2.1.0 two"

    hop.at("mail", two_replies)
    client.ehlo()
    assert client.mail(SENDER)[1] == b"2.1.0 one"
    assert client.getreply()[1] == b"2.1.0 two"

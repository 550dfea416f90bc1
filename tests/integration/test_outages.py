"""The daemon stops, comes back and reloads while mail is on its way: nothing is lost."""

from __future__ import annotations

import threading

import pytest

from tests.integration.conftest import Configure, MakeNextHop, StartWaypost
from waypost.testing.postfix import PrivatePostfix
from waypost.testing.smtp import plain_message

SENDER, ANNA = "alice@sender.example", "anna@mydomain.net"


def route(*destinations: str) -> str:
    return f"""
        [routes.anna]
        match.exact = ["{ANNA}"]
        deliver = {list(destinations)}
    """


def test_a_stopped_daemon_is_no_reason_to_lose_or_bounce_mail(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost
) -> None:
    gmail = next_hop("gmail.com")
    gmail.at("rcpt", "451 4.3.0 later", times=1)
    daemon = waypost(route("anna@gmail.com"))
    postfix.send(SENDER, [ANNA], plain_message("before"))
    postfix.wait_for_log("0 of 1 legs sent")
    assert daemon.stop() == 0

    answers = postfix.send(SENDER, [ANNA], plain_message("too late"))
    assert (answers.mail.code // 100, answers.dot) == (4, None)
    postfix.sendmail("cron@mydomain.net", [ANNA], plain_message("local"))
    postfix.wait_until_deferred("cron@mydomain.net")

    daemon.start()
    gmail.wait_for(2)
    postfix.wait_until_empty()
    assert {each.parsed["Subject"] for each in gmail.messages} == {"before", "local"}
    assert "status=bounced" not in postfix.log()


@pytest.mark.parametrize("door", ["pipe"], indirect=True, scope="session")
@pytest.mark.parametrize("broken", ["raise SystemExit(1)", "import no_such_module", None])
def test_a_broken_command_is_no_reason_to_bounce_mail(
    postfix: PrivatePostfix, waypost: StartWaypost, broken: str | None
) -> None:
    """pipe(8) bounces what it cannot explain: the status filter of the fragments."""
    waypost(route("anna@gmail.com"))
    command = postfix.directory / "pipe.py"
    text = command.read_text()
    try:
        command.unlink() if broken is None else command.write_text(broken)
        postfix.send(SENDER, [ANNA], plain_message("unlucky"))
        postfix.wait_until_deferred(SENDER)
    finally:
        command.write_text(text)


def test_a_deferred_message_leaves_by_the_route_of_today(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost, configure: Configure
) -> None:
    gmail, outlook = next_hop("gmail.com"), next_hop("outlook.com")
    gmail.at("rcpt", "451 4.3.0 not today")
    daemon = waypost(route("anna@gmail.com"))
    postfix.send(SENDER, [ANNA], plain_message("reroute"))
    postfix.wait_for_log("0 of 1 legs sent")
    assert daemon.reload(configure(route("anna@outlook.com")))["event"] == "config_loaded"
    asked = gmail.connections
    [message] = outlook.wait_for(1)
    assert message.recipients == ("anna@outlook.com",)
    postfix.wait_until_empty()
    assert (gmail.messages, gmail.connections) == ([], asked)


def test_a_route_that_is_gone_defers(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost, configure: Configure
) -> None:
    gmail = next_hop("gmail.com")
    gmail.at("rcpt", "451 4.3.0 not today")
    daemon = waypost(route("anna@gmail.com"))
    postfix.send(SENDER, [ANNA], plain_message("without a route"))
    postfix.wait_for_log("0 of 1 legs sent")
    daemon.reload(configure(route("anna@gmail.com").replace("anna", "ben")))
    gmail.behave()
    postfix.wait_for_log("4.3.0.*no route for this address")
    daemon.reload(configure(route("anna@gmail.com")))
    gmail.wait_for(1)
    postfix.wait_until_empty()


def test_reloads_under_traffic(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost, configure: Configure
) -> None:
    gmail = next_hop("gmail.com")
    daemon = waypost(route("anna@gmail.com"))
    sent: list[str] = []
    enough = threading.Event()

    def send() -> None:
        while not enough.is_set():
            subject = f"message {len(sent)}"
            answers = postfix.send(SENDER, [ANNA], plain_message(subject))
            assert answers.dot is not None, answers
            sent.append(subject)

    traffic = threading.Thread(target=send)
    traffic.start()
    try:
        for _ in range(4):
            refused = daemon.reload("domains = [")
            assert refused["event"] == "config_refused"
            so_far = len(gmail.messages)
            gmail.wait_for(so_far + 3)  # by the configuration from before
            loaded = daemon.reload(configure(route("anna@gmail.com")))
            assert loaded["event"] == "config_loaded"
            gmail.wait_for(so_far + 6)
    finally:
        enough.set()
        traffic.join()
    gmail.wait_for(len(sent))
    postfix.wait_until_empty()
    assert sorted(each.parsed["Subject"] for each in gmail.messages) == sorted(sent)

"""A message whose legs do not all succeed at once, tried again and again: one copy each.

It has ten recipients, each with a leg to gmail.com that is sent at the first try and one to
outlook.com that is not. Between the tries something else happens.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.integration.conftest import Configure, MakeNextHop, StartWaypost
from tests.load.world import rows
from waypost.testing.misbehaviours import Hang
from waypost.testing.next_hop import FakeNextHop
from waypost.testing.postfix import PrivatePostfix
from waypost.testing.smtp import plain_message
from waypost.testing.waiting import wait_until

SENDER = "alice@sender.example"
NAMES = [f"user{number}" for number in range(10)]
RECIPIENTS = [f"{name}@mydomain.net" for name in NAMES]
LATER = "451 4.3.0 later"
GMAIL, OUTLOOK, GMX, AOL = (
    f"{{local}}@{domain}" for domain in ("gmail.com", "outlook.com", "gmx.de", "aol.com")
)


def route(*legs: str) -> str:
    return f"""
        [routes.everyone]
        match.catch_all = ["mydomain.net"]
        fan_out = {list(legs)}
    """


def copies(hop: FakeNextHop) -> Counter[str]:
    """How many copies each mailbox there has, by its local part."""
    return Counter(to.partition("@")[0] for each in hop.messages for to in each.recipients)


def asked(hop: FakeNextHop) -> Counter[str]:
    """How often each mailbox there was asked for, by its local part."""
    verb = "RCPT TO:<"
    return Counter(
        line.removeprefix(verb).partition("@")[0] for line in hop.commands if line.startswith(verb)
    )


def each(count: int) -> Counter[str]:
    return Counter(dict.fromkeys(NAMES, count))


def send(postfix: PrivatePostfix) -> None:
    postfix.send(SENDER, RECIPIENTS, plain_message("for ten"))


def wait_until_tried(postfix: PrivatePostfix, told: str) -> None:
    """Return once Postfix has heard `told` of every recipient."""

    def heard() -> bool:
        lines = [line for line in postfix.log().splitlines() if told in line]
        return all(any(f".{name}=mydomain.net" in line for line in lines) for name in NAMES)

    wait_until(heard, lambda: f"{told!r} of every recipient\n{postfix.log()}")


def connections(postfix: PrivatePostfix) -> int:
    """How many the daemon has on its transport socket; those whose client has gone count, too."""
    path = postfix.transport.removeprefix("unix:")
    return -1 + sum(
        line.endswith(f" {path}") for line in Path("/proc/net/unix").read_text().splitlines()
    )


@pytest.fixture
def gmail(next_hop: MakeNextHop) -> FakeNextHop:
    return next_hop("gmail.com")


@pytest.fixture
def outlook(next_hop: MakeNextHop) -> FakeNextHop:
    return next_hop("outlook.com")


def test_a_leg_that_is_deferred_three_times(
    postfix: PrivatePostfix, gmail: FakeNextHop, outlook: FakeNextHop, waypost: StartWaypost
) -> None:
    for name in NAMES:
        outlook.at("rcpt", LATER, recipient=f"{name}@outlook.com", times=3)
    waypost(route(GMAIL, OUTLOOK))
    send(postfix)
    postfix.wait_until_empty()
    assert (copies(gmail), copies(outlook)) == (each(1), each(1))
    assert (asked(gmail), asked(outlook)) == (each(1), each(4))


def test_the_route_is_edited(
    postfix: PrivatePostfix,
    next_hop: MakeNextHop,
    gmail: FakeNextHop,
    outlook: FakeNextHop,
    waypost: StartWaypost,
    configure: Configure,
) -> None:
    """A leg that is added is served, one that is removed dropped, and order means nothing."""
    gmx, aol = next_hop("gmx.de"), next_hop("aol.com")
    for hop in (outlook, aol):
        hop.at("rcpt", LATER)
    daemon = waypost(route(GMAIL, OUTLOOK, AOL))
    send(postfix)
    wait_until_tried(postfix, "1 of 3 legs sent")
    daemon.reload(configure(route(GMX, OUTLOOK, GMAIL)))
    before = asked(aol)
    outlook.behave()
    aol.behave()
    postfix.flush()
    postfix.wait_until_empty()
    assert [copies(hop) for hop in (gmail, outlook, gmx, aol)] == [each(1), each(1), each(1), {}]
    # A try that had begun by the old route may have gone on by it.
    assert asked(gmail) == each(1)
    assert all(asked(aol)[name] <= before[name] + 1 for name in NAMES)


def test_the_daemon_is_killed_and_started_again(
    postfix: PrivatePostfix,
    gmail: FakeNextHop,
    outlook: FakeNextHop,
    waypost: StartWaypost,
    tmp_path: Path,
) -> None:
    outlook.at("rcpt", LATER)
    daemon = waypost(route(GMAIL, OUTLOOK))
    send(postfix)
    wait_until_tried(postfix, "1 of 2 legs sent")
    daemon.kill()
    outlook.behave()
    daemon.start()
    postfix.flush()
    postfix.wait_until_empty()
    assert (copies(gmail), copies(outlook)) == (each(1), each(1))
    assert asked(gmail) == each(1)
    sent = Counter(row.destination for row in rows(tmp_path / "state") if row.outcome == "sent")
    assert set(sent.values()) == {1}


def test_postfix_is_stopped_and_started_between_the_tries(
    postfix: PrivatePostfix, gmail: FakeNextHop, outlook: FakeNextHop, waypost: StartWaypost
) -> None:
    outlook.at("rcpt", LATER)
    waypost(route(GMAIL, OUTLOOK))
    send(postfix)
    wait_until_tried(postfix, "1 of 2 legs sent")
    postfix.stop()
    outlook.behave()
    postfix.start()
    postfix.flush()
    postfix.wait_until_empty()
    assert (copies(gmail), copies(outlook)) == (each(1), each(1))
    assert asked(gmail) == each(1)


def test_postfix_is_stopped_and_started_during_a_try(
    postfix: PrivatePostfix, gmail: FakeNextHop, outlook: FakeNextHop, waypost: StartWaypost
) -> None:
    """It offers the message again while the first try still waits for a reply to its dot."""
    hang = Hang()
    outlook.at("dot", hang)
    daemon = waypost(route(GMAIL, OUTLOOK))
    send(postfix)
    try:
        gmail.wait_for(len(NAMES))
        hang.wait_until_reached()
        offered = connections(postfix)
        postfix.stop()
        postfix.start()
        wait_until(lambda: connections(postfix) >= 2 * offered, "a second offer")
    finally:
        hang.release()
    postfix.wait_until_empty()
    assert (copies(gmail), copies(outlook)) == (each(1), each(1))
    assert (asked(gmail), asked(outlook)) == (each(1), each(1))
    # Whoever offered a recipient again was told what became of the first try.
    assert all(len(daemon.events("attempt", recipient=recipient)) == 2 for recipient in RECIPIENTS)

"""A next hop in trouble is left alone while there is another way, and used again when it heals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.integration.conftest import MakeNextHop, StartWaypost
from tests.load.patched import through
from waypost.health import FAILURES
from waypost.testing.daemon import Waypost
from waypost.testing.next_hop import FakeNextHop
from waypost.testing.postfix import PrivatePostfix
from waypost.testing.smtp import plain_message

SENDER = "alice@sender.example"
ROUTE = """
[routes.anna]
match.exact = ["anna@mydomain.net"]
deliver = ["anna@gmail.com", "anna@outlook.com"]
"""
UNUSUAL_RATE = (
    "421-4.7.0 Our system has detected an unusual rate of mail originating from your IP address."
    "\r\n421 4.7.0 To protect our users, mail from it has been temporarily rate limited. gsmtp"
)
UNAUTHENTICATED = "550 5.7.26 This mail has been blocked because the sender is unauthenticated."


def send(postfix: PrivatePostfix, count: int, *hops: FakeNextHop) -> None:
    """Send messages one by one, each when one of the next hops has taken the one before."""
    for _ in range(count):
        taken = sum(len(hop.messages) for hop in hops)
        postfix.send(SENDER, ["anna@mydomain.net"], plain_message("news"))
        postfix.wait_until_empty()
        assert sum(len(hop.messages) for hop in hops) == taken + 1


def health(daemon: Waypost, *options: str) -> tuple[int, Sequence[str]]:
    """What `waypost health` says: exit status and lines."""
    command = [sys.executable, "-m", "waypost.cli.main", "--config", str(daemon.config)]
    run = subprocess.run(
        [*command, "health", *options], capture_output=True, text=True, check=False
    )
    assert not run.stderr
    return run.returncode, run.stdout.splitlines()


@pytest.fixture
def gmail(next_hop: MakeNextHop) -> FakeNextHop:
    return next_hop("gmail.com")


@pytest.fixture
def outlook(next_hop: MakeNextHop) -> FakeNextHop:
    return next_hop("outlook.com")


def test_a_primary_in_trouble_gets_no_more_than_the_probes(
    postfix: PrivatePostfix, gmail: FakeNextHop, outlook: FakeNextHop, waypost: StartWaypost
) -> None:
    gmail.at("greeting", UNUSUAL_RATE)
    daemon = waypost(ROUTE, through=through({"waypost.health.FIRST_PAUSE": 0.2}))
    send(postfix, FAILURES, gmail, outlook)
    assert daemon.events("circuit_opened")

    probes_before_it_heals = 3
    while len(daemon.events("circuit_stays_open")) < probes_before_it_heals:
        send(postfix, 1, gmail, outlook)
    gmail.behave()
    while not daemon.events("circuit_closed"):
        send(postfix, 1, gmail, outlook)
    # What it saw until then: what opened the circuit, and then a connection for each probe.
    assert len(gmail.messages) == 1
    assert gmail.connections == FAILURES + probes_before_it_heals + 1
    pauses = [event["pause"] for event in daemon.events("circuit_stays_open")]
    assert pauses == [0.4, 0.8, 1.6]

    send(postfix, 5, gmail)
    assert len(gmail.messages) == 6
    # No message had to wait for a second try, at any time.
    assert "status=deferred" not in postfix.log()


def test_an_open_circuit_is_shown_and_survives_the_daemon(
    postfix: PrivatePostfix, gmail: FakeNextHop, outlook: FakeNextHop, waypost: StartWaypost
) -> None:
    gmail.at("mail", UNUSUAL_RATE)
    daemon = waypost(ROUTE)
    send(postfix, FAILURES + 1, outlook)
    assert gmail.connections == FAILURES

    daemon.kill()
    daemon.start()
    send(postfix, 3, outlook)
    assert gmail.connections == FAILURES
    assert "status=deferred" not in postfix.log()

    status, lines = health(daemon, "--json")
    told = {each["next_hop"]: each for each in map(json.loads, lines)}
    assert status == 3
    assert told[gmail.url]["state"] == "open"
    assert told[gmail.url]["reason"] == "421 throttled"
    assert (told[gmail.url]["deferred"], told[gmail.url]["sent"]) == (FAILURES, 0)
    assert (told[outlook.url]["state"], told[outlook.url]["sent"]) == ("closed", FAILURES + 4)
    status, lines = health(daemon)
    assert status == 3
    assert any(gmail.url in line and "open since" in line for line in lines)


def test_what_is_wrong_with_one_message_opens_nothing(
    postfix: PrivatePostfix, gmail: FakeNextHop, outlook: FakeNextHop, waypost: StartWaypost
) -> None:
    gmail.at("dot", UNAUTHENTICATED)
    daemon = waypost(ROUTE)
    send(postfix, 2 * FAILURES, outlook)
    assert len([line for line in gmail.commands if line == "DATA"]) == 2 * FAILURES
    assert not daemon.events("circuit_opened")
    status, lines = health(daemon)
    assert status == 0
    assert all("closed" in line for line in lines[1:])

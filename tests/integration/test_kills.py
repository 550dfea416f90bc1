"""The daemon is killed at a named point; what there is then, and what becomes of the message.

A message has two legs. At the first try gmail.com takes its copy and outlook.com does not answer.
The second try has only outlook.com to ask: there the daemon dies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import (
    DOMAINS,
    MakeNextHop,
    StartWaypost,
    configuration,
    private_postfix,
)
from tests.load.patched import Point, through
from tests.load.world import Killing, outcomes, wait_until_dead
from waypost.testing.daemon import Waypost
from waypost.testing.next_hop import FakeNextHop
from waypost.testing.postfix import PrivatePostfix
from waypost.testing.smtp import plain_message

SENDER = "alice@sender.example"
FAMILY = """
[routes.family]
match.exact = ["family@mydomain.net"]
fan_out = ["a@gmail.com", "b@outlook.com"]
"""
# What the journal knows of a message whose second try has only outlook.com to ask.
FIRST_TRY = [("a@gmail.com", "sent"), ("b@outlook.com", "deferred")]


@dataclass(frozen=True, slots=True)
class Expected:
    """What there is when the daemon has died at a point, and in the end."""

    taken: int
    """Copies that outlook.com has."""
    journal: list[tuple[str, str]]
    copies: int
    """Copies that outlook.com has in the end: two where nobody could know of the first."""


IN_DOUBT = Expected(1, FIRST_TRY, 2)
KNOWN = Expected(1, [*FIRST_TRY, ("b@outlook.com", "sent")], 1)


class Scene:
    """One message on its way through a Postfix whose daemon is going to die."""

    def __init__(
        self,
        postfix: PrivatePostfix,
        gmail: FakeNextHop,
        outlook: FakeNextHop,
        waypost: StartWaypost,
        state: Path,
    ) -> None:
        self.gmail, self.outlook = gmail, outlook
        self._postfix = postfix
        self._waypost = waypost
        self._state = state
        outlook.at("greeting", "421 4.3.2 not yet", times=1)

    def send_until_first_try_is_over(self, daemon: Waypost) -> None:
        self._postfix.send(SENDER, ["family@mydomain.net"], plain_message("dinner"))
        daemon.wait_for_event("recipient_finished")

    def turns_out(self, daemon: Waypost, expected: Expected) -> None:
        wait_until_dead(daemon)
        assert (len(self.gmail.messages), len(self.outlook.messages)) == (1, expected.taken)
        queued = self._postfix.wait_until_deferred(SENDER)
        assert len(queued.reasons) == 1
        assert outcomes(self._state) == expected.journal

        self.outlook.behave()
        asked = len(self.outlook.commands)
        self._waypost(FAMILY)
        self._postfix.flush()
        self._postfix.wait_until_empty()
        assert (len(self.gmail.messages), len(self.outlook.messages)) == (1, expected.copies)
        assert outcomes(self._state) == KNOWN.journal
        if expected is KNOWN:
            assert len(self.outlook.commands) == asked, "the restarted daemon asks again"
        assert "status=bounced" not in self._postfix.log()


@pytest.fixture
def scene(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost, tmp_path: Path
) -> Scene:
    gmail, outlook = next_hop("gmail.com"), next_hop("outlook.com")
    return Scene(postfix, gmail, outlook, waypost, tmp_path / "state")


lmtp_only = pytest.mark.parametrize("door", ["lmtp"], indirect=True, scope="session")


@lmtp_only
@pytest.mark.parametrize(
    ("point", "on", "expected"),
    [
        # Connections: one each in the first try, then outlook.com's.
        ("before connect", 3, Expected(0, FIRST_TRY, 1)),
        # Attempts recorded: two in the first try, then outlook.com's.
        ("before commit", 3, IN_DOUBT),
        ("after commit", 3, KNOWN),
    ],
)
def test_inside_the_daemon(
    scene: Scene, waypost: StartWaypost, point: Point, on: int, expected: Expected
) -> None:
    daemon = waypost(FAMILY, through=through(dies=point, on=on))
    scene.send_until_first_try_is_over(daemon)
    scene.turns_out(daemon, expected)


def test_before_the_reply(scene: Scene, waypost: StartWaypost) -> None:
    daemon = waypost(FAMILY, through=through(dies="before reply", on=2))
    scene.send_until_first_try_is_over(daemon)
    scene.turns_out(daemon, KNOWN)


@lmtp_only
def test_after_rcpt(scene: Scene, waypost: StartWaypost) -> None:
    daemon = waypost(FAMILY)
    scene.outlook.at("data", Killing(daemon))
    scene.send_until_first_try_is_over(daemon)
    scene.turns_out(daemon, Expected(0, FIRST_TRY, 1))


def test_after_the_dot(scene: Scene, waypost: StartWaypost) -> None:
    daemon = waypost(FAMILY)
    scene.outlook.at("dot", Killing(daemon, taking=True))
    scene.send_until_first_try_is_over(daemon)
    scene.turns_out(daemon, IN_DOUBT)


@contextmanager
def postfix_that_goes_on_without_a_milter(action: str) -> Iterator[PrivatePostfix]:
    """A Postfix with this milter_default_action; the fragments' is `tempfail`."""
    made = private_postfix("lmtp", DOMAINS)
    main = made.config_directory / "main.cf"
    main.write_text(main.read_text().replace("default_action=tempfail", f"default_action={action}"))
    with made as postfix:
        yield postfix


@pytest.mark.parametrize(("action", "code"), [("tempfail", 4), ("accept", 2)])
def test_in_the_milter_between_add_and_delete(tmp_path: Path, action: str, code: int) -> None:
    """Refused, it has to come again; accepted, it has both recipients, and they are one."""
    with (
        FakeNextHop("gmail.com") as gmail,
        FakeNextHop("outlook.com") as outlook,
        postfix_that_goes_on_without_a_milter(action) as postfix,
    ):
        hops = {"gmail.com": gmail.url, "outlook.com": outlook.url}
        config = configuration(postfix, tmp_path, FAMILY, hops)
        with Waypost(config, tmp_path, through=through(dies="before delete")) as daemon:
            message = plain_message("dinner")
            answers = postfix.send(SENDER, ["family@mydomain.net"], message)
            wait_until_dead(daemon)
        assert answers.dot is not None
        assert answers.dot.code // 100 == code
        assert not gmail.messages
        assert not outlook.messages
        queued = [recipient for each in postfix.queue() for recipient in each.reasons]
        domains = sorted(recipient.rpartition("@")[2] for recipient in queued)
        assert domains == ([] if code == 4 else ["mydomain.net", "waypost.invalid"])
        assert outcomes(tmp_path / "state") == []

        with Waypost(config, tmp_path):
            if code == 4:
                postfix.send(SENDER, ["family@mydomain.net"], message)
            postfix.flush()
            gmail.wait_for(1)
            postfix.wait_until_empty()
        assert (len(gmail.messages), len(outlook.messages)) == (1, 1)
        assert outcomes(tmp_path / "state") == [("a@gmail.com", "sent"), ("b@outlook.com", "sent")]

"""`failover_after`, from the words of the file to what a leg does with a receiver's reply."""

from __future__ import annotations

from pathlib import Path

import pytest

from waypost.address import Address
from waypost.config.values import FAILING_REPLY_CLASSES
from waypost.load import load
from waypost.outcome import Attempt, Deferred, Stage, judge
from waypost.plan import Ask, History, Rest, leg_state
from waypost.plugins import load_plugins
from waypost.reply import Reply
from waypost.resolver import Routed

TOML = """
domains = ["mydomain.net"]
[defaults]
failover_after = { throttled = "1h", mailbox_full = 60 }
[routes.user1]
match.exact = ["user1@mydomain.net"]
deliver = ["user1@gmail.com", "user1@outlook.com"]
[routes.user2]
match.exact = ["user2@mydomain.net"]
deliver = ["user2@gmail.com", "user2@outlook.com"]
failover_after = { greylisted = 0, throttled = "2h" }
"""
GREYLISTED = "450 4.2.0 Recipient address rejected: Greylisted"
THROTTLED = "451 4.7.650 The mail server has been temporarily rate limited due to IP reputation"
FULL = "452 4.2.2 over quota"
TROUBLE = "451 4.3.0 trouble"
MINUTE = 60.0


@pytest.mark.parametrize(
    ("user", "line", "seconds"),
    [
        # By default, by [defaults], and by the route.
        ("user1", TROUBLE, 0),
        ("user1", GREYLISTED, 15 * MINUTE),
        ("user1", THROTTLED, 60 * MINUTE),
        ("user1", FULL, MINUTE),
        ("user2", TROUBLE, 0),
        ("user2", GREYLISTED, 0),
        ("user2", THROTTLED, 120 * MINUTE),
        ("user2", FULL, MINUTE),
    ],
)
async def test_a_leg_stays_as_long_as_the_file_says(
    user: str, line: str, seconds: float, tmp_path: Path
) -> None:
    path = tmp_path / "waypost.toml"
    path.write_text(TOML)
    loaded = load(path, load_plugins())
    recipient = f"{user}@mydomain.net"
    resolution = await loaded.resolver.resolve(Address.parse(recipient))
    assert isinstance(resolution, Routed)
    (leg,) = resolution.legs
    first, second = leg.destinations

    def attempt(at: float) -> Attempt:
        outcome = judge(Stage.RCPT, Reply.own(line))
        assert isinstance(outcome, Deferred)
        return Attempt(recipient, leg.name, first.to, first.next_hop.name, at, outcome)

    def after(passed: float) -> object:
        # The wait runs from the first answer of this class; the latest has just come.
        history = History([attempt(1000.0)], [attempt(1000.0 + passed)])
        return leg_state(leg, recipient, resolution.match.route, history, 1000.0 + passed)

    if seconds:
        assert after(0.0) is Rest.WAITING
        assert after(seconds - 1) is Rest.WAITING
    assert after(seconds) == Ask(second)


def test_every_class_can_be_waited_for(tmp_path: Path) -> None:
    every = ", ".join(f"{name} = {place}" for place, name in enumerate(FAILING_REPLY_CLASSES))
    path = tmp_path / "waypost.toml"
    path.write_text(TOML.replace('throttled = "1h", mailbox_full = 60', every))
    user1, _ = load(path, load_plugins()).config.routes
    assert user1.failover_after == {name: place for place, name in enumerate(FAILING_REPLY_CLASSES)}

"""Two hosts that forward to each other."""

from __future__ import annotations

from pathlib import Path

from tests.integration.conftest import configuration, private_postfix
from waypost.postfix import Door
from waypost.testing.daemon import Waypost
from waypost.testing.postfix import PrivatePostfix
from waypost.testing.smtp import plain_message


def forwards(name: str, postfix: PrivatePostfix, directory: Path, to: str, at: str) -> Waypost:
    """The Waypost of the domain NAME.example, which forwards all its mail to the domain `to`."""
    directory.mkdir()
    domain = f"{name}.example"
    text = configuration(
        postfix,
        directory,
        f"""
        [routes.everyone]
        match.catch_all = ["{domain}"]
        deliver = ["{{local}}@{to}"]
        """,
        {to: at},
        domains=(domain,),
    )
    return Waypost(text, directory)


def test_one_round_and_one_bounce(door: Door, tmp_path: Path) -> None:
    sender, recipient = "alice@sender.example", "anna@east.example"
    with (
        private_postfix(door, ("east.example",), hostname="mx.east.example") as east,
        private_postfix(door, ("west.example",), hostname="mx.west.example") as west,
        forwards("east", east, tmp_path / "east", "west.example", west.url) as waypost_east,
        forwards("west", west, tmp_path / "west", "east.example", east.url) as waypost_west,
    ):
        east.send(sender, [recipient], plain_message("round and round"))
        bounce = east.wait_for_bounce(sender)
        east.wait_until_empty()
        west.wait_until_empty()

        assert bounce.recipients[0]["status"] == "5.4.6"
        assert (len(east.bounces(sender)), west.bounces(sender)) == (1, [])
        assert len(waypost_east.events("recipient_finished")) == 2
        assert len(waypost_west.events("recipient_finished")) == 1

"""A daemon as administrators run it, its next hops, and where it listens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from waypost.testing.daemon import Waypost
from waypost.testing.next_hop import FakeNextHop


@dataclass(frozen=True, slots=True)
class World:
    """What there is while the daemon runs."""

    waypost: Waypost
    milter: str
    transport: str
    gmail: FakeNextHop
    """The next hop of me@mydomain.net."""
    outlook: FakeNextHop
    """The next hop of all others."""


@contextmanager
def running(
    directory: Path, *, milter: str = "", transport: str = "", through: Sequence[str] = ()
) -> Iterator[World]:
    """A daemon. At the end it must stop in good order, without a trouble of its own."""
    milter = milter or f"unix:{directory}/milter.sock"
    transport = transport or f"unix:{directory}/lmtp.sock"
    with FakeNextHop("gmail.com") as gmail, FakeNextHop("outlook.com") as outlook:
        config = _config(directory, milter, transport, gmail, outlook)
        with Waypost(config, directory, through=through) as waypost:
            yield World(waypost, milter, transport, gmail, outlook)
            assert not waypost.stop(), waypost.log()  # None: a test has stopped it
            assert not waypost.events(level="error"), waypost.log()
            assert "Traceback" not in waypost.log()


def _config(
    directory: Path, milter: str, transport: str, gmail: FakeNextHop, outlook: FakeNextHop
) -> str:
    return f"""
domains = ["mydomain.net"]
state = "{directory}/state"
[milter]
listen = "{milter}"
[transport]
listen = "{transport}"
[outgoing]
helo = "mx.mydomain.net"
[next_hops]
"gmail.com" = "{gmail.url}"
"outlook.com" = "{outlook.url}"
[routes.me]
match.exact = ["me@mydomain.net"]
deliver = ["me@gmail.com"]
[routes.other]
match.exact = ["other@mydomain.net"]
deliver = ["other@outlook.com"]
[routes.many]
match.plus = ["many@mydomain.net"]
deliver = ["many+{{tag}}@outlook.com"]
"""

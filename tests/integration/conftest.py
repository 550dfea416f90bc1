"""Real mail: a private Postfix by each door, next hops that follow a script, and the daemon.

A test takes `postfix`, makes its next hops with `next_hop("gmail.com")`, then starts Waypost with
`waypost(routes)`, which tells it of those next hops. Postfix is started once per door and emptied
after each test; everything else is made anew. Without Postfix or root the tests are skipped, and
with CI=true they fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from waypost.postfix import Door
from waypost.testing.daemon import Waypost
from waypost.testing.next_hop import FakeNextHop
from waypost.testing.postfix import PostfixUnavailable, PrivatePostfix

DOMAINS = ("mydomain.net", "seconddomain.de")
NOT_OURS = ("imx.mydomain.net",)

MakeNextHop = Callable[[str], FakeNextHop]
Configure = Callable[[str], str]


class StartWaypost(Protocol):
    """Starts Waypost with these routes, `through` another command if given."""

    def __call__(self, routes: str, *, through: Sequence[str] = ()) -> Waypost: ...


def private_postfix(
    door: Door = "pipe",
    domains: tuple[str, ...] = (),
    not_ours: tuple[str, ...] = (),
    hostname: str = "mx.mydomain.net",
) -> PrivatePostfix:
    """A private Postfix, not started; skips the test where there can be none."""
    try:
        return PrivatePostfix(domains, door=door, not_ours=not_ours, hostname=hostname)
    except PostfixUnavailable as unavailable:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(unavailable))


def configuration(
    postfix: PrivatePostfix,
    directory: Path,
    routes: str,
    next_hops: Mapping[str, str],
    domains: tuple[str, ...] = DOMAINS,
    not_ours: tuple[str, ...] = (),
) -> str:
    """A waypost.toml for `postfix`; `next_hops` are URLs by destination domain."""
    lines = "\n".join(f'"{domain}" = "{url}"' for domain, url in next_hops.items())
    return f"""
domains = {list(domains)}
not_ours = {list(not_ours)}
state = "{directory}/state"

[milter]
listen = "{postfix.milter}"
[transport]
listen = "{postfix.transport}"
[outgoing]
helo = "{postfix.hostname}"
[next_hops]
{lines}

{routes}
"""


@pytest.fixture(scope="session", params=["pipe", "lmtp"])
def door(request: pytest.FixtureRequest) -> Door:
    chosen: Door = request.param
    return chosen


@pytest.fixture(scope="session")
def postfix_of_the_session(door: Door) -> Iterator[PrivatePostfix]:
    with private_postfix(door, DOMAINS, NOT_OURS) as postfix:
        yield postfix


@pytest.fixture
def postfix(postfix_of_the_session: PrivatePostfix) -> Iterator[PrivatePostfix]:
    """A Postfix with Waypost attached, its queue and log empty."""
    yield postfix_of_the_session
    print(postfix_of_the_session.log())  # pytest shows it when the test has failed
    postfix_of_the_session.clear()


@pytest.fixture
def next_hops() -> dict[str, str]:
    """Where Waypost is told to deliver, by destination domain."""
    return {}


@pytest.fixture
def next_hop(next_hops: dict[str, str]) -> Iterator[MakeNextHop]:
    """Makes the next hop of a destination domain, for the Waypost that is started after it."""
    with ExitStack() as stack:

        def make(domain: str) -> FakeNextHop:
            hop = stack.enter_context(FakeNextHop(domain))
            next_hops[domain] = hop.url
            return hop

        yield make


@pytest.fixture
def configure(postfix: PrivatePostfix, next_hops: dict[str, str], tmp_path: Path) -> Configure:
    """The text of a waypost.toml with these routes."""
    return lambda routes: configuration(postfix, tmp_path, routes, next_hops, not_ours=NOT_OURS)


@pytest.fixture
def waypost(configure: Configure, tmp_path: Path) -> Iterator[StartWaypost]:
    """Starts Waypost with these routes."""
    with ExitStack() as stack:
        started: list[Waypost] = []

        def start(routes: str, *, through: Sequence[str] = ()) -> Waypost:
            daemon = Waypost(configure(routes), tmp_path, through=through)
            started.append(stack.enter_context(daemon))
            return daemon

        yield start
        for each in started:
            print(each.log())  # pytest shows it when the test has failed

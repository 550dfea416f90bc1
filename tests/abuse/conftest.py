"""One daemon for each file of tests, and somebody good on its sockets for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.abuse.clients import Good
from tests.abuse.world import World, running
from waypost.testing.daemon import Waypost


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("abuse")) as world:
        yield world


@pytest.fixture
def waypost(world: World) -> Waypost:
    return world.waypost


@pytest.fixture
def milter(world: World) -> str:
    """Where the milter listens."""
    return world.milter


@pytest.fixture
def transport(world: World) -> str:
    """Where the transport listens."""
    return world.transport


@pytest.fixture
def good(world: World) -> Iterator[Good]:
    """Somebody who was there before it began, and must get right answers until it is over."""
    with Good.of(world) as good:
        yield good

"""Legs and routes in few words, for the tests of `plan`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from waypost.address import Address
from waypost.route import Destination, Leg, NextHop, Route

RECIPIENT = "user1@mydomain.net"
MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * 3600.0


def destination(name: str) -> Destination:
    """The mailbox `name`, by its own MX or, written `name/relay`, by a relay."""
    local, _, relay = name.partition("/")
    return Destination(
        Address(local, "x.de"), NextHop(relay or "x.de", 25 if relay else None, relay or None)
    )


def leg(*names: str) -> Leg:
    destinations = tuple(destination(name) for name in names)
    return Leg(destinations[0].to.key, destinations)


def route(
    success: Literal["all", "any"] = "all", failover_after: Mapping[str, float] | None = None
) -> Route:
    return Route("r", (), success, failover_after or {})

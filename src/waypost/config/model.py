"""What a configuration is once it has been checked: frozen values, ready for use.

Owns `Config` and `Outgoing`. Nothing here can be wrong any more: `build.read` has refused the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from waypost.config.problems import Closer, Problem
from waypost.config.values import Listen
from waypost.resolver import Domains, MatcherInUse
from waypost.route import NextHops, Route


@dataclass(frozen=True, slots=True)
class Outgoing:
    """How we present ourselves to next hops."""

    helo: str | None = None
    """The name given at EHLO; None: the host's own."""
    bind: str | None = None
    """The IP address that connections come from; None: the system chooses."""
    address_family: Literal["any", "ipv4", "ipv6"] = "any"


@dataclass(frozen=True, slots=True)
class Config:
    """One configuration."""

    domains: Domains
    route_domain: str
    """Canonical; no domain of ours, nor above or below one."""
    state: Path
    """The directory for what must outlive a restart; absolute, need not exist yet."""
    keep: float
    """Seconds for which the journal remembers attempts."""
    milter: Listen
    transport: Listen
    deadline: float
    """Seconds that one try to deliver to one recipient may take."""
    outgoing: Outgoing
    routes: tuple[Route, ...]
    """In file order; defaults and last resort applied."""
    matchers: tuple[MatcherInUse, ...]
    """Those that have rules, in the order in which they are asked."""
    next_hops: NextHops
    failover_after: Mapping[str, float]
    """Of [defaults], as in `Route.failover_after`, where it is applied already."""
    closers: tuple[Closer, ...] = ()
    """To be awaited when a later configuration has taken over and the last `find` has returned."""
    warnings: tuple[Problem, ...] = ()

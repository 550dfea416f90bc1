"""From a recipient to its route.

Owns the order in which matchers are asked, the time limit of those that wait, and the answer: a
`Resolution`, with what the match shadowed when a trace is wanted. Pure: it computes and awaits
matchers, nothing else.

Promises: the same recipient gets the same answer at RCPT and at the transport; a matcher that
raises, times out or breaks its contract ends in `MatcherTrouble`, never in "unknown".
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from waypost.address import Address, Recipient, and_parents
from waypost.hookspecs import Find, Hit
from waypost.route import Fields, Leg, NextHops, Route

FIND_SECONDS = 2.0
"""How long a matcher that waits may take; the SMTP client is still connected."""


@dataclass(frozen=True, slots=True)
class Domain:
    """One of our domains and what holds in it."""

    name: str
    unmatched: Literal["reject", "pass"] = "reject"
    delimiter: str = "+"


@dataclass(frozen=True, slots=True)
class Domains:
    """Our domains with their subdomains, except those that are not ours."""

    ours: Mapping[str, Domain]
    not_ours: frozenset[str] = frozenset()

    def find(self, domain: str) -> Domain | None:
        """The domain that the canonical `domain` falls under; the longest name decides."""
        for each in and_parents(domain):
            if each in self.not_ours:
                return None
            if each in self.ours:
                return self.ours[each]
        return None


@dataclass(frozen=True, slots=True)
class RuleInUse:
    """A rule of the configuration and the route that it leads to."""

    route: Route
    text: str
    """As the operator wrote it."""


@dataclass(frozen=True, slots=True)
class MatcherInUse:
    """A compiled matcher and its rules, in the order that its hits refer to."""

    name: str
    precedence: int
    find: Find
    rules: Sequence[RuleInUse]


@dataclass(frozen=True, slots=True)
class Match:
    """Why a recipient has its route."""

    matcher: str
    rule: str
    route: Route
    fields: Fields = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Routed:
    """The recipient has a route. `legs` is empty when no template made a legal address."""

    recipient: Recipient
    match: Match
    legs: tuple[Leg, ...]
    shadowed: tuple[Match, ...] = ()
    """What would have matched as well; complete only when a trace was asked for."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """One of our domains, where what has no route does not exist (`unmatched = "reject"`)."""

    recipient: Recipient


@dataclass(frozen=True, slots=True)
class Untouched:
    """One of our domains, where Postfix keeps mailboxes of its own (`unmatched = "pass"`)."""

    recipient: Recipient


@dataclass(frozen=True, slots=True)
class NotOurs:
    """Mail to somewhere else; none of our business."""


Resolution = Routed | Unknown | Untouched | NotOurs


class MatcherTrouble(Exception):
    """A matcher failed; the mail has to wait (451 4.3.0). `matcher` names it."""

    def __init__(self, matcher: str, reason: str) -> None:
        super().__init__(f'matcher "{matcher}": {reason}')
        self.matcher = matcher


@dataclass(frozen=True, slots=True)
class Resolver:
    """One configuration's answer to "where does mail for this address go?"."""

    domains: Domains
    matchers: Sequence[MatcherInUse]
    """In the order of precedence."""
    next_hops: NextHops

    async def resolve(self, address: Address, *, trace: bool = False) -> Resolution:
        """The route of `address`, if it has one. Raises MatcherTrouble.

        The first matcher that knows the recipient decides; with `trace` the others are asked too,
        to tell what the match shadows.
        """
        domain = self.domains.find(address.domain)
        if domain is None:
            return NotOurs()
        recipient = Recipient(address, domain.name, domain.delimiter)
        matches: list[Match] = []
        for matcher in self.matchers:
            matches += await _ask(matcher, recipient)
            if matches and not trace:
                break
        if not matches:
            return Untouched(recipient) if domain.unmatched == "pass" else Unknown(recipient)
        return self._routed(recipient, matches)

    def _routed(self, recipient: Recipient, matches: Sequence[Match]) -> Routed:
        match = matches[0]
        try:
            legs = match.route.expand(template_fields(recipient, match), self.next_hops)
        except KeyError as error:
            raise MatcherTrouble(match.matcher, f"its hit lacks the field {error}") from None
        except TypeError as error:
            raise MatcherTrouble(match.matcher, f"in its hit, {error}") from None
        return Routed(recipient, match, legs, tuple(matches[1:]))


def template_fields(recipient: Recipient, match: Match) -> Fields:
    """All fields that the templates of `match.route` may use."""
    return {
        "local": recipient.address.local,
        "tag": recipient.tag,
        "subdomain": recipient.subdomain,
        **match.fields,
    }


async def _ask(matcher: MatcherInUse, recipient: Recipient) -> list[Match]:
    # Plugins are strangers' code: whatever they raise is trouble of ours, never the sender's.
    try:
        found = matcher.find(recipient)
        if inspect.isawaitable(found):
            async with asyncio.timeout(FIND_SECONDS):
                found = await found
        return [_match(matcher, hit) for hit in found]
    except TimeoutError as error:
        raise MatcherTrouble(matcher.name, f"no answer within {FIND_SECONDS:g} s") from error
    except asyncio.CancelledError as error:
        # Unless somebody cancels us, the matcher waited for something that was cancelled elsewhere.
        if (task := asyncio.current_task()) and task.cancelling():
            raise
        raise MatcherTrouble(matcher.name, "what it waited for was cancelled") from error
    except Exception as error:
        raise MatcherTrouble(matcher.name, f"{type(error).__name__}: {error}") from error


def _match(matcher: MatcherInUse, hit: object) -> Match:
    """The match that `hit` stands for. Raises TypeError or IndexError when it stands for none."""
    if not isinstance(hit, Hit):
        raise TypeError(f"{hit!r} is no hit")
    if not all(isinstance(value, str | Address) for value in hit.fields.values()):
        raise TypeError(f"{hit!r} has a field that is neither text nor an address")
    if not 0 <= hit.rule < len(matcher.rules):
        raise IndexError(f"{hit!r} is of a rule that there is not")
    rule = matcher.rules[hit.rule]
    return Match(matcher.name, rule.text, rule.route, hit.fields)

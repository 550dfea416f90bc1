"""The plugin contract: what a matcher is, and the hooks through which a plugin offers it.

A plugin is a module with `waypost_contract = 1` and at least one function marked `@hookimpl`,
announced as an entry point of the group `waypost`. Plugins import from here, from
`waypost.address`, `waypost.route`, `waypost.events` and (in tests) `waypost.testing`, and from
nothing else of Waypost.

Promises to plugins: `compile` is called once per configuration with every rule of the matcher, in
file order, in a thread; `find` is called with recipients of our domains only, never with one that
does not parse. A `find` that raises, or does not answer in time, defers the mail (451 4.3.0): it
never bounces and never makes a recipient unknown.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Generic, Protocol, TypeVar

import pluggy
from pydantic import BeforeValidator, PlainSerializer

from waypost.address import Address, Recipient, canonical_domain
from waypost.events import Event

CONTRACT = 1
"""The number that a plugin states in `waypost_contract`."""

hookspec = pluggy.HookspecMarker("waypost")
hookimpl = pluggy.HookimplMarker("waypost")


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule matched."""

    rule: int
    """Index into the rules that `compile` was given."""
    fields: Mapping[str, str | Address] = field(default_factory=dict)
    """Values for templates. `str` is text that a stranger may have typed; it can only ever become
    part of a local part. `Address` is the operator's: a whole destination."""


Find = Callable[[Recipient], Sequence[Hit] | Awaitable[Sequence[Hit]]]
"""All hits for a recipient, best first; an empty sequence means "not mine". A plain function only
computes; one that waits for something is `async def` and has two seconds."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A matcher made ready for one configuration."""

    find: Find
    fields: Sequence[frozenset[str]] = ()
    """Per rule, the names that its hits carry; empty when no rule's hits carry any."""
    close: Callable[[], Awaitable[None]] | None = None
    """Called when a later configuration has taken over and the last `find` has returned."""


class Report(Protocol):
    """Where `compile` tells what is wrong with a rule; the operator sees file, key and text."""

    def error(self, rule: int, text: str) -> None:
        """The configuration cannot be used. `compile` goes on, so that all errors are told."""

    def warning(self, rule: int, text: str) -> None:
        """The rule works, though perhaps not as it was meant."""

    def duplicate(self, rule: int, of: int) -> None:
        """`rule` matches exactly what the earlier rule `of` matches: an error."""

    def is_ours(self, domain: str) -> bool:
        """Whether mail to the canonical `domain` is asked about at all."""


Rule = TypeVar("Rule")


@dataclass(frozen=True, slots=True)
class Matcher(Generic[Rule]):
    """A way to recognise recipients."""

    name: str
    """The key under `match`."""
    precedence: int
    """Matchers are asked from the lowest to the highest: exact 100, plus 200, subdomain 300,
    regex 400, others, catch_all 900."""
    rule: object
    """The type of one rule; pydantic checks the configuration against it. Never a list."""
    compile: Callable[[Sequence[Rule], Report], Compiled]


class Hooks(Protocol):
    """What a plugin may implement."""

    @hookspec
    def matchers(self) -> Iterable[Matcher[object]]:
        """The matchers of this plugin; called once at the start.

        An exception stops the start and names the plugin.
        """
        raise AssertionError("a specification is not called")

    @hookspec
    def observe(self, event: Event) -> None:
        """Told of every event, afterwards, in a thread of the plugin's own.

        Nothing that happens here touches delivery: an exception is logged, a full queue drops.
        """


def _address(value: object) -> Address:
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise ValueError(
            f'{_shown(value)} is no address; write a text such as "user1@mydomain.net"'
        )
    if value.startswith("@"):
        raise ValueError(
            f'"{value}" is a whole domain; match.catch_all = ["{value[1:]}"] is for that'
        )
    return Address.parse(value)


def _domain(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f'{_shown(value)} is no domain; write a text such as "mydomain.net"')
    return canonical_domain(value)


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


AddressRule = Annotated[
    Address, BeforeValidator(_address, json_schema_input_type=str), PlainSerializer(str)
]
"""For `Matcher.rule`: an address, read and canonical."""

DomainRule = Annotated[str, BeforeValidator(_domain)]
"""For `Matcher.rule`: a domain, canonical."""

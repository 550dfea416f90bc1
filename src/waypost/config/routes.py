"""From the tables under `routes` and `defaults` to `Route`s.

Owns what a route must have, the reading of its destinations, the application of defaults and last
resort, and the check that every field of a template is carried by every rule that leads to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from waypost.address import NotAnAddress
from waypost.config import values
from waypost.config.problems import Findings, Path, did_you_mean, show
from waypost.config.rules import ALWAYS
from waypost.config.tables import DefaultsTable, DestinationTable, RouteTable, Tables
from waypost.config.traps import warn_of_invisible
from waypost.resolver import Domains
from waypost.route import NextHops, Route, Template

Placed = tuple[Path, Template]
"""A template and where it stands in the file."""


@dataclass(frozen=True, slots=True)
class WrittenRoute:
    """A route, and all its templates with their places, the last resort's too."""

    route: Route
    templates: Sequence[Placed]


@dataclass(frozen=True, slots=True)
class RouteReader:
    """Reads the routes of one document."""

    tables: Tables
    domains: Domains | None
    """None when they could not be read: nothing is then said about them."""
    next_hops: NextHops
    found: Findings

    def read(self) -> dict[str, WrittenRoute]:
        """All routes by name."""
        shared = self._last_resort(("defaults",), self.tables.defaults)
        return {
            name: self._route(name, table, shared) for name, table in self.tables.routes.items()
        }

    def _last_resort(self, path: Path, table: DefaultsTable) -> list[Placed]:
        return [
            placed
            for each in table.last_resort or ()
            for placed in self._destination((*path, "last_resort"), each)
        ]

    def _route(self, name: str, table: RouteTable, shared: list[Placed]) -> WrittenRoute:
        path: Path = ("routes", name)
        raw = self.tables.raw("routes", name)
        defaults = self.tables.defaults
        check_name(path, name, self.found)
        self._check_deliver_or_fan_out(path, raw)
        legs = list(self._legs(path, table, raw))
        if "deliver" not in raw:
            self._check_first_destinations(legs)
        last_resort = shared if table.last_resort is None else self._last_resort(path, table)
        route = Route(
            name,
            tuple(tuple(template for _, template in leg) for leg in legs),
            table.success or defaults.success or "all",
            {**defaults.failover_after, **table.failover_after},
        )
        for _, template in last_resort:
            route = route.with_last_resort(template)
        return WrittenRoute(route, [placed for leg in [*legs, last_resort] for placed in leg])

    def _check_deliver_or_fan_out(self, path: Path, raw: Mapping[str, object]) -> None:
        if "deliver" in raw and "fan_out" in raw:
            self.found.error(
                path, "has both deliver and fan_out; one of them is to say where mail goes"
            )
        if "deliver" not in raw and "fan_out" not in raw:
            text = 'has no destination; add one, such as deliver = ["user@example.com"]'
            self.found.error(path, text)
        if raw.get("deliver") == []:
            self.found.error((*path, "deliver"), "the list is empty: there is no destination")
        fan_out = raw.get("fan_out")
        if fan_out == []:
            self.found.error((*path, "fan_out"), "the list is empty: there is no destination")
        if isinstance(fan_out, list):
            for index, leg in enumerate(fan_out):
                if leg == []:
                    self.found.error(
                        (*path, "fan_out", index), "the list is empty: a leg leads somewhere"
                    )

    def _legs(
        self, path: Path, table: RouteTable, raw: Mapping[str, object]
    ) -> Iterator[list[Placed]]:
        if table.deliver:
            yield list(self._leg((*path, "deliver"), table.deliver))
        raw_legs = raw.get("fan_out")
        for index, leg in enumerate(table.fan_out or ()):
            leg_path = (*path, "fan_out", index)
            if isinstance(raw_legs, list) and isinstance(raw_legs[index], list):
                yield list(self._leg(leg_path, leg))
            else:
                yield [placed for each in leg for placed in self._destination(leg_path, each)]

    def _leg(self, path: Path, leg: Sequence[DestinationTable]) -> Iterator[Placed]:
        for index, table in enumerate(leg):
            yield from self._destination((*path, index), table)

    def _destination(self, path: Path, table: DestinationTable) -> Iterator[Placed]:
        """The template and its place; nothing when it is none."""
        if table.via is not None:
            check_relay(path, table.via, self.tables.names("relays"), self.found)
        try:
            template = Template.parse(table.to, table.via)
        except NotAnAddress as error:
            self.found.error(path, f"{error}{_address_hint(table.to)}")
            return
        if table.to.lower().startswith("mailto:"):
            self.found.error(path, f'{show(table.to)}: write the address without "mailto:"')
        warn_of_invisible(path, table.to, self.found)
        if "${" in table.to:
            self.found.warning(path, f'{show(table.to)}: a field has no "$" before it')
        self._check_where_it_leads(path, template)
        yield path, template

    def _check_where_it_leads(self, path: Path, template: Template) -> None:
        domain = template.domain
        if domain is None:
            return
        try:
            values.check_no_ip_address(domain)
        except ValueError as error:
            self.found.error(path, str(error))
        if domain == self.tables.top.route_domain:
            self.found.error(path, f'"{domain}" is the route domain; no mail is written to it')
        ours = self.domains is not None and self.domains.find(domain) is not None
        if ours and template.via is None and domain not in self.next_hops.by_domain:
            text = (
                f'"{domain}" is one of our own domains, so this mail would come straight back; '
                f'say who takes it: {{ to = "{template.text}", via = "a relay" }}, '
                f'or "{domain}" under [next_hops]'
            )
            self.found.error(path, text)

    def _check_first_destinations(self, legs: Sequence[Sequence[Placed]]) -> None:
        seen: set[str] = set()
        for leg in legs:
            if leg:
                path, template = leg[0]
                if template.text in seen:
                    text = "an earlier leg starts with this destination too; this one is left out"
                    self.found.warning(path, text)
                seen.add(template.text)


def _address_hint(text: str) -> str:
    if re.search(r"@[^,;@]*[,;]", text):
        return "; each destination has quotes of its own"
    return "; write the address alone" if re.search(r"\S\s*<.*>", text) else ""


def check_fields(
    written: WrittenRoute, carried: Sequence[tuple[str, frozenset[str]]], found: Findings
) -> None:
    """Report fields that are not there. `carried`: the route's rules, and what their hits carry."""
    for path, template in written.templates:
        for name in sorted(template.fields):
            if name in ALWAYS:
                if template.domain is None:
                    text = (
                        f"{{{name}}} is what a stranger typed; it can be part of a local part "
                        f'only, such as "{{{name}}}@example.com"'
                    )
                    found.error(path, text)
                continue
            lacking = [place for place, names in carried if name not in names]
            if lacking:
                found.error(path, _lacks(name, lacking, carried, written.route.name))


def _lacks(
    name: str,
    lacking: Sequence[str],
    carried: Sequence[tuple[str, frozenset[str]]],
    route: str,
) -> str:
    if len(lacking) < len(carried):
        return f'not every rule of the route "{route}" has a field "{name}": {lacking[0]} lacks it'
    known = sorted({*ALWAYS, *(each for _, names in carried for each in names)})
    there_are = f"; there are {', '.join(f'{{{each}}}' for each in known)}"
    return f'no rule of the route "{route}" has a field "{name}"' + (
        did_you_mean(name, known) or there_are
    )


def check_name(path: Path, name: str, found: Findings) -> None:
    """Report a name of a route or relay that is none."""
    try:
        values.name(name)
    except ValueError as error:
        found.error(path, str(error))


def check_relay(path: Path, name: str, relays: Sequence[str], found: Findings) -> None:
    """Report a relay that is not there."""
    if name in relays:
        return
    suggestion = did_you_mean(name, relays) or f"; [relays.{name}] with a url makes one"
    text = f'no relay "{name}"{suggestion}'
    try:
        values.name(name)
    except ValueError:
        text = (
            f"a relay's name is wanted here, not {show(name)}; [relays.NAME] with a url makes one"
        )
    found.error(path, text)

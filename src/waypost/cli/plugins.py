"""`waypost plugins`: the installed matchers, where they come from, and what their rules are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import cast

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from waypost.hookspecs import AddressRule, DomainRule, Matcher
from waypost.plugins import Plugins, load_plugins


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    subparsers.add_parser(
        "plugins",
        help="list the installed matchers",
        description="List the installed matchers in the order in which they are asked. Exit status"
        " 1 when a plugin cannot be used.",
    )


def run(args: argparse.Namespace) -> int:  # noqa: ARG001  # every command has this form
    """Exit status 1 when there is a plugin that cannot be used."""
    plugins = load_plugins()
    for line in _table(_rows(plugins)):
        print(line)
    for name in plugins.observers:
        print(f"observer: {name}")
    for problem in plugins.problems:
        print(f"{problem.plugin}: {problem.text}", file=sys.stderr)
    return 1 if plugins.problems else 0


def _rows(plugins: Plugins) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("MATCHER", "PRECEDENCE", "RULE", "FROM")]
    for matcher in plugins.matchers:
        origin = plugins.origins[matcher.name]
        source = f"{origin.distribution} {origin.version}"
        rows.append((matcher.name, str(matcher.precedence), rule_form(matcher), source))
    return rows


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def rule_form(matcher: Matcher[object]) -> str:
    """What one rule looks like in the file: `address`, `string`, `{ table, column? }`."""
    if matcher.rule == AddressRule:
        return "address"
    if matcher.rule == DomainRule:
        return "domain"
    try:
        schema = TypeAdapter(cast("type[object]", matcher.rule)).json_schema()
    except PydanticUserError:  # a type that JSON has no word for
        return str(matcher.rule)
    if "properties" in schema:
        required = schema.get("required", ())
        keys = [key if key in required else f"{key}?" for key in schema["properties"]]
        return f"{{ {', '.join(keys)} }}"
    return str(schema.get("type", matcher.rule))

"""`waypost check`: whether the configuration can be used, and everything that is wrong with it.

With `--schema` it prints what may be written in one, for editors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from waypost.config import Config, ConfigError, Problem
from waypost.config.schema import json_schema
from waypost.config.values import duration_text
from waypost.load import load
from waypost.plugins import Plugins, load_plugins
from waypost.postfix import maximal_queue_lifetime


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "check",
        help="check the configuration",
        description="Check the configuration and tell all its errors and warnings, each with file"
        " and key. Exit status 1 when there is an error.",
    )
    parser.add_argument(
        "--schema",
        action="store_true",
        help="print the JSON Schema of configurations instead, for editors; no file is read",
    )


def run(args: argparse.Namespace) -> int:
    """Exit status 0: it can be used, perhaps with warnings; 1: it cannot."""
    if args.schema:
        return _print_schema(load_plugins())
    try:
        config = load(Path(args.config), load_plugins()).config
        asyncio.run(_close(config))
        _refuse_to_forget_too_soon(config.keep)
    except ConfigError as error:
        for problem in error.problems:
            print(f"{args.config}: {problem}", file=sys.stderr)
        return 1
    for warning in config.warnings:
        print(f"{args.config}: {warning}", file=sys.stderr)
    rules = sum(len(matcher.rules) for matcher in config.matchers)
    print(f"ok: {_count(len(config.routes), 'route')}, {_count(rules, 'rule')}")
    return 0


def _refuse_to_forget_too_soon(keep: float) -> None:
    lifetime = maximal_queue_lifetime()
    if lifetime is not None and keep < lifetime:
        text = (
            f"is shorter than the {duration_text(lifetime)} for which this Postfix keeps a message"
            " (maximal_queue_lifetime): what was sent of it would be sent again; write"
            f' "{duration_text(lifetime)}" or more'
        )
        raise ConfigError([Problem("keep", text)])


def _print_schema(plugins: Plugins) -> int:
    for problem in plugins.problems:
        print(f"{problem.plugin}: {problem.text}", file=sys.stderr)
    if plugins.problems:
        return 1
    print(json.dumps(json_schema(plugins.matchers), indent=2))
    return 0


async def _close(config: Config) -> None:
    for close in config.closers:
        await close()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

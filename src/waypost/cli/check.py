"""`waypost check`: whether the configuration can be used, and everything that is wrong with it."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from waypost.config import Config, ConfigError
from waypost.load import load
from waypost.plugins import load_plugins


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    subparsers.add_parser(
        "check",
        help="check the configuration",
        description="Check the configuration and tell all its errors and warnings, each with file"
        " and key. Exit status 1 when there is an error.",
    )


def run(args: argparse.Namespace) -> int:
    """Exit status 0: it can be used, perhaps with warnings; 1: it cannot."""
    try:
        config = load(Path(args.config), load_plugins()).config
    except ConfigError as error:
        for problem in error.problems:
            print(f"{args.config}: {problem}", file=sys.stderr)
        return 1
    asyncio.run(_close(config))
    for warning in config.warnings:
        print(f"{args.config}: {warning}", file=sys.stderr)
    rules = sum(len(matcher.rules) for matcher in config.matchers)
    print(f"ok: {_count(len(config.routes), 'route')}, {_count(rules, 'rule')}")
    return 0


async def _close(config: Config) -> None:
    for close in config.closers:
        await close()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

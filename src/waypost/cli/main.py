"""The entry point of `waypost`.

Owns the command line as a whole: which commands there are, and what all of them share. Exit status
2 is a command line that cannot be understood, 130 an interrupt; every other is the command's own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from waypost import __version__
from waypost.config import not_yet

Command = Callable[[argparse.Namespace], int]

COMMANDS = ("check", "explain", "health", "plugins", "serve")
"""Each is a module of this package."""
DEFAULT_CONFIG = "/etc/waypost/waypost.toml"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (without the program's name) asks for; its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = _command_in(arguments)
    if command in not_yet.COMMANDS:
        print(f"waypost {command}: not available in this version", file=sys.stderr)
        return 2
    # Importing all of them takes half a second; only --help and mistakes need it.
    modules = {
        name: import_module(f"waypost.cli.{name}")
        for name in ([command] if command in COMMANDS else COMMANDS)
    }
    parser = argparse.ArgumentParser(
        prog="waypost",
        description="Several ways for every mail address to reach a person, behind a Postfix.",
    )
    parser.add_argument("--version", action="version", version=f"waypost {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    for module in modules.values():
        module.add_parser(subparsers)
    for each in [parser, *subparsers.choices.values()]:
        _add_config(each)
    args = parser.parse_args(arguments)
    if "config" not in args:
        args.config = os.environ.get("WAYPOST_CONFIG") or DEFAULT_CONFIG
    return _run(modules[args.command].run, args)


def _run(run: Command, args: argparse.Namespace) -> int:
    try:
        status = run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who read our output has seen enough (`| head`). Nothing more can be written, nor need be.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _command_in(arguments: Sequence[str]) -> str | None:
    """The first word that is neither an option nor the value of `--config`."""
    words = iter(arguments)
    for word in words:
        if word == "--config":
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        # Accepted before and behind the command; a default here would override what came before.
        default=argparse.SUPPRESS,
        help=f"the configuration (default: $WAYPOST_CONFIG, else {DEFAULT_CONFIG})",
    )


if __name__ == "__main__":
    sys.exit(main())

"""`waypost serve`: milter and transport in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import structlog
import uvloop

from waypost.config import ConfigError
from waypost.daemon import CannotStart, Daemon
from waypost.journal import JournalTrouble
from waypost.plugins import load_plugins


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "serve",
        help="run milter and transport in the foreground",
        description="Run milter and transport in the foreground. SIGHUP reloads the configuration,"
        " SIGTERM lets deliveries under way come to their end and stops.",
    )
    parser.add_argument(
        "--log-level", choices=["debug", "info", "warning", "error"], default="info"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop. Exit status 1 when it cannot start."""
    _log_to_stderr(args.log_level)
    path = Path(args.config)
    plugins = load_plugins()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Daemon(path, plugins).run())
    except ConfigError as error:
        for problem in error.problems:
            print(f"{path}: {problem}", file=sys.stderr)
        return 1
    except (CannotStart, JournalTrouble) as error:
        print(f"waypost serve: {error}", file=sys.stderr)
        return 1
    return 0


def _log_to_stderr(level: str) -> None:
    """JSON lines for machines, colours for a person at a terminal.

    Tracebacks come without the values of variables: those hold message content (invariant 7).
    """
    rendered: list[structlog.typing.Processor]
    if sys.stderr.isatty():
        plain = structlog.dev.plain_traceback
        rendered = [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    else:
        as_dict = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        rendered = [
            structlog.processors.ExceptionRenderer(as_dict),
            structlog.processors.JSONRenderer(),
        ]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *rendered,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )

"""`waypost serve`: milter and transport in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uvloop

from waypost.config import ConfigError
from waypost.daemon import CannotStart, Daemon
from waypost.listeners import CannotListen
from waypost.plugins import load_plugins

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


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
    except (CannotStart, CannotListen) as error:
        print(f"waypost serve: {error}", file=sys.stderr)
        return 1
    return 0


class _StandardError(io.FileIO):
    """Standard error for the log. Where it cannot be written, for the disk is full or nobody reads
    it any more, lines are lost, and mail goes on.
    """

    def __init__(self) -> None:
        super().__init__(2, "w", closefd=False)

    def write(self, octets: ReadableBuffer, /) -> int:
        """Write; what cannot be written counts as written."""
        written = None
        with contextlib.suppress(OSError):
            written = super().write(octets)
        return memoryview(octets).nbytes if written is None else written

    def lines(self) -> io.TextIOWrapper:
        """It as a text file."""
        return io.TextIOWrapper(io.BufferedWriter(self), "utf-8", "backslashreplace")


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
        logger_factory=structlog.WriteLoggerFactory(_StandardError().lines()),
        cache_logger_on_first_use=True,
    )

"""`waypost serve` as a process of its own, for tests.

    with Waypost(text_of_waypost_toml, tmp_path) as waypost:
        ...
        assert waypost.reload(new_text)["event"] == "config_loaded"

It is ready when `start` returns; every wait ends with the daemon's log in the error when it fails.
Promises: the process is gone when the `with` block is left, and no other process is touched.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from waypost.testing.waiting import LONG, wait_until

Event = Mapping[str, object]
"""A line of the log: `event` is its name (DESIGN: stable), the other fields depend on it."""


class Waypost:
    """The daemon; start it by `with` or `start()`."""

    def __init__(self, config: str | Path, directory: Path, *, through: Sequence[str] = ()) -> None:
        """`config` is the text of a waypost.toml, written to `directory`, or an existing file.

        The log goes to `directory`, too. `through` is a command that becomes the daemon, such as
        prlimit(1) with its options.
        """
        self._through = through
        self.config = directory / "waypost.toml" if isinstance(config, str) else config
        if isinstance(config, str):
            self.config.write_text(config)
        self._log = directory / "waypost.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and return when milter and transport listen. Raises TimeoutError or
        RuntimeError with what it said.
        """
        before = len(self.events("ready"))
        serve = [sys.executable, "-m", "waypost.cli.main", "serve", "--config", str(self.config)]
        command = [*self._through, *serve]
        with self._log.open("ab") as log:
            self._process = process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

        def ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"waypost serve ended with {process.returncode}\n{self.log()}")
            return len(self.events("ready")) > before

        wait_until(ready, lambda: f"waypost serve to be ready\n{self.log()}")

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "not running"
        return self._process.pid

    def stop(self) -> int | None:
        """Have it stop, and return its exit status; None when it was not running.

        Deliveries under way come to their end first. Raises TimeoutError, after `kill`.
        """
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Take it away without a warning."""
        self._end(signal.SIGKILL)

    def reload(self, text: str | None = None) -> Event:
        """Have it read its configuration, `text` if given; `config_loaded` or `config_refused`."""
        if text is not None:
            self.config.write_text(text)
        before = len(self._loads())
        assert self._process is not None, "not running"
        self._process.send_signal(signal.SIGHUP)
        what = "the configuration to be loaded or refused"
        wait_until(lambda: len(self._loads()) > before, lambda: f"{what}\n{self.log()}")
        return self._loads()[before]

    def events(self, name: str | None = None, **fields: object) -> list[Event]:
        """What it has logged, oldest first; with that name and these fields only, if given."""
        wanted = fields if name is None else {"event": name, **fields}
        return [event for event in self._events() if wanted.items() <= event.items()]

    def wait_for_event(self, name: str, seconds: float = LONG, **fields: object) -> Event:
        """The first such event, once there is one. Raises TimeoutError."""
        wanted = f"the event {name} with {fields}"
        return wait_until(
            lambda: self.events(name, **fields), lambda: f"{wanted}\n{self.log()}", seconds
        )[0]

    def log(self) -> str:
        """All it has written."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    def _events(self) -> list[Event]:
        events = []
        for line in self.log().splitlines():
            # What is no JSON is a person's (a file that is refused at start), or half a line yet.
            with contextlib.suppress(json.JSONDecodeError):
                events.append(json.loads(line))
        return events

    def _loads(self) -> list[Event]:
        return [
            event
            for event in self._events()
            if event.get("event") in ("config_loaded", "config_refused")
        ]

    def _end(self, number: signal.Signals) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        process.send_signal(number)
        try:
            return process.wait(LONG)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise TimeoutError(f"waypost serve goes on after {number.name}\n{self.log()}") from None

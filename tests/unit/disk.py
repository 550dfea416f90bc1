"""A state directory for tests, and what a crash leaves of it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path


class Disk:
    """State directories, each the copy of the one before."""

    def __init__(self) -> None:
        self._all = Path(tempfile.mkdtemp(prefix="waypost-journal-"))
        self._count = 0
        self.now.mkdir()

    @property
    def now(self) -> Path:
        """The state directory in use."""
        return self._all / str(self._count)

    def crash(self) -> None:
        """Go on with what is on the disk at this moment."""
        before = self.now
        self._count += 1
        self.now.mkdir()
        for name in ("journal.sqlite", "journal.sqlite-wal"):
            # The third file is shared memory, which a crash leaves empty to the next process.
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(before / name, self.now / name)

    def execute(self, script: str) -> None:
        """Do something to the journal from outside."""
        with contextlib.closing(sqlite3.connect(self.now / "journal.sqlite")) as connection:
            connection.executescript(script)

    def remove(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self._all)

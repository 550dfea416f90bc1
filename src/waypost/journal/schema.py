"""The tables of the journal, and how an older file becomes a newer one.

Owns every statement that makes or changes a table. Promises: `prepare` leaves a database of this
version or raises sqlite3.Error; a version takes effect whole or not at all.
"""

from __future__ import annotations

import sqlite3

# One entry per version, each carrying a file of the version before it to this one. A released entry
# is never changed: add one.
MIGRATIONS = (
    """
    CREATE TABLE attempts (
        id TEXT NOT NULL, fingerprint TEXT NOT NULL,
        recipient TEXT NOT NULL, leg TEXT NOT NULL,
        destination TEXT NOT NULL, next_hop TEXT NOT NULL,
        at REAL NOT NULL, outcome TEXT NOT NULL, stage TEXT, class TEXT, scope TEXT,
        ambiguous INTEGER NOT NULL, code INTEGER NOT NULL, status TEXT, text TEXT NOT NULL
    ) STRICT;
    CREATE INDEX attempts_of_message ON attempts (id, fingerprint);
    """,
    """
    CREATE INDEX attempts_by_time ON attempts (at);
    -- Under which id a recipient of a queue file is known, whether the milter made it or the net.
    CREATE TABLE identities (
        queue_id TEXT NOT NULL, entry TEXT NOT NULL, recipient TEXT NOT NULL,
        id TEXT NOT NULL, fingerprint TEXT NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (queue_id, entry, recipient)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX identities_by_time ON identities (at);
    CREATE TABLE circuits (
        next_hop TEXT PRIMARY KEY, failures INTEGER NOT NULL,
        opened_at REAL, pause REAL NOT NULL, probe_at REAL NOT NULL, reason TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    """,
)
VERSION = len(MIGRATIONS)


def prepare(connection: sqlite3.Connection) -> None:
    """Bring the database to this version. Raises sqlite3.Error, also for a newer one."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise sqlite3.DatabaseError(
            f"written by a newer version of Waypost (schema {version}, this one has {VERSION})"
        )
    for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN; {migration} PRAGMA user_version = {number}; COMMIT")

"""The database of a store: its tables, and what its errors mean."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sentei.errors import CheckpointError

DATABASE_NAME = "study.sqlite"
JOURNAL_NAME = "journal.jsonl"

_SCHEMA = """
BEGIN;
CREATE TABLE IF NOT EXISTS study (name TEXT PRIMARY KEY, value);
CREATE TABLE IF NOT EXISTS job (position INTEGER PRIMARY KEY, key TEXT UNIQUE, spec TEXT, label TEXT);
CREATE TABLE IF NOT EXISTS result (
    key TEXT PRIMARY KEY, value TEXT, wall_s REAL, finished_at TEXT, worker TEXT, attempts INTEGER);
CREATE TABLE IF NOT EXISTS failure (
    key TEXT PRIMARY KEY, error TEXT, finished_at TEXT, worker TEXT, attempts INTEGER);
CREATE TABLE IF NOT EXISTS note (
    position INTEGER PRIMARY KEY, topic TEXT, key TEXT, value TEXT, UNIQUE (topic, key));
COMMIT;
"""


@contextmanager
def connected(directory: Path, *, read_only: bool = False) -> Iterator[sqlite3.Connection]:
    """Open the database of a study and check that it is whole.

    Raises:
        CheckpointError: It is damaged, or cannot be read.
    """
    with explained(directory / DATABASE_NAME):
        database = sqlite3.connect(directory / DATABASE_NAME, timeout=30, isolation_level=None)
    with closing(database):
        with explained(directory / DATABASE_NAME):
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            problems = [text for (text,) in database.execute("PRAGMA quick_check")]
            if problems != ["ok"]:
                raise sqlite3.DatabaseError(" ".join(problems[0].split()))
            database.executescript("PRAGMA query_only = ON" if read_only else _SCHEMA)
        yield database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Make what the block does to the database happen, or nothing of it."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    finally:
        database.rollback()  # nothing is left to roll back after a commit


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say what an error of a file, the database most likely, means and what to do."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        raise CheckpointError(
            f"{path} cannot be read or written ({error}); what was finished is kept: make room or "
            "correct the permissions, and run the same command again"
        ) from error
    except sqlite3.DatabaseError as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); build it anew from {JOURNAL_NAME}: "
            f"sentei.engine.rebuild_store({str(path.parent)!r})"
        ) from error

"""The store of a study: a journal, and a database that is nothing but the journal, indexed.

Every change is first appended to the journal and forced to disk, then applied to the database. A
database that is behind catches up when it is opened; one that is lost or damaged is built anew.
"""

import json
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sentei.engine.database import DATABASE_NAME, JOURNAL_NAME, connected, explained, transaction
from sentei.engine.job import Job, canonical_json
from sentei.engine.journal import Journal
from sentei.engine.lock import LOCK_NAME, locked
from sentei.errors import CheckpointError
from sentei.records import differences, plain_mapping

VERSION = 1

# Kind of entry -> how it is applied. What is finished is never replaced; a failure is no result.
_APPLY = {
    "study": "INSERT INTO study VALUES ('meta', :meta), ('version', :version)",
    "job": "INSERT OR IGNORE INTO job (key, spec, label) VALUES (:key, :spec, :label)",
    "result": "INSERT OR IGNORE INTO result "
    "VALUES (:key, :value, :wall_s, :finished_at, :worker, :attempts)",
    "failure": "INSERT OR REPLACE INTO failure "
    "VALUES (:key, :error, :finished_at, :worker, :attempts)",
    "note": "INSERT OR IGNORE INTO note (topic, key, value) VALUES (:topic, :key, :value)",
}
_DOCUMENTS = ("meta", "spec", "value")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a job found.

    Attributes:
        value: Its result, JSON values; the same wherever and whenever it runs.
        wall_s: Seconds it ran.
        finished_at: When it ended, ISO 8601 in UTC.
        worker: Who ran it.
        attempts: How many workers it took, >= 1.
    """

    value: Mapping[str, Any]
    wall_s: float
    finished_at: str
    worker: str
    attempts: int


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a job has no result.

    Attributes:
        error: Traceback, or what became of its workers.
        finished_at: When it ended, ISO 8601 in UTC.
        worker: Who ran it last.
        attempts: How many workers it took, >= 1.
    """

    error: str
    finished_at: str
    worker: str
    attempts: int


class Store:
    """Jobs, results, failures and notes of one study; made by `open_store` and `read_store`."""

    def __init__(self, directory: Path, database: sqlite3.Connection) -> None:
        self.directory = directory
        self._journal = Journal(directory / JOURNAL_NAME)
        self._database = database

    @property
    def meta(self) -> dict[str, Any]:
        """What the study was opened with first."""
        return json.loads(self.rows("SELECT value FROM study WHERE name = 'meta'")[0][0])

    def add_jobs(self, jobs: Sequence[Job]) -> int:
        """Take jobs into the study, in their order, and return how many were not in it."""
        known = {key for (key,) in self.rows("SELECT key FROM job")}
        new = {job.key: job for job in jobs if job.key not in known}
        self._record(
            [{"kind": "job", "key": k, "spec": j.spec, "label": j.label} for k, j in new.items()]
        )
        return len(new)

    def add_ends(self, ends: Sequence[tuple[str, Result | Failure]]) -> list[bool]:
        """Keep how jobs ended, all or none, with one write to the disk.

        Args:
            ends: Keys of jobs, each with its result or why it failed. A failure takes the place
                of an earlier one.

        Returns:
            For each, whether it is kept: False for a result of a job that has one already.
        """
        entries, kept, found = [], [], set[str]()
        for key, end in ends:
            is_result = isinstance(end, Result)
            is_known = key in found or bool(self.rows("SELECT 1 FROM result WHERE key = ?", key))
            kept.append(not (is_result and is_known))
            if kept[-1]:
                kind = "result" if is_result else "failure"
                entries.append({"kind": kind, "key": key, **asdict(end)})
            if is_result:
                found.add(key)
        self._record(entries)
        return kept

    def add_notes(self, topic: str, notes: Mapping[str, Any]) -> None:
        """Keep JSON values of the study's own, each under a topic and a key; never changed again.

        Raises:
            CheckpointError: There is another value under one of the keys; nothing is added.
            ValueError: A value is no JSON.
        """
        plain, stored = plain_mapping(notes, topic), self.notes(topic)
        again = plain.keys() & stored.keys()
        found = differences(
            {key: stored[key] for key in again}, {key: plain[key] for key in again}, f"{topic} "
        )
        if found:
            raise CheckpointError(
                f"{self.directory}: {'; '.join(found)}. What a study holds is not changed: give "
                "another key, or another directory"
            )
        self._record(
            [
                {"kind": "note", "topic": topic, "key": key, "value": value}
                for key, value in plain.items()
                if key not in stored
            ]
        )

    def jobs(self) -> list[Job]:
        """Return all jobs in the order they came."""
        rows = self.rows("SELECT spec, label FROM job ORDER BY position")
        return [Job(json.loads(spec), label) for spec, label in rows]

    def results(self) -> dict[str, Result]:
        """Return the results by the keys of their jobs, in the jobs' order."""
        rows = self.rows(
            "SELECT key, value, wall_s, finished_at, worker, attempts FROM result JOIN job "
            "USING (key) ORDER BY position"
        )
        names = ("wall_s", "finished_at", "worker", "attempts")
        return {
            key: Result(value=json.loads(value), **dict(zip(names, rest, strict=True)))
            for key, value, *rest in rows
        }

    def failures(self) -> dict[str, Failure]:
        """Return why jobs have no result, by their keys, in the jobs' order."""
        rows = self.rows(
            "SELECT key, error, finished_at, worker, attempts FROM failure JOIN job USING (key) "
            "WHERE key NOT IN (SELECT key FROM result) ORDER BY position"
        )
        names = ("error", "finished_at", "worker", "attempts")
        return {key: Failure(**dict(zip(names, rest, strict=True))) for key, *rest in rows}

    def notes(self, topic: str) -> dict[str, Any]:
        """Return the notes of a topic by their keys, in the order they came."""
        rows = self.rows("SELECT key, value FROM note WHERE topic = ? ORDER BY position", topic)
        return {key: json.loads(value) for key, value in rows}

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what a query of the database finds.

        Tables: ``job(position, key, spec, label)``, ``result(key, value, wall_s, finished_at,
        worker, attempts)``, ``failure(key, error, finished_at, worker, attempts)`` and
        ``note(position, topic, key, value)``; ``spec`` and ``value`` are JSON.
        """
        with explained(self.directory / DATABASE_NAME):
            return self._database.execute(query, values).fetchall()

    def begin(self, meta: Mapping[str, Any]) -> None:
        """Catch up with the journal, and begin the study or refuse to go on with another one."""
        self.catch_up()
        if not self.rows("SELECT 1 FROM study WHERE name = 'meta'"):
            self._record([{"kind": "study", "version": VERSION, "meta": meta}])
        _check_version(self)
        found = differences(self.meta, meta)
        if found:
            raise CheckpointError(
                f"{self.directory} holds another study: {'; '.join(found)}. Give another "
                "directory, or the same settings to go on with it"
            )

    def catch_up(self) -> None:
        """Apply what the database lacks of the journal, and cut off a line that was torn."""
        found = self.rows("SELECT value FROM study WHERE name = 'end'")
        end = found[0][0] if found else 0
        with explained(self.directory / DATABASE_NAME), transaction(self._database):
            for entry, entry_end in self._journal.read(end):
                self._apply(entry)
                end = entry_end
            self._database.execute("INSERT OR REPLACE INTO study VALUES ('end', ?)", (end,))
        self._journal.truncate(end)

    def _record(self, entries: Sequence[Mapping[str, Any]]) -> None:
        # An interrupt between the two leaves the database behind; the next catch_up mends it.
        if entries:
            self._journal.append(entries)
            self.catch_up()

    def _apply(self, entry: Mapping[str, Any]) -> None:
        documents = {name: canonical_json(entry[name]) for name in _DOCUMENTS if name in entry}
        try:
            self._database.execute(_APPLY[entry["kind"]], {**entry, **documents})
        except (KeyError, sqlite3.ProgrammingError) as error:
            raise CheckpointError(
                f"{self.directory / JOURNAL_NAME}: an entry of kind {entry['kind']!r} is not as "
                f"version {VERSION} writes it ({error}); use the sentei that wrote it, or restore "
                "the file from a copy"
            ) from error


@contextmanager
def open_store(directory: Path | str, meta: Mapping[str, Any]) -> Iterator[Store]:
    """Open the store of a study for its one driver, or begin it.

    Args:
        directory: Of the study; made if missing. Other files in it are left alone.
        meta: What all results depend on beside the jobs: versions, digests, settings; JSON values.

    Yields:
        The store, with all that any earlier driver finished.

    Raises:
        CheckpointError: Another process has it open, it is damaged, it belongs to another study
            (the message says what differs), or the disk has no room.
        ValueError: ``meta`` holds what is no JSON value.
    """
    directory, meta = Path(directory), plain_mapping(meta, "meta")
    with ExitStack() as stack:
        with explained(directory / LOCK_NAME):
            is_locked = stack.enter_context(locked(directory))
        if not is_locked:
            message = f"{directory}: this file system has no locks; let one driver at a time run"
            warnings.warn(message, stacklevel=3)
        store = Store(directory, stack.enter_context(connected(directory)))
        store.begin(meta)
        yield store


@contextmanager
def read_store(directory: Path | str) -> Iterator[Store]:
    """Open the store of a study to look at it, also while a driver is at work.

    Raises:
        CheckpointError: There is no study, or it is damaged or of another version.
    """
    directory = Path(directory)
    if not (directory / DATABASE_NAME).is_file():
        raise CheckpointError(f"{directory} holds no study ({DATABASE_NAME}); check the path")
    with connected(directory, read_only=True) as database:
        store = Store(directory, database)
        _check_version(store)
        yield store


def rebuild_store(directory: Path | str) -> None:
    """Build the database anew from the journal; the old one stays as ``study.sqlite.damaged``.

    Raises:
        CheckpointError: There is no journal, it is damaged, or a driver is at work.
    """
    directory = Path(directory)
    if not (directory / JOURNAL_NAME).is_file():
        raise CheckpointError(f"{directory} has no {JOURNAL_NAME} to build a study from")
    database = directory / DATABASE_NAME
    with locked(directory):
        for file in directory.glob(f"{DATABASE_NAME}-*"):
            file.unlink()
        if database.exists():
            database.replace(f"{database}.damaged")
        with connected(directory) as connection:
            Store(directory, connection).catch_up()


def _check_version(store: Store) -> None:
    if not store.rows("SELECT 1 FROM sqlite_master WHERE name = 'study'"):
        raise CheckpointError(
            f"{store.directory / DATABASE_NAME} is empty or no study; run the command that began the "
            f"study again, which builds it anew from {JOURNAL_NAME}"
        )
    versions = store.rows("SELECT value FROM study WHERE name = 'version'")
    if versions != [(VERSION,)]:
        raise CheckpointError(
            f"{store.directory} holds a study of version {versions[0][0] if versions else None}, "
            f"this sentei reads {VERSION}; use the sentei that wrote it"
        )

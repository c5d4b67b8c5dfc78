"""A study: run the jobs that have no result yet, keep what they find, tell how far it is."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, TypeAlias

from sentei.engine.base import Event, Executor
from sentei.engine.job import Job, Task
from sentei.engine.store import Failure, Result, Store
from sentei.records import utc_now


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a call of `run_jobs` is.

    Attributes:
        total: Its jobs, equal ones counted once.
        done: Jobs that have a result, from earlier calls too.
        failed: Jobs that have failed, in earlier calls too unless they are tried again.
        running: Jobs that workers have now.
        finished: Jobs that ended in this call.
        elapsed_s: Seconds since the call began.
    """

    total: int
    done: int
    failed: int
    running: int = 0
    finished: int = 0
    elapsed_s: float = 0.0

    @property
    def jobs_per_s(self) -> float:
        """Jobs that ended in this call, a second."""
        return self.finished / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all have ended, at the rate so far; None before the first has."""
        if not self.finished:
            return None
        return (self.total - self.done - self.failed) / self.jobs_per_s


_ENDS = ("done", "failed")
OnEvent: TypeAlias = Callable[[Event, Progress], None]


def _silence(_event: Event, _progress: Progress) -> None:
    """Listen to nothing."""


def run_jobs(
    store: Store,
    jobs: Sequence[Job],
    *,
    task: Task,
    executor: Executor,
    on_event: OnEvent = _silence,
    retry_failed: bool = False,
) -> Progress:
    """Run the jobs that have no result in the store, in their order, and return how it ended.

    A job that fails does not stop the others. While this runs in the main thread SIGTERM is an
    interrupt, as SIGINT is: workers are ended, the jobs they had stay without result, and the
    next call runs them.

    Args:
        store: Open for writing; its meta data states what decides results beside the jobs.
        jobs: What is wanted; those that are not in the store come into it.
        task: How they are run.
        executor: Where they are run.
        on_event: Told all that happens, after it is stored.
        retry_failed: Run those again that have failed before.

    Raises:
        EngineError: The task cannot be built, or its workers do not live.
        CheckpointError: The store cannot be written.
        KeyboardInterrupt: SIGINT or SIGTERM came.
    """
    store.add_jobs(jobs)
    wanted = {job.key: job for job in jobs}
    done = wanted.keys() & {key for (key,) in store.rows("SELECT key FROM result")}
    failed = set() if retry_failed else wanted.keys() & store.failures().keys()
    tally = _Tally(store, Progress(total=len(wanted), done=len(done), failed=len(failed)), on_event)
    left = [job for key, job in wanted.items() if key not in done | failed]
    if left:
        with _terminate_interrupts():
            executor.run(task, left, tally.take)
    return tally.progress


class _Tally:
    """Stores what happens, counts it, and passes it on."""

    def __init__(self, store: Store, progress: Progress, on_event: OnEvent) -> None:
        self.progress = progress
        self._store = store
        self._on_event = on_event
        self._begin = time.perf_counter()

    def take(self, events: Sequence[Event]) -> None:
        ends = [(event.job.key, _end(event)) for event in events if event.kind in _ENDS]
        kept = iter(self._store.add_ends(ends))
        for event in events:
            is_repeated = event.kind in _ENDS and not next(kept)
            self._count(replace(event, kind="repeated") if is_repeated else event)

    def _count(self, event: Event) -> None:
        progress = replace(self.progress, elapsed_s=time.perf_counter() - self._begin)
        if event.kind == "start":
            progress = replace(progress, running=progress.running + 1)
        elif event.kind == "retry":
            progress = replace(progress, running=progress.running - 1)
        elif event.kind != "report":
            progress = replace(
                progress,
                running=progress.running - 1,
                finished=progress.finished + 1,
                done=progress.done + (event.kind != "failed"),
                failed=progress.failed + (event.kind == "failed"),
            )
        self.progress = progress
        self._on_event(event, progress)


def _end(event: Event) -> Result | Failure:
    said: dict[str, Any] = {
        "finished_at": utc_now(),
        "worker": event.worker,
        "attempts": event.attempts,
    }
    if event.kind == "failed":
        return Failure(error=event.error, **said)
    return Result(value=event.values, wall_s=event.wall_s, **said)


@contextmanager
def _terminate_interrupts() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt; signals belong to the main thread."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a store holds.

    Attributes:
        total: Its jobs.
        done: Jobs with a result.
        failed: Jobs that failed and have none.
        labels: Label -> (total, done, failed), in the order they came.
        failures: Key of a failed job -> (label, last line of its error).
        work_left_s: Seconds one worker needs for the jobs that are left, at the mean of those
            done; None where none is done.
    """

    total: int
    done: int
    failed: int
    labels: Mapping[str, tuple[int, int, int]]
    failures: Mapping[str, tuple[str, str]]
    work_left_s: float | None


def status(store: Store) -> Status:
    """Return what a store holds, also of a study that runs."""
    rows = store.rows(
        "SELECT label, COUNT(*), COUNT(result.key), "
        "SUM(result.key IS NULL AND failure.key IS NOT NULL), SUM(wall_s) "
        "FROM job LEFT JOIN result USING (key) LEFT JOIN failure ON failure.key = job.key "
        "GROUP BY label ORDER BY MIN(position)"
    )
    total, done, failed = (sum(row[i] for row in rows) for i in (1, 2, 3))
    wall_s = sum(row[4] or 0.0 for row in rows)
    label_of = {job.key: job.label for job in store.jobs()}
    return Status(
        total=total,
        done=done,
        failed=failed,
        labels={label: (jobs, ended, lost) for label, jobs, ended, lost, _ in rows},
        failures={
            key: (label_of[key], failure.error.strip().splitlines()[-1])
            for key, failure in store.failures().items()
        },
        work_left_s=(total - done - failed) * wall_s / done if done else None,
    )

"""Give jobs to workers that may die: each has one job at a time, and only that job is lost."""

import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from sentei.engine.base import Event, Listener
from sentei.engine.job import Job, Task, canonical_json
from sentei.engine.worker import Message
from sentei.errors import EngineError


class Worker(ABC):
    """One worker, from its start on.

    Attributes:
        name: For people.
    """

    name: str

    @abstractmethod
    def give(self, spec: str) -> None:
        """Send a job, its specification as JSON."""

    @abstractmethod
    def fate(self) -> str:
        """Say how it died: ``"was killed by SIGKILL"``."""


W = TypeVar("W", bound=Worker)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a job may cost.

    Args:
        max_attempts: Workers, before it has failed, >= 1.
        max_silence_s: Seconds a worker may say nothing of its job, neither a report nor the end,
            > 0, before it counts as lost; None waits for ever.

    Raises:
        ValueError: A number is out of its range.
    """

    max_attempts: int
    max_silence_s: float | None

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts is {self.max_attempts}; at least 1 is needed")
        if self.max_silence_s is not None and not self.max_silence_s > 0:
            raise ValueError(f"max_silence_s is {self.max_silence_s}; more than 0 is needed")


class Agency(ABC, Generic[W]):
    """Where workers come from."""

    @abstractmethod
    def hire(self, slot: int) -> W:
        """Start a worker; it tells when it is ready.

        Args:
            slot: Its place among the workers, from 0; no two at a time have the same.
        """

    @abstractmethod
    def listen(self, workers: Sequence[W]) -> Sequence[tuple[W, Message | None]]:
        """Wait a while for messages and return them; None from a worker that has died."""

    @abstractmethod
    def dismiss(self, workers: Sequence[W]) -> None:
        """End workers, whatever they do."""


class Crew(Generic[W]):
    """Workers and the jobs they have.

    Args:
        agency: Where workers come from.
        task: What they run.
        listener: Told what becomes of jobs.
        size: Most workers at a time, >= 1.
        limits: What is asked of workers.
    """

    def __init__(
        self, agency: Agency[W], task: Task, listener: Listener, *, size: int, limits: Limits
    ) -> None:
        self._agency = agency
        self._task = task
        self._listener = listener
        self._size = size
        self._limits = limits
        self._waiting: deque[Job] = deque()
        self._attempts: Counter[str] = Counter()
        self._slots: dict[W, int] = {}
        self._idle: list[W] = []
        self._busy: dict[W, Job] = {}
        self._heard_s: dict[W, float] = {}
        self._lost_in_a_row = 0
        self._untold: list[Event] = []

    def run(self, jobs: Sequence[Job]) -> None:
        """Run all jobs; see `Executor.run`."""
        self._waiting.extend(jobs)
        try:
            while self._waiting or self._busy:
                self._hire()
                self._give_out()
                self._tell()  # after that: workers need not wait for the disk
                for worker, message in self._agency.listen(list(self._slots)):
                    self._hear(worker, message)
                self._end_silent()
        finally:
            try:
                self._tell()
            finally:
                self._agency.dismiss(list(self._slots))

    def _tell(self) -> None:
        """Pass on all that has happened at once, so that one write to the disk stores it."""
        untold, self._untold = self._untold, []
        if untold:
            self._listener(untold)

    def _hire(self) -> None:
        wanted = min(self._size, len(self._waiting) + len(self._busy))
        while len(self._slots) < wanted:
            slot = min(set(range(self._size)) - set(self._slots.values()))
            self._slots[self._agency.hire(slot)] = slot

    def _give_out(self) -> None:
        while self._idle and self._waiting:
            worker, job = self._idle.pop(), self._waiting.popleft()
            self._busy[worker] = job
            self._attempts[job.key] += 1
            self._heard_s[worker] = time.monotonic()
            self._untold.append(self._event(worker, job))
            worker.give(canonical_json(job.spec))

    def _hear(self, worker: W, message: Message | None) -> None:
        if message is None:
            self._lose(worker)
            return
        kind = message["kind"]
        if kind == "broken":
            raise broken_task(self._task, message["error"])
        self._lost_in_a_row = 0
        if kind == "ready":
            self._idle.append(worker)
            return
        self._heard_s[worker] = time.monotonic()
        job = self._busy[worker]
        if kind != "report":
            del self._busy[worker]
            self._idle.append(worker)
        # The fields of a message are those of an event.
        self._untold.append(replace(self._event(worker, job), **message))

    def _end_silent(self) -> None:
        """End workers that have said nothing of their job for too long: they are lost."""
        allowed_s = self._limits.max_silence_s
        if allowed_s is None:
            return
        since = time.monotonic() - allowed_s
        for worker in [w for w in self._busy if self._heard_s[w] < since]:
            self._agency.dismiss([worker])
            self._lose(worker, fate=f"said nothing for {allowed_s:g} s")

    def _lose(self, worker: W, *, fate: str = "") -> None:
        del self._slots[worker]
        if worker in self._idle:
            self._idle.remove(worker)
        self._heard_s.pop(worker, None)
        job = self._busy.pop(worker, None)
        if job is None:
            self._lose_without_job(worker)
            return
        event, why = self._event(worker, job), f"its worker {worker.name} {fate or worker.fate()}"
        if event.attempts < self._limits.max_attempts:
            self._waiting.appendleft(job)
            self._untold.append(replace(event, kind="retry", error=why))
            return
        remedy = "allow more (max_silence_s)" if fate else "if memory ran out, use fewer"
        error = f"given up after {event.attempts} workers: {why}; {remedy}"
        self._untold.append(replace(event, kind="failed", error=error))

    def _lose_without_job(self, worker: W) -> None:
        self._lost_in_a_row += 1
        # A machine that is lost takes all its workers with it: that alone ends no study.
        if self._lost_in_a_row >= max(self._limits.max_attempts, self._size):
            raise EngineError(
                f"{self._lost_in_a_row} workers in a row ended before they were ready for jobs of "
                f"{self._task.factory}: the last one, {worker.name}, {worker.fate()}; look at what "
                "it printed, and if memory ran out use fewer workers"
            )

    def _event(self, worker: W, job: Job) -> Event:
        return Event(kind="start", job=job, worker=worker.name, attempts=self._attempts[job.key])


def broken_task(task: Task, error: str) -> EngineError:
    """Return the error for a task that could not be built; its traceback is a note of it."""
    last = error.strip().splitlines()[-1]
    broken = EngineError(f"task {task.factory} cannot be built in a worker: {last}")
    broken.add_note(error)
    return broken

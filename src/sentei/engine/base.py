"""What an executor is: it runs jobs somewhere, and tells what becomes of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from sentei.engine.job import Job, Task
from sentei.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a job.

    Attributes:
        kind: ``"start"``: given to a worker; ``"report"``: the job said something; ``"retry"``:
            its worker died and another will take it; ``"done"`` and ``"failed"`` end it;
            ``"repeated"``: it was done already and this second result is dropped.
        job: The job.
        worker: Who runs it.
        values: What it reported, or its result.
        error: Traceback of a failed job, or why its worker died.
        wall_s: Seconds that the finished job ran.
        attempts: How often it was given to a worker, this time included, >= 1.
    """

    kind: Literal["start", "report", "retry", "done", "failed", "repeated"]
    job: Job
    worker: str
    values: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    wall_s: float = 0.0
    attempts: int = 1


Listener: TypeAlias = Callable[[Sequence[Event]], None]
"""Told what has happened since the last call, in order: it is stored together."""


@dataclass(frozen=True, kw_only=True)
class Executor(ABC):
    """Runs jobs; its fields are its configuration and change no result."""

    @abstractmethod
    def run(self, task: Task, jobs: Sequence[Job], listener: Listener) -> None:
        """Run all jobs, begun in their order, and end all workers however this call ends.

        A job that raises an exception has failed and is not tried again; one whose worker died
        is. The listener is called in this process, by the calling thread.

        Raises:
            EngineError: The task cannot be built, or its workers die before they are ready.
        """


EXECUTORS: Registry[Callable[..., Executor]] = Registry("engine")
"""Name -> what builds the executor; all its fields have defaults."""

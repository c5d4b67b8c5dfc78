"""One job after another in this process: for tests, and to step through a job."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sentei.engine.base import EXECUTORS, Event, Executor, Listener
from sentei.engine.crew import broken_task
from sentei.engine.job import Job, Task, canonical_json
from sentei.engine.worker import Message, build_task, run_job


@EXECUTORS.register("serial")
@dataclass(frozen=True, kw_only=True)
class Serial(Executor):
    """Runs jobs in the calling process and thread.

    A job that takes the process with it stops the study; it goes on when it is started again.
    """

    def run(self, task: Task, jobs: Sequence[Job], listener: Listener) -> None:
        """Run all jobs; see `Executor.run`."""
        run, message = build_task(task)
        if run is None:
            raise broken_task(task, message["error"])
        for job in jobs:
            event = Event(kind="start", job=job, worker="this process")
            listener([event])

            def tell(message: Message, event: Event = event) -> None:
                listener([replace(event, **message)])

            run_job(run, canonical_json(job.spec), tell)

"""Worker processes on this machine."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import cast

from sentei.engine.base import EXECUTORS, Executor, Listener
from sentei.engine.crew import Agency, Crew, Limits, Worker
from sentei.engine.job import Job, Task, canonical_json
from sentei.engine.worker import Message, threads_environment
from sentei.records import num_cores

# A fresh interpreter, and none forked off: threads of numerical libraries do not survive a fork.
# It does not import the user's main module again, as multiprocessing's "spawn" does.
_BOOTSTRAP = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from sentei.engine.worker import serve; serve(int(sys.argv[1]))"
)
_POLL_S = 1.0
_PATIENCE_S = 5.0


@EXECUTORS.register("process")
@dataclass(frozen=True, kw_only=True)
class Process(Executor):
    """Runs jobs in processes of their own, which outlive a job but not this call.

    A worker that dies (killed, out of memory) costs the job it had an attempt, and no other job
    anything. What jobs print goes to standard error.

    Args:
        workers: How many, >= 1; None takes one for each core, or for each GPU where there are
            ``gpus``.
        threads: Of each worker's numerical libraries, >= 1; None shares the cores out. Sums of
            floats may depend on it: state it where results must be equal to the bit.
        max_attempts: How many workers a job may cost before it has failed, >= 1.
        max_silence_s: Seconds a job may report nothing before its worker is ended, > 0, which
            costs the job an attempt; None waits for ever.
        gpus: Values of ``CUDA_VISIBLE_DEVICES``, dealt out to the workers in turn; none leaves
            the variable alone.

    Raises:
        ValueError: A number is out of its range.
    """

    workers: int | None = None
    threads: int | None = None
    max_attempts: int = 3
    max_silence_s: float | None = None
    gpus: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; at least 1 is needed")
        _ = self._limits

    @property
    def _limits(self) -> Limits:
        return Limits(max_attempts=self.max_attempts, max_silence_s=self.max_silence_s)

    def run(self, task: Task, jobs: Sequence[Job], listener: Listener) -> None:
        """Run all jobs; see `Executor.run`."""
        size = self.workers or len(self.gpus) or num_cores()
        agency = _Processes(
            task, threads=self.threads or max(1, num_cores() // size), gpus=self.gpus
        )
        Crew(agency, task, listener, size=size, limits=self._limits).run(jobs)


class _Process(Worker):
    """One process and the socket to it."""

    def __init__(self, task: Task, environment: dict[str, str]) -> None:
        self.connection, theirs = Pipe()
        with theirs:
            descriptor = theirs.fileno()
            path = json.dumps(sys.path)
            self.process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-c", _BOOTSTRAP, str(descriptor), path],
                pass_fds=[descriptor],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=2,
                process_group=0,  # Ctrl-C in a terminal reaches the driver alone
            )
        self.name = f"process {self.process.pid}"
        self._send(canonical_json(asdict(task)))

    def give(self, spec: str) -> None:
        self._send(spec)

    def fate(self) -> str:
        code = self.process.wait()
        if code >= 0:
            return f"ended with exit code {code}"
        return f"was killed by {signal.Signals(-code).name}"

    def hear(self) -> Message | None:
        """Return the next message, or None where the other end is gone."""
        try:
            return json.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            self.kill()
            self.connection.close()
            return None

    def kill(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _send(self, text: str) -> None:
        # A worker that has just died is noticed by the next `listen`.
        with contextlib.suppress(OSError):
            self.connection.send_bytes(text.encode())


class _Processes(Agency[_Process]):
    """Starts worker processes and listens to them."""

    def __init__(self, task: Task, *, threads: int, gpus: Sequence[str]) -> None:
        self._task = task
        self._gpus = gpus
        self._environment = {**os.environ, **threads_environment(threads)}

    def hire(self, slot: int) -> _Process:
        environment = dict(self._environment)
        if self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpus[slot % len(self._gpus)]
        return _Process(self._task, environment)

    def listen(self, workers: Sequence[_Process]) -> Sequence[tuple[_Process, Message | None]]:
        ready = cast("list[object]", wait([worker.connection for worker in workers], _POLL_S))
        dead = [worker for worker in workers if worker.process.poll() is not None]
        for worker in dead:
            worker.kill()  # what it started may hold its socket open
        return [(w, w.hear()) for w in workers if w.connection in ready or w in dead]

    def dismiss(self, workers: Sequence[_Process]) -> None:
        for worker in workers:
            worker.connection.close()
        for worker in workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(_PATIENCE_S)
            worker.kill()

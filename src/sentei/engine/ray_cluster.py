"""Worker processes on the machines of a Ray cluster, or on this one."""

import importlib.util
import logging
import os
import platform
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sentei.engine.base import EXECUTORS, Executor, Listener
from sentei.engine.crew import Agency, Crew, Limits, Worker
from sentei.engine.job import Job, Task
from sentei.engine.worker import (
    Message,
    build_task,
    keep_freed_memory,
    stream_job,
    threads_environment,
)
from sentei.errors import DeviceError

if TYPE_CHECKING:
    from ray import ObjectRefGenerator
    from ray.actor import ActorHandle

    from sentei.engine.job import Run

_POLL_S = 1.0
_PATIENCE_S = 10.0


@EXECUTORS.register("ray")
@dataclass(frozen=True, kw_only=True)
class Ray(Executor):
    """Runs jobs in actors of Ray, each with one job at a time.

    An actor that dies, alone or with its machine, costs the job it had an attempt; another one is
    asked for in its place. ``sentei``, the module of the task and all it reads must be on every
    machine.

    Args:
        address: Of a cluster that this machine belongs to: ``"auto"`` or ``"host:port"``; None
            takes the variable ``RAY_ADDRESS``, and starts Ray on this machine where it is not set.
            What this call started it ends.
        workers: Most actors, >= 1; None takes as many as the cluster now has room for.
        num_cpus: Cores of each actor, and threads of its numerical libraries, >= 1.
        num_gpus: GPUs of each, >= 0; fractions share one, and do not divide its memory.
        max_attempts: How many actors a job may cost before it has failed, >= 1.
        max_silence_s: Seconds a job may report nothing before its actor is ended, > 0, which
            costs the job an attempt; None waits for ever.

    Raises:
        ValueError: A number is out of its range, or the address is that of a Ray Client.
    """

    address: str | None = None
    workers: int | None = None
    num_cpus: int = 1
    num_gpus: float = 0.0
    max_attempts: int = 3
    max_silence_s: float | None = None

    def __post_init__(self) -> None:
        if self.address is not None and "://" in self.address:
            raise ValueError(
                f"address is {self.address!r}; start the study on a machine of the cluster, with "
                "'auto' or host:port"
            )
        for name, least in (("workers", 1), ("num_cpus", 1), ("num_gpus", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; at least {least} is needed")
        _ = self._limits

    @property
    def _limits(self) -> Limits:
        return Limits(max_attempts=self.max_attempts, max_silence_s=self.max_silence_s)

    def run(self, task: Task, jobs: Sequence[Job], listener: Listener) -> None:
        """Run all jobs; see `Executor.run`.

        Raises:
            DeviceError: Ray is not installed, there is no cluster at the address, or the cluster
                has no room for one actor.
        """
        with _cluster(self.address) as ray:
            size = self.workers or self._room(ray.cluster_resources())
            agency = _Actors(ray, task, num_cpus=self.num_cpus, num_gpus=self.num_gpus)
            Crew(agency, task, listener, size=size, limits=self._limits).run(jobs)

    def _room(self, resources: dict[str, float]) -> int:
        room = resources.get("CPU", 0.0) / self.num_cpus
        if self.num_gpus:
            room = min(room, resources.get("GPU", 0.0) / self.num_gpus)
        if room < 1:
            raise DeviceError(
                f"the cluster has {resources.get('CPU', 0.0):g} cores and "
                f"{resources.get('GPU', 0.0):g} GPUs, no room for a worker of {self.num_cpus} cores "
                f"and {self.num_gpus:g} GPUs; ask for less, or add machines"
            )
        return int(room)


@contextmanager
def _cluster(address: str | None) -> Iterator[ModuleType]:
    """Connect to a cluster or start one, and end what was started."""
    if importlib.util.find_spec("ray") is None:
        raise DeviceError("the engine 'ray' needs Ray; install it: pip install 'sentei[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is imported and started
    import ray  # noqa: PLC0415 - an extra, and slow to import

    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS", "local")
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError) as error:
        raise DeviceError(
            f"no Ray cluster at {address!r} ({error}); check the address, or start one: "
            "ray start --head"
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # ray.init takes it
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Fail where nothing answers: Ray itself tries for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()


class _Host:
    """What lives in an actor: the task, built."""

    def __init__(self, environment: dict[str, str]) -> None:
        os.environ.update(environment)
        keep_freed_memory()
        self._run: Run | None = None

    def build(self, task: dict[str, Any]) -> Iterator[Message]:
        self._run, message = build_task(Task(**task))
        yield {**message, "worker": f"process {os.getpid()} on {platform.node()}"}

    def work(self, spec: str) -> Iterator[Message]:
        assert self._run is not None
        yield from stream_job(self._run, spec)


class _Actor(Worker):
    """An actor, and the stream of what it has to tell."""

    def __init__(self, ray: ModuleType, actor: "ActorHandle[_Host]", task: Task, name: str) -> None:
        self.name = name
        self._ray = ray
        self._actor = actor
        self._fate = "died"
        self.messages: ObjectRefGenerator | None = actor.build.options(
            num_returns="streaming"
        ).remote(asdict(task))

    def give(self, spec: str) -> None:
        self.messages = self._actor.work.options(num_returns="streaming").remote(spec)

    def fate(self) -> str:
        return self._fate

    def hear(self) -> Message | None:
        """Return the next message, or None where the actor is gone."""
        assert self.messages is not None
        try:
            message: Message = self._ray.get(next(self.messages))
        except self._ray.exceptions.RayError as error:
            self._fate = f"died: {str(error).splitlines()[0]}"
            return None
        self.name = message.get("worker", self.name)
        if message["kind"] != "report":
            self.messages = None
        return message

    def kill(self) -> None:
        self._ray.kill(self._actor)


class _Actors(Agency[_Actor]):
    """Asks the cluster for actors and listens to them."""

    def __init__(self, ray: ModuleType, task: Task, *, num_cpus: int, num_gpus: float) -> None:
        self._ray = ray
        self._task = task
        self._environment = threads_environment(num_cpus)
        self._class = ray.remote(_Host).options(num_cpus=num_cpus, num_gpus=num_gpus)

    def hire(self, slot: int) -> _Actor:
        actor = self._class.remote(self._environment)
        return _Actor(self._ray, actor, self._task, name=f"actor {slot}")

    def listen(self, workers: Sequence[_Actor]) -> Sequence[tuple[_Actor, Message | None]]:
        # The death of one that is idle is noticed when it is given a job.
        by_stream = {w.messages: w for w in workers if w.messages is not None}
        ready, _ = self._ray.wait(list(by_stream), timeout=_POLL_S)
        if ready:  # and all others that have something to tell now
            ready, _ = self._ray.wait(list(by_stream), num_returns=len(by_stream), timeout=0)
        return [(by_stream[stream], by_stream[stream].hear()) for stream in ready]

    def dismiss(self, workers: Sequence[_Actor]) -> None:
        for worker in workers:
            worker.kill()

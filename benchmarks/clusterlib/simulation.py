"""A discrete-event simulation of `sentei.engine` on a cluster: one driver, one actor a GPU.

It follows `Crew`, the executor ``ray`` and `Store`: the driver hears one message at a time; a worker
has one job and waits for the next until the driver has stored its result; a worker that died costs
its job an attempt; workers that die in a row before they are ready end the study, which then has to
be started again; a new driver runs whatever has no result. Work inside a job is not saved.
"""

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

_HOUR = 3600.0
_NO_DRIVER = -1

State: TypeAlias = Literal["start", "work", "queue", "idle", "lost", "down"]
STATES: tuple[State, ...] = ("work", "start", "queue", "idle", "lost", "down")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What jobs run on, and how often what breaks.

    Args:
        num_nodes: Machines, >= 1.
        gpus_per_node: Workers of each, >= 1.
        start_s: Seconds from an actor's birth until it is ready.
        result_s: Seconds of the driver for a result: message and store.
        message_s: Seconds of the driver for every other message.
        gpu_failures_per_h: Of one worker: it begins anew on the same GPU.
        node_failures_per_h: Of one node, all of whose workers are lost; also pre-emptions.
        driver_failures_per_h: Of the driver, with everything that is not stored.
        detection_s: Seconds until the driver is told that a worker is gone.
        node_return_s: Seconds until a lost node, or another in its place, is there.
        driver_return_s: Seconds until someone, or something, has started the driver again.
        max_attempts: Of the engine: workers that a job may cost.

    Raises:
        ValueError: A number is out of its range.
    """

    num_nodes: int = 64
    gpus_per_node: int = 8
    start_s: float = 30.0
    result_s: float = 0.0
    message_s: float = 0.0
    gpu_failures_per_h: float = 0.0
    node_failures_per_h: float = 0.0
    driver_failures_per_h: float = 0.0
    detection_s: float = 30.0
    node_return_s: float = 1800.0
    driver_return_s: float = 300.0
    max_attempts: int = 3

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 1 if name in ("num_nodes", "gpus_per_node", "max_attempts") else 0
            if not value >= least:
                raise ValueError(f"{name} is {value}; give at least {least}")

    @property
    def num_gpus(self) -> int:
        """Workers of all nodes."""
        return self.num_nodes * self.gpus_per_node


@dataclass(kw_only=True)
class Outcome:
    """What became of a study.

    Attributes:
        wall_s: Seconds until the last job had ended.
        results: Job -> how often its result was stored.
        failed: Jobs that were given up.
        gpu_s: GPU-seconds by what the GPU did; ``work`` counts only what led to a result.
        events: How often something happened.
        driver_s: Seconds that the driver was busy.
    """

    wall_s: float = 0.0
    results: Counter[int] = field(default_factory=Counter)
    failed: set[int] = field(default_factory=set)
    gpu_s: dict[State, float] = field(default_factory=lambda: dict.fromkeys(STATES, 0.0))
    events: Counter[str] = field(default_factory=Counter)
    driver_s: float = 0.0

    def share(self, state: State) -> float:
        """Return the share of all GPU time that was spent so, in [0, 1]."""
        total = sum(self.gpu_s.values())
        return self.gpu_s[state] / total if total else 0.0


@dataclass(kw_only=True, eq=False)
class _Worker:
    node: int
    state: State = "start"
    since: float = 0.0
    life: int = 0  # what was planned for an earlier one does not happen
    job: int | None = None


def simulate(
    cluster: Cluster, seconds: Sequence[float], *, num_reports: int = 0, seed: int = 0
) -> Outcome:
    """Return what becomes of jobs that take so many seconds on a GPU, begun in their order.

    Args:
        cluster: Where.
        seconds: Of each job, > 0.
        num_reports: Messages of each job before its end. The driver's time for them is counted
            with its end, which is the same sum.
        seed: Of all failures.

    Raises:
        ValueError: A job takes no time.
    """
    if min(seconds, default=1.0) <= 0:
        raise ValueError(f"a job takes {min(seconds)} s; give more than 0")
    return _Run(cluster, seconds, num_reports, seed).run()


class _Run:
    """The state of one simulation."""

    def __init__(
        self, cluster: Cluster, seconds: Sequence[float], num_reports: int, seed: int
    ) -> None:
        self._cluster = cluster
        self._seconds = seconds
        self._done_s = cluster.result_s + num_reports * cluster.message_s
        self._rng = np.random.default_rng(seed)
        self._order = itertools.count()
        self._events: list[tuple[float, int, str, tuple[object, ...]]] = []
        self._now = 0.0
        self._outcome = Outcome()
        nodes = np.repeat(np.arange(cluster.num_nodes), cluster.gpus_per_node)
        self._workers = [_Worker(node=int(node)) for node in nodes]
        self._begin_driver()

    def run(self) -> Outcome:
        """Go from event to event until all jobs have ended."""
        self._plan_failures()
        while len(self._outcome.results) + len(self._outcome.failed) < len(self._seconds):
            self._now, _, kind, arguments = heapq.heappop(self._events)
            getattr(self, f"_on_{kind}")(*arguments)
        for worker in self._workers:
            self._become(worker, "idle")
        self._outcome.wall_s = self._now
        return self._outcome

    def _plan(self, delay_s: float, kind: str, *arguments: object) -> None:
        heapq.heappush(self._events, (self._now + delay_s, next(self._order), kind, arguments))

    def _become(self, worker: _Worker, state: State) -> None:
        self._outcome.gpu_s[worker.state] += self._now - worker.since
        worker.state, worker.since = state, self._now

    # The driver ---------------------------------------------------------------------------------

    def _begin_driver(self) -> None:
        self._queue: deque[tuple[str, _Worker, int, int | None]] = deque()
        self._is_serving = False
        self._shift = self._outcome.events["driver starts"]
        self._outcome.events["driver starts"] += 1
        ended = self._outcome.results.keys() | self._outcome.failed
        self._waiting = deque(job for job in range(len(self._seconds)) if job not in ended)
        self._attempts: Counter[int] = Counter()
        self._lost_in_a_row = 0
        for worker in self._workers:
            if worker.state != "down":
                self._hire(worker)

    def _on_restart(self) -> None:
        self._begin_driver()

    def _end_driver(self) -> None:
        """All that is not stored is lost; somebody starts the driver again."""
        self._shift = _NO_DRIVER
        for _, _, _, job in (message for message in self._queue if message[0] == "done"):
            assert job is not None
            self._outcome.gpu_s["work"] -= self._seconds[job]
            self._outcome.gpu_s["lost"] += self._seconds[job]
        for worker in self._workers:
            self._drop_work(worker)
            worker.life += 1
            if worker.state != "down":
                self._become(worker, "lost")
        self._plan(self._cluster.driver_return_s, "restart")

    def _tell(self, kind: str, worker: _Worker, job: int | None = None) -> None:
        self._queue.append((kind, worker, worker.life, job))
        self._serve()

    def _serve(self) -> None:
        if self._is_serving or not self._queue:
            return
        self._is_serving = True
        cost_s = self._done_s if self._queue[0][0] == "done" else self._cluster.message_s
        self._outcome.driver_s += cost_s
        self._plan(cost_s, "served", self._shift)

    def _on_served(self, shift: int) -> None:
        if shift != self._shift:
            return
        self._is_serving = False
        kind, worker, life, job = self._queue.popleft()
        if kind == "lost":
            self._hear_loss(worker, job)
        else:
            self._hear(kind, job)
            self._give(worker, life)
        if self._shift == shift:
            self._serve()

    def _hear(self, kind: str, job: int | None) -> None:
        self._lost_in_a_row = 0
        if kind != "ready":
            assert job is not None
            self._outcome.results[job] += 1

    def _hear_loss(self, worker: _Worker, job: int | None) -> None:
        if job is None:
            self._lost_in_a_row += 1
            if self._lost_in_a_row >= max(self._cluster.max_attempts, len(self._workers)):
                self._outcome.events["aborts"] += 1
                self._end_driver()
                return
        elif self._attempts[job] < self._cluster.max_attempts:
            self._waiting.appendleft(job)
            self._wake()
        else:
            self._outcome.failed.add(job)
        if worker.state == "lost":
            self._hire(worker)

    def _give(self, worker: _Worker, life: int) -> None:
        if not self._waiting:
            if worker.life == life:
                self._become(worker, "idle")
            return
        job = self._waiting.popleft()
        self._attempts[job] += 1
        if worker.life != life:  # it died while its message waited; this is how that is noticed
            self._tell("lost", worker, job)
            return
        self._become(worker, "work")
        worker.job = job
        self._plan(self._seconds[job], "finish", worker, life)

    def _wake(self) -> None:
        """Give a job that came back to one who had nothing left to do."""
        worker = next((w for w in self._workers if w.state == "idle"), None)
        if worker is not None and self._waiting:
            self._give(worker, worker.life)

    # Workers ------------------------------------------------------------------------------------

    def _hire(self, worker: _Worker) -> None:
        self._become(worker, "start")
        self._plan(self._cluster.start_s, "ready", worker, worker.life)

    def _on_ready(self, worker: _Worker, life: int) -> None:
        if worker.life == life:
            self._become(worker, "queue")
            self._tell("ready", worker)

    def _on_finish(self, worker: _Worker, life: int) -> None:
        if worker.life != life:
            return
        self._become(worker, "queue")
        job, worker.job = worker.job, None
        self._tell("done", worker, job)

    def _drop_work(self, worker: _Worker) -> None:
        """Count the work of a job that will have no result as lost."""
        if worker.job is not None:
            worker.state = "lost"
            worker.job = None

    def _die(self, worker: _Worker, into: State) -> None:
        if worker.state == "down":
            return
        state, job = worker.state, worker.job
        self._drop_work(worker)
        worker.life += 1
        self._become(worker, into)
        self._outcome.events["workers lost"] += 1
        if self._shift != _NO_DRIVER and state in ("work", "start"):
            self._plan(self._cluster.detection_s, "missed", self._shift, worker, job)

    def _on_missed(self, shift: int, worker: _Worker, job: int | None) -> None:
        if shift == self._shift:
            self._tell("lost", worker, job)

    # Failures -----------------------------------------------------------------------------------

    def _plan_failures(self) -> None:
        cluster = self._cluster
        for kind, rate_per_h in (
            ("gpu_failure", cluster.num_gpus * cluster.gpu_failures_per_h),
            ("node_failure", cluster.num_nodes * cluster.node_failures_per_h),
            ("driver_failure", cluster.driver_failures_per_h),
        ):
            self._plan_next(kind, rate_per_h)

    def _plan_next(self, kind: str, rate_per_h: float) -> None:
        if rate_per_h:
            self._plan(float(self._rng.exponential(_HOUR / rate_per_h)), kind, rate_per_h)

    def _on_gpu_failure(self, rate_per_h: float) -> None:
        self._plan_next("gpu_failure", rate_per_h)
        self._die(self._workers[self._rng.integers(len(self._workers))], "lost")

    def _on_node_failure(self, rate_per_h: float) -> None:
        self._plan_next("node_failure", rate_per_h)
        node = int(self._rng.integers(self._cluster.num_nodes))
        workers = [w for w in self._workers if w.node == node]
        if workers[0].state != "down":
            self._outcome.events["nodes lost"] += 1
            for worker in workers:
                self._die(worker, "down")
            self._plan(self._cluster.node_return_s, "return", node)

    def _on_return(self, node: int) -> None:
        for worker in self._workers:
            if worker.node == node:
                self._become(worker, "lost")
                if self._shift != _NO_DRIVER:
                    self._hire(worker)

    def _on_driver_failure(self, rate_per_h: float) -> None:
        self._plan_next("driver_failure", rate_per_h)
        if self._shift != _NO_DRIVER:
            self._end_driver()

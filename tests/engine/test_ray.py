"""The cluster engine: what serial gives, also when workers, machines and drivers die."""

import importlib.util
import os
import platform
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sentei.engine import EXECUTORS, Event, Job, Progress, open_store, run_jobs
from sentei.engine.ray_cluster import Ray
from sentei.errors import DeviceError, EngineError
from tests.engine.jobs import numbers, table, task
from tests.engine.test_study import (
    META,
    SERIAL,
    SLOW,
    errors,
    kinds,
    run,
    start_driver,
    wait_for_end,
    workers_of,
)

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")
# Ray opens files and sockets that it leaves to the garbage collector.
leaky = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def test_missing_ray_is_an_error_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    with pytest.raises(DeviceError, match=r"needs Ray; install it: pip install 'sentei\[ray\]'"):
        run(tmp_path, numbers(1), EXECUTORS["ray"]())


@pytest.mark.parametrize(
    ("field", "value", "least"),
    [("workers", 0, 1), ("num_cpus", 0, 1), ("num_gpus", -0.5, 0), ("max_attempts", 0, 1)],
)
def test_numbers_of_the_executor_are_checked(field: str, value: float, least: int) -> None:
    with pytest.raises(ValueError, match=f"{field} is {value}; at least {least} is needed"):
        EXECUTORS["ray"](**{field: value})


def test_address_of_a_ray_client_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'ray://a:1'; start the study on a machine of the"):
        Ray(address="ray://a:1")


@needs_ray
@leaky
@pytest.mark.parametrize("is_variable", [False, True])
def test_address_where_nothing_answers_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_variable: bool
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    if is_variable:
        monkeypatch.setenv("RAY_ADDRESS", address)

    with pytest.raises(DeviceError, match=f"no Ray cluster at '{address}' .*refused"):
        run(tmp_path, numbers(1), Ray(address=None if is_variable else address))


@pytest.fixture(scope="class")
def cluster() -> Iterator[None]:
    """Run a cluster of this process's own: two cores."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", num_cpus=2, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@leaky
@pytest.mark.usefixtures("cluster")
class TestOneMachine:
    def test_actors_give_what_serial_gives_to_the_bit(self, tmp_path: Path) -> None:
        _, expected = run(tmp_path / "serial", numbers(20), SERIAL)

        told, found = run(tmp_path / "ray", numbers(20), Ray())

        assert list(found.items()) == list(expected.items())
        workers = {event.worker for event, _ in told}
        assert 1 <= len(workers) <= 2
        assert all(name.endswith(f" on {platform.node()}") for name in workers)

    def test_cluster_of_the_caller_is_not_shut_down(self, tmp_path: Path) -> None:
        run(tmp_path, numbers(1), Ray())

        assert pytest.importorskip("ray").is_initialized()

    def test_failing_job_is_recorded_while_the_others_finish(self, tmp_path: Path) -> None:
        told, found = run(tmp_path, [Job({"x": 9, "fails": True}), *numbers(5)], Ray())

        assert kinds(told) == {"start": 6, "done": 5, "failed": 1}
        assert len(found) == 5
        (error,) = errors(tmp_path)
        assert error.endswith("ZeroDivisionError: job 9 divides by zero\n")

    def test_reports_come_while_their_job_runs(self, tmp_path: Path) -> None:
        told, _ = run(tmp_path, numbers(1, reports=3), Ray())

        assert [(event.kind, event.values.get("step")) for event, _ in told[:-1]] == [
            ("start", None),
            ("report", 0),
            ("report", 1),
            ("report", 2),
        ]
        assert told[-1][0].kind == "done"

    def test_killed_worker_costs_its_job_an_attempt(self, tmp_path: Path) -> None:
        flag = tmp_path / "flag"
        flag.touch()
        deadly = Job({"x": 2, "dies_while": str(flag), "once": True})

        told, found = run(tmp_path / "study", [*numbers(2), deadly, *numbers(5)], Ray())

        assert kinds(told) == {"start": 7, "retry": 1, "done": 6}
        assert deadly.key in found

    def test_job_that_kills_every_worker_has_failed(self, tmp_path: Path) -> None:
        deadly = Job({"x": 2, "dies_while": str(tmp_path)})

        told, _ = run(tmp_path / "study", [deadly, *numbers(3)], Ray(max_attempts=2))

        assert kinds(told) == {"start": 5, "retry": 1, "failed": 1, "done": 3}
        (error,) = errors(tmp_path / "study")
        assert error.startswith("given up after 2 workers: its worker process ")

    def test_task_that_cannot_be_built_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(EngineError, match="cannot be built in a worker: FileNotFoundError"):
            run(tmp_path, numbers(2), Ray(), of=task("make_nothing"))

    def test_workers_without_room_are_refused(self, tmp_path: Path) -> None:
        message = "cluster has 2 cores and 0 GPUs, no room for a worker of 3 cores and 0 GPUs"
        with pytest.raises(DeviceError, match=message):
            run(tmp_path, numbers(1), Ray(num_cpus=3))
        with pytest.raises(DeviceError, match=r"no room for a worker of 1 cores and 0.5 GPUs"):
            run(tmp_path, numbers(1), Ray(num_gpus=0.5))

    def test_threads_are_the_cores_of_the_actor(self, tmp_path: Path) -> None:
        names = ["OMP_NUM_THREADS", "OMP_WAIT_POLICY"]
        job = Job({"names": names})

        _, found = run(tmp_path, [job], Ray(num_cpus=2), of=task("make_environment"))

        assert found == {job.key: "{'OMP_NUM_THREADS': '2', 'OMP_WAIT_POLICY': 'passive'}"}


@pytest.mark.slow
@needs_ray
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_stopped_study_goes_on_to_the_same_table(tmp_path: Path, sign: signal.Signals) -> None:
    process = start_driver(tmp_path / "study", "ray", 30)
    children = workers_of(process)
    process.send_signal(sign)
    _, complaint = process.communicate(timeout=60)
    wait_for_end(children)

    assert (b"KeyboardInterrupt" in complaint) == (sign != signal.SIGKILL)
    with open_store(tmp_path / "study", {"study": "slow"}) as store:
        before = len(store.results())
        run_jobs(store, SLOW, task=task(), executor=SERIAL)
        after = table(store)
    assert 0 < before < 30
    assert list(after.items()) == list(run(tmp_path / "whole", SLOW, SERIAL)[1].items())


@contextmanager
def connected_cluster(head_cpus: int) -> Iterator[Any]:
    """Yield a simulated cluster whose head, with so many cores, this process is connected to."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    machines = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": head_cpus})
    try:
        ray.init(address=machines.address, logging_level="ERROR", log_to_driver=False)
        yield machines
    finally:
        ray.shutdown()
        machines.shutdown()


@pytest.mark.slow
@leaky
def test_jobs_of_a_lost_machine_run_on_the_others(tmp_path: Path) -> None:
    jobs = numbers(40, sleep_s=0.3)
    nodes: list[Any] = []
    workers: set[str] = set()

    def lose(event: Event, progress: Progress) -> None:
        workers.add(event.worker)
        if len(workers) == 4 and progress.finished >= 8 and nodes:  # all have a job
            machines.remove_node(nodes.pop(), allow_graceful=False)

    with connected_cluster(1) as machines, open_store(tmp_path / "study", META) as store:
        machines.add_node(num_cpus=1)
        nodes.append(machines.add_node(num_cpus=2))
        end = run_jobs(store, jobs, task=task(), executor=Ray(), on_event=lose)
        found = table(store)
        attempts = [result.attempts for result in store.results().values()]

    assert nodes == []
    assert (end.done, end.failed) == (40, 0)
    assert max(attempts) == 2
    assert list(found.items()) == list(run(tmp_path / "serial", jobs, SERIAL)[1].items())


@pytest.mark.slow
@leaky
def test_study_begins_when_a_machine_joins(tmp_path: Path) -> None:
    found: dict[str, str] = {}

    def study() -> None:
        found.update(run(tmp_path, numbers(3), Ray(workers=2))[1])

    with connected_cluster(0) as machines:
        thread = threading.Thread(target=study, daemon=True)
        thread.start()
        thread.join(timeout=2)
        assert thread.is_alive()
        machines.add_node(num_cpus=1)
        thread.join(timeout=60)

    assert len(found) == 3

"""Studies: every executor gives the same, and what dies takes at most its own job with it."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sentei.engine import (
    EXECUTORS,
    Event,
    Executor,
    Job,
    Listener,
    Progress,
    Task,
    open_store,
    read_store,
    run_jobs,
    status,
)
from sentei.engine.process import Process
from sentei.engine.serial import Serial
from sentei.errors import EngineError
from tests.engine.jobs import numbers, table, task

META = {"study": "test"}
SERIAL = Serial()
ONE = Process(workers=1, threads=1)
TWO = Process(workers=2, threads=1)


def run(
    directory: Path,
    jobs: list[Job],
    executor: Executor,
    *,
    of: Task | None = None,
    retry_failed: bool = False,
) -> tuple[list[tuple[Event, Progress]], dict[str, str]]:
    """Run a study and return what it told, and its table."""
    told: list[tuple[Event, Progress]] = []
    with open_store(directory, META) as store:
        run_jobs(
            store,
            jobs,
            task=of or task(),
            executor=executor,
            on_event=lambda event, progress: told.append((event, progress)),
            retry_failed=retry_failed,
        )
        return told, table(store)


def kinds(told: list[tuple[Event, Progress]]) -> Counter[str]:
    return Counter(event.kind for event, _ in told)


def errors(directory: Path) -> list[str]:
    with read_store(directory) as store:
        return [failure.error for failure in store.failures().values()]


def test_serial_gives_what_the_task_computes(tmp_path: Path) -> None:
    _, found = run(tmp_path, numbers(5), SERIAL)

    assert list(found.values()) == [
        repr({"root": math.sqrt(x) + 0.1, "third": x / 3}) for x in range(5)
    ]


@pytest.mark.parametrize("executor", [ONE, Process(workers=3, threads=1)])
def test_processes_give_what_serial_gives_to_the_bit(tmp_path: Path, executor: Executor) -> None:
    _, expected = run(tmp_path / "serial", numbers(20), SERIAL)
    _, found = run(tmp_path / "process", numbers(20), executor)

    assert list(found.items()) == list(expected.items())


def test_jobs_are_begun_in_their_order(tmp_path: Path) -> None:
    jobs = numbers(8)[::-1]

    told, _ = run(tmp_path, jobs, TWO)

    assert [event.job for event, _ in told if event.kind == "start"] == jobs


@pytest.mark.parametrize("executor", [SERIAL, ONE])
def test_equal_jobs_run_once_and_finished_ones_never_again(
    tmp_path: Path, executor: Executor
) -> None:
    jobs = numbers(3)
    first, _ = run(tmp_path, [*jobs, *jobs], executor)
    second, _ = run(tmp_path, [*numbers(5), *jobs], executor)
    third, found = run(tmp_path, jobs, executor)

    assert [kinds(told)["done"] for told in (first, second, third)] == [3, 2, 0]
    assert len(found) == 5


@pytest.mark.parametrize("executor", [SERIAL, TWO])
def test_failing_job_is_recorded_while_the_others_finish(
    tmp_path: Path, executor: Executor
) -> None:
    jobs = [*numbers(3), Job({"x": 9, "fails": True}), *numbers(6)]

    told, found = run(tmp_path, jobs, executor)

    assert len(found) == 6
    assert kinds(told) == {"start": 7, "done": 6, "failed": 1}
    (error,) = errors(tmp_path)
    assert error.startswith("Traceback")
    assert error.endswith("ZeroDivisionError: job 9 divides by zero\n")


@pytest.mark.parametrize("executor", [SERIAL, ONE])
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"x": 1, "is_odd": True}, "ValueError: result.array is <object"),
        ({"x": 1, "exits": 3}, "SystemExit: 3"),
    ],
)
def test_result_that_is_no_json_and_an_exit_are_failures(
    tmp_path: Path, executor: Executor, spec: dict[str, Any], message: str
) -> None:
    run(tmp_path, [Job(spec), *numbers(1)], executor)

    (error,) = errors(tmp_path)
    assert message in error


def test_failed_job_is_tried_again_only_on_demand(tmp_path: Path) -> None:
    (job,) = jobs = [Job({"x": 4, "fails": True})]
    run(tmp_path, jobs, SERIAL)

    again, _ = run(tmp_path, jobs, SERIAL)
    on_demand, _ = run(tmp_path, jobs, SERIAL, retry_failed=True)

    assert (kinds(again), kinds(on_demand)) == ({}, {"start": 1, "failed": 1})
    with read_store(tmp_path) as store:
        assert list(store.failures()) == [job.key]


@pytest.mark.parametrize("executor", [SERIAL, ONE])
def test_reports_come_in_order_with_their_job(tmp_path: Path, executor: Executor) -> None:
    jobs = numbers(2, reports=3)

    told, _ = run(tmp_path, jobs, executor)

    assert [(e.job.spec["x"], e.kind, e.values.get("step")) for e, _ in told] == [
        (x, kind, step)
        for x in range(2)
        for kind, step in [
            ("start", None),
            ("report", 0),
            ("report", 1),
            ("report", 2),
            ("done", None),
        ]
    ]


def test_progress_counts_earlier_calls_and_estimates_from_this_one(tmp_path: Path) -> None:
    run(tmp_path, [*numbers(2), Job({"x": 8, "fails": True})], SERIAL)

    told, _ = run(tmp_path, [*numbers(5), Job({"x": 8, "fails": True})], SERIAL)

    first, last = told[0][1], told[-1][1]
    counts = [(p.total, p.done, p.failed, p.running, p.finished) for p in (first, last)]
    assert counts == [(6, 2, 1, 1, 0), (6, 5, 1, 0, 3)]
    assert (first.seconds_left, last.seconds_left) == (None, 0.0)
    half = Progress(total=10, done=3, failed=1, finished=2, elapsed_s=4.0)
    assert (half.jobs_per_s, half.seconds_left) == (0.5, 12.0)


def test_status_counts_by_label_and_estimates_the_work_left(tmp_path: Path) -> None:
    with open_store(tmp_path, META) as store:
        run_jobs(
            store,
            [*numbers(4, sleep_s=0.01), Job({"x": 7, "fails": True}, "odd")],
            task=task(),
            executor=SERIAL,
        )
        store.add_jobs([Job({"x": 8}, "odd"), Job({"x": 9}, "odd")])

        found = status(store)

        assert (found.total, found.done, found.failed) == (7, 4, 1)
        assert list(found.labels.items()) == [
            ("third 0", (2, 2, 0)),
            ("third 1", (1, 1, 0)),
            ("third 2", (1, 1, 0)),
            ("odd", (3, 0, 1)),
        ]
        key = Job({"x": 7, "fails": True}).key
        assert found.failures == {key: ("odd", "ZeroDivisionError: job 7 divides by zero")}
        walls = [r.wall_s for r in store.results().values()]
        assert found.work_left_s == pytest.approx(2 * sum(walls) / 4)
        assert min(walls) >= 0.01


def test_status_of_an_empty_study_estimates_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path, META) as store:
        assert (status(store).total, status(store).work_left_s) == (0, None)


def test_killed_worker_costs_its_job_an_attempt_and_the_others_nothing(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    deadly = Job({"x": 2, "dies_while": str(flag), "once": True})
    jobs = [*numbers(2), deadly, *numbers(6)]

    told, found = run(tmp_path / "study", jobs, TWO)

    assert kinds(told) == {"start": 8, "retry": 1, "done": 7}
    assert found[deadly.key] == repr({"root": math.sqrt(2) + 0.1, "third": 2 / 3})
    (retry,) = [event for event, _ in told if event.kind == "retry"]
    assert retry.job == deadly
    assert "was killed by SIGKILL" in retry.error
    with read_store(tmp_path / "study") as store:
        attempts = {key: result.attempts for key, result in store.results().items()}
    assert attempts == {job.key: 1 + (job == deadly) for job in jobs}


def test_worker_killed_from_outside_is_replaced(tmp_path: Path) -> None:
    killed: list[Event] = []

    def kill_first(event: Event, _progress: Progress) -> None:
        if event.kind == "start" and not killed:
            killed.append(event)
            os.kill(int(event.worker.removeprefix("process ")), signal.SIGKILL)

    with open_store(tmp_path / "killed", META) as store:
        end = run_jobs(store, numbers(6), task=task(), executor=TWO, on_event=kill_first)
        found = table(store)

    assert (end.done, end.failed, end.running) == (6, 0, 0)
    assert found == run(tmp_path / "serial", numbers(6), SERIAL)[1]


def test_job_that_kills_every_worker_has_failed_after_max_attempts(tmp_path: Path) -> None:
    deadly = Job({"x": 2, "dies_while": str(tmp_path)})

    told, found = run(
        tmp_path / "study", [deadly, *numbers(3)], Process(workers=2, threads=1, max_attempts=2)
    )

    assert kinds(told) == {"start": 5, "retry": 1, "failed": 1, "done": 3}
    assert len(found) == 3
    (error,) = errors(tmp_path / "study")
    assert error.startswith("given up after 2 workers: its worker process ")
    assert error.endswith("was killed by SIGKILL; if memory ran out, use fewer")


def test_death_is_noticed_while_a_child_holds_the_socket(tmp_path: Path) -> None:
    job = Job({"flag": str(tmp_path / "flag")})

    told, found = run(tmp_path / "study", [job], ONE, of=task("make_parent"))

    assert kinds(told) == {"start": 2, "retry": 1, "done": 1}
    assert found == {job.key: "{'second': True}"}


@pytest.mark.parametrize("executor", [SERIAL, ONE])
def test_task_that_cannot_be_built_is_an_error_with_its_reason(
    tmp_path: Path, executor: Executor
) -> None:
    message = (
        r"jobs.py:make_nothing cannot be built in a worker: FileNotFoundError: no weights at "
        r"weights.safetensors"
    )
    with pytest.raises(EngineError, match=message) as caught:
        run(tmp_path, numbers(2), executor, of=task("make_nothing"))

    assert "in make_nothing" in caught.value.__notes__[0]


def test_workers_that_die_before_they_are_ready_are_an_error(tmp_path: Path) -> None:
    message = "2 workers in a row ended before they were ready .*make_end: .*SIGKILL; look at"
    with pytest.raises(EngineError, match=message):
        run(tmp_path, numbers(2), Process(workers=1, max_attempts=2), of=task("make_end"))


def test_cores_are_shared_out_to_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentei.engine.process.num_cores", lambda: 7)
    names = ["OMP_NUM_THREADS", "OMP_WAIT_POLICY"]

    _, found = run(
        tmp_path, [Job({"names": names})], Process(workers=2), of=task("make_environment")
    )

    assert list(found.values()) == ["{'OMP_NUM_THREADS': '3', 'OMP_WAIT_POLICY': 'passive'}"]


def test_gpus_are_dealt_out_in_turn(tmp_path: Path) -> None:
    # The jobs of a worker wait until all three have one.
    jobs = [Job({"x": x, "crowd": str(tmp_path / "crowd"), "size": 3}) for x in range(3)]
    executor = Process(gpus=("4", "5"), workers=3, threads=1)

    _, found = run(tmp_path / "study", jobs, executor, of=task("make_crowd"))

    assert sorted(found.values()) == ["{'gpu': '4'}", "{'gpu': '4'}", "{'gpu': '5'}"]


@pytest.mark.parametrize("name", ["workers", "threads", "max_attempts"])
def test_numbers_of_an_executor_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0; at least 1 is needed"):
        EXECUTORS["process"](**{name: 0})


def test_executors_are_found_by_name() -> None:
    assert {"serial", "process", "ray"} <= set(EXECUTORS)


DRIVER = "import sys; from tests.engine.jobs import drive; drive(*sys.argv[1:3], int(sys.argv[3]))"


def start_driver(directory: Path, engine_name: str, count: int) -> subprocess.Popen[bytes]:
    """Start a study in a process of its own, and return it when a few jobs are done."""
    command = [sys.executable, "-c", DRIVER, str(directory), engine_name, str(count)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    journal = directory / "journal.jsonl"
    for _ in range(600):
        # Of the last that are seen a signal may come before the disk has them: one a worker.
        if journal.exists() and journal.read_bytes().count(b'"kind":"result"') > 2:
            return process
        time.sleep(0.05)
    process.kill()
    raise TimeoutError("the driver finished no job")


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


def wait_for_end(pids: list[int]) -> None:
    for _ in range(100):
        if not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids):
            return
        time.sleep(0.1)
    raise TimeoutError(f"{pids} go on")


SLOW = numbers(30, sleep_s=0.05)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return run(tmp_path_factory.mktemp("whole"), SLOW, SERIAL)[1]


@pytest.mark.parametrize("engine_name", ["serial", "process"])
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_stopped_study_goes_on_to_the_table_of_one_that_was_not(
    tmp_path: Path, uninterrupted: dict[str, str], engine_name: str, sign: signal.Signals
) -> None:
    process = start_driver(tmp_path / "study", engine_name, 30)
    workers = workers_of(process)
    process.send_signal(sign)
    _, complaint = process.communicate(timeout=30)
    wait_for_end(workers)

    assert (b"KeyboardInterrupt" in complaint) == (sign != signal.SIGKILL)
    with open_store(tmp_path / "study", {"study": "slow"}) as store:
        before = table(store)
        told: list[Event] = []
        run_jobs(
            store,
            SLOW,
            task=task(),
            executor=TWO,
            on_event=lambda event, _progress: told.append(event),
        )
        after = table(store)
    assert 0 < len(before) < 30
    assert sum(event.kind == "start" for event in told) == 30 - len(before)
    assert list(after.items()) == list(uninterrupted.items())


def test_interrupt_of_a_listener_ends_the_workers(tmp_path: Path) -> None:
    workers = []

    def interrupt(event: Event, _progress: Progress) -> None:
        workers.append(int(event.worker.removeprefix("process ")))
        if event.kind == "done":
            raise KeyboardInterrupt

    with open_store(tmp_path, META) as store, pytest.raises(KeyboardInterrupt):
        run_jobs(store, numbers(9), task=task(), executor=TWO, on_event=interrupt)

    wait_for_end(workers)


def test_study_runs_in_a_thread_and_leaves_signals_alone(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    found: list[dict[str, str]] = []
    thread = threading.Thread(target=lambda: found.append(run(tmp_path, numbers(2), SERIAL)[1]))

    thread.start()
    thread.join()

    assert len(found[0]) == 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_hung_job_is_ended_tried_again_and_given_up(tmp_path: Path) -> None:
    flag, for_ever = tmp_path / "flag", tmp_path
    flag.touch()
    once = Job({"x": 1, "hangs_while": str(flag), "once": True})
    always = Job({"x": 2, "hangs_while": str(for_ever)})
    patient = Process(workers=2, threads=1, max_attempts=2, max_silence_s=1.5)

    told, found = run(tmp_path / "study", [once, always, *numbers(2)], patient)

    assert kinds(told) == {"start": 6, "retry": 2, "done": 3, "failed": 1}
    assert once.key in found
    (error,) = errors(tmp_path / "study")
    assert "said nothing for 1.5 s; allow more (max_silence_s)" in error


def test_results_that_come_together_take_one_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Together(Executor):
        def run(self, task: Task, jobs: Sequence[Job], listener: Listener) -> None:
            ends: list[Event] = []
            SERIAL.run(
                task, jobs, lambda events: ends.extend(e for e in events if e.kind == "done")
            )
            listener([*ends, ends[0]])

    written: list[int] = []
    monkeypatch.setattr("sentei.engine.journal.os.fsync", written.append)

    told, found = run(tmp_path, numbers(5), Together())

    assert len(written) == 3  # what the study is, its jobs, and all their results
    assert kinds(told) == {"done": 5, "repeated": 1}
    assert len(found) == 5


class Twice(Executor):
    """Runs every job twice."""

    def run(self, task: Task, jobs: Sequence[Job], listener: Listener) -> None:
        for _ in range(2):
            SERIAL.run(task, jobs, listener)


def test_second_result_of_a_job_is_dropped_and_told(tmp_path: Path) -> None:
    told, found = run(tmp_path, numbers(2), Twice())

    assert kinds(told) == {"start": 4, "done": 2, "repeated": 2}
    assert len(found) == 2

"""A study of spaces on a Ray cluster of this machine: the rows of one worker, whoever dies."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sentei import engine
from sentei.spaces import read_config, run_study, study_status
from tests.engine.test_ray import connected_cluster, leaky
from tests.engine.test_study import wait_for_end, workers_of
from tests.spaces.test_run import SERIAL, quick, rows_in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray"),
    leaky,
]


def small(**changes: Any) -> Any:  # noqa: ANN401 - as quick
    return quick(search={"regimes": []}, supernet={"epochs": 0}, **changes)


def test_ray_gives_the_rows_of_one_worker_bit_for_bit_though_a_worker_is_killed(
    tmp_path: Path,
) -> None:
    killed: list[int] = []

    def kill_once(event: engine.Event, progress: engine.Progress) -> None:
        named = re.match(r"process (\d+) on", event.worker)
        if named and event.kind in ("start", "report") and progress.finished >= 3 and not killed:
            killed.append(int(named[1]))
            os.kill(killed[0], signal.SIGKILL)

    run_study(small(), tmp_path / "serial", executor=SERIAL)
    run_study(
        small(),
        tmp_path / "ray",
        executor=engine.EXECUTORS["ray"](workers=2),
        on_event=kill_once,
    )

    assert len(killed) == 1
    assert rows_in(tmp_path / "ray") == rows_in(tmp_path / "serial")


DRIVER = """
import sys
from sentei import engine
from sentei.spaces import read_config, run_study

if __name__ == "__main__":
    run_study(read_config(sys.argv[1]), sys.argv[1], executor=engine.EXECUTORS["ray"](workers=2))
"""


def test_a_killed_driver_goes_on_and_ends_with_the_rows_of_one_that_was_not(
    tmp_path: Path,
) -> None:
    run_study(small(), tmp_path / "serial", executor=SERIAL)
    run_study(small(), tmp_path / "ray", executor=SERIAL, until="sample")
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path / "ray")])
    journal, deadline = tmp_path / "ray" / "journal.jsonl", time.monotonic() + 180
    while journal.read_text().count('"kind":"result"') < 5:
        assert driver.poll() is None, "the driver ended before it was killed"
        assert time.monotonic() < deadline, "the driver finished no five jobs"
        time.sleep(0.02)
    children = workers_of(driver)
    driver.kill()
    driver.wait()
    wait_for_end(children)
    before = study_status(tmp_path / "ray")

    resumed: list[str] = []
    run_study(
        read_config(tmp_path / "ray"),
        tmp_path / "ray",
        executor=engine.EXECUTORS["ray"](workers=2),
        on_event=lambda event, _: resumed.append(event.kind),
    )

    after = study_status(tmp_path / "ray")
    assert 5 <= before.done < after.total
    assert resumed.count("done") == after.total - before.done  # nothing is computed twice
    assert rows_in(tmp_path / "ray") == rows_in(tmp_path / "serial")


def test_a_machine_lost_in_mid_study_changes_no_row(tmp_path: Path) -> None:
    lost: list[str] = []
    workers: set[str] = set()

    def lose(event: engine.Event, progress: engine.Progress) -> None:
        workers.add(event.worker)
        if len(workers) == 2 and progress.finished >= 4 and nodes:  # one on each machine
            machines.remove_node(nodes.pop(), allow_graceful=False)
        if event.kind == "retry":
            lost.append(event.error)

    run_study(small(), tmp_path / "serial", executor=SERIAL)
    with connected_cluster(1) as machines:
        nodes = [machines.add_node(num_cpus=1)]
        run_study(
            small(), tmp_path / "ray", executor=engine.EXECUTORS["ray"](workers=2), on_event=lose
        )

    assert nodes == []
    assert len(lost) == 1
    assert study_status(tmp_path / "ray").failed == 0
    assert rows_in(tmp_path / "ray") == rows_in(tmp_path / "serial")

"""A study of spaces on a Ray cluster of this machine: the rows of one worker, whoever dies."""

import importlib.util
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from sentei import engine
from sentei.spaces import run_study, study_status
from tests.engine.test_ray import connected_cluster, leaky
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

"""What a result costs the driver: the real store, on the disk of this machine."""

import resource
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sentei.engine import Job, Result, Store, open_store
from sentei.engine.database import DATABASE_NAME, JOURNAL_NAME
from sentei.engine.journal import Journal
from sentei.records import utc_now

NUM_GROUPS = 53  # of a network as deep as ResNet-50
META = {"study": "cluster inputs"}


def measure_store(folder: Path, *, num_results: int, backlog: int) -> dict[str, float]:
    """Return seconds and bytes of storing results and of opening a store again.

    Args:
        folder: An empty one, on the disk that counts.
        num_results: Results that are stored one by one, >= 1.
        backlog: Results that a journal holds that a new driver catches up with.
    """
    jobs = [_job(index) for index in range(backlog + num_results)]
    with open_store(folder / "empty", META) as store:
        store.add_jobs(jobs[:num_results])
        at_empty = _seconds_each(store, jobs[:num_results])
    full, found = folder / "full", {}
    with open_store(full, META) as store:
        begin = time.perf_counter()
        store.add_jobs(jobs)
        found["add_jobs_s"] = time.perf_counter() - begin
        before = _bytes(full)
        Journal(full / JOURNAL_NAME).append(_entries(jobs[:backlog]))
        begin = time.perf_counter()
        store.catch_up()
        found["catch_up_s"] = time.perf_counter() - begin
        at_full = _seconds_each(store, jobs[backlog:])
        found["bytes_per_result"] = (_bytes(full) - before) / len(jobs)
    begin = time.perf_counter()
    with open_store(full, META) as store:
        store.add_jobs(jobs)
        store.rows("SELECT key FROM result")
        found["reopen_s"] = time.perf_counter() - begin
    return {
        **found,
        "bytes_total": float(_bytes(full)),
        "max_memory_bytes": 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "num_results": float(num_results),
        "backlog": float(backlog),
        "median_s_empty": statistics.median(at_empty),
        "mean_s_empty": statistics.mean(at_empty),
        "median_s_full": statistics.median(at_full),
        "mean_s_full": statistics.mean(at_full),
        "p99_s_full": float(np.quantile(at_full, 0.99)),
        "fsync_s": _fsync_s(folder, rounds=min(num_results, 300)),
    }


def _job(index: int) -> Job:
    widths = {
        f"layer{g // 12}.{g % 12}.conv": 64 + (index * (g + 7)) % 449 for g in range(NUM_GROUPS)
    }
    return Job({"widths": widths, "replicate": index, "epochs": 0}, label="space")


def _result(index: int) -> Result:
    values: dict[str, Any] = {
        "val_accuracy": 1 / (index + 2),
        "val_loss": 1 + 1 / (index + 2),
        "test_accuracy": None,
        "test_loss": None,
        "one_shot": {"val_accuracy": 1 / (index + 2), "val_loss": 1 + 1 / (index + 2)},
        "macs": 2_000_000_000 + index,
        "num_parameters": 12_000_000 + index,
        "curve": [],
        "seconds": dict.fromkeys(("prune", "recalibrate", "validate", "train", "test"), 1.2345),
    }
    worker = "process 12345 on node-17.cluster.internal"
    return Result(value=values, wall_s=3.21, finished_at=utc_now(), worker=worker, attempts=1)


def _entries(jobs: list[Job]) -> Iterator[dict[str, Any]]:
    for index, job in enumerate(jobs):
        yield {"kind": "result", "key": job.key, **asdict(_result(index))}


def _seconds_each(store: Store, jobs: list[Job]) -> list[float]:
    seconds = []
    for index, job in enumerate(jobs):
        result = _result(index)
        begin = time.perf_counter()
        assert store.add_ends([(job.key, result)]) == [True]
        seconds.append(time.perf_counter() - begin)
    return seconds


def _bytes(folder: Path) -> int:
    names = (DATABASE_NAME, f"{DATABASE_NAME}-wal", JOURNAL_NAME)
    return sum((folder / name).stat().st_size for name in names if (folder / name).exists())


def _fsync_s(folder: Path, *, rounds: int) -> float:
    """Return the median seconds of one append with fsync alone."""
    journal, seconds = Journal(folder / "alone.jsonl"), []
    for index in range(rounds):
        entry = {"kind": "result", "key": str(index), **asdict(_result(index))}
        begin = time.perf_counter()
        journal.append([entry])
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)

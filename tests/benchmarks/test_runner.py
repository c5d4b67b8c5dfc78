"""Limits, resumption and tables of the benchmarks."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.zoolib.runner import Limits, append_record, read_records, run_all
from benchmarks.zoolib.table import markdown, missed_bars, summary


def behave(name: str) -> Mapping[str, Any]:
    if name == "dies":
        os._exit(3)
    if name == "hangs":
        time.sleep(60)
    if name == "computes":
        while True:
            time.process_time()
    if name == "eats":
        hoard = [bytes(range(256)) * 4096 * 1500]
        time.sleep(60)
        del hoard
    return {"name": name, "ok": True, "silent": False}


@pytest.fixture(scope="module")
def records() -> dict[str, dict[str, Any]]:
    limits = Limits(seconds=6.0, patience=3.0, memory_bytes=1 << 30)
    names = ["works", "dies", "hangs", "computes", "eats"]
    runs = run_all(names, behave, jobs=5, limits=limits, preload=["benchmarks.zoolib.check"])
    return {r["name"]: r for r in runs}


@pytest.mark.slow
def test_a_process_that_dies_leaves_a_record(records: dict[str, dict[str, Any]]) -> None:
    assert records["dies"]["reason"] == "the process died with exit code 3"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hangs", "computes"])
def test_a_process_without_end_is_stopped(records: dict[str, dict[str, Any]], name: str) -> None:
    assert records[name]["stage"] == "time"


@pytest.mark.slow
def test_a_process_that_takes_too_much_memory_is_stopped(
    records: dict[str, dict[str, Any]],
) -> None:
    assert records["eats"]["stage"] == "memory"


@pytest.mark.slow
def test_what_a_process_returns_arrives(records: dict[str, dict[str, Any]]) -> None:
    assert records["works"]["ok"] is True


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    append_record(path, {"name": "a", "ok": True})
    path.write_text(path.read_text() + '{"name": "b", "o')
    assert read_records(path) == {"a": {"name": "a", "ok": True}}


def test_the_last_record_of_a_name_counts(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append_record(path, {"name": "a", "ok": False})
    append_record(path, {"name": "a", "ok": True})
    assert read_records(path)["a"]["ok"] is True


def record(
    name: str, *, ok: bool = True, silent: bool = False, removed: float = 0.7
) -> dict[str, Any]:
    return {
        "name": name,
        "ok": ok,
        "silent": silent,
        "removed": removed,
        "stage": "verify",
        "reason": "a | b",
    }


def test_one_failed_network_of_torchvision_misses_the_bar() -> None:
    records = [record("a"), record("b", ok=False)]
    sources = dict.fromkeys("ab", "torchvision video")
    assert missed_bars(records, sources) == ["torchvision: 1 of 2 failed: b"]


@pytest.mark.parametrize(("failed", "missed"), [(2, 0), (3, 1)])
def test_two_of_a_hundred_families_of_timm_may_fail(failed: int, missed: int) -> None:
    records = [record(f"n{i}", ok=i >= failed) for i in range(100)]
    assert len(missed_bars(records, {r["name"]: "timm" for r in records})) == missed


def test_a_silent_error_misses_the_bar_wherever_it_is() -> None:
    wrong = record("a", ok=False, silent=True)
    assert missed_bars([wrong], {"a": "YOLO"}) == ["silent error: a"]


def test_the_summary_counts_by_source() -> None:
    records = [record("a"), record("b", ok=False, removed=0.3), record("c", removed=0.5)]
    sources = {"a": "x", "b": "x", "c": "y"}
    assert summary(records, sources) == [
        ["x", "1 of 2", "0", "1 of 2", "50%"],
        ["y", "1 of 1", "0", "1 of 1", "50%"],
    ]


def test_the_page_lists_failures_with_escaped_reasons() -> None:
    page = markdown([record("a", ok=False)], {"a": "timm"}, facts=["one core"])
    assert "| a | verify | `a \\| b` |" in page

"""A study of spaces on digits: whole, interrupted, resumed, refused."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sentei import engine
from sentei.cli import main
from sentei.errors import CheckpointError, PruningError, SpaceError
from sentei.graph import trace
from sentei.methods.base_network import load_splits
from sentei.models import load_model
from sentei.report.space_schema import Analysis
from sentei.spaces import StudyConfig, read_config, run_study, study_status
from sentei.spaces.config import study_from_mapping
from sentei.surgery.checkpoint import load_pretrained, save_pretrained
from sentei.train import evaluate

SERIAL = engine.EXECUTORS["serial"]()
VOLATILE = ("seconds",)


def quick(**changes: Any) -> StudyConfig:  # noqa: ANN401 - of any table
    values: dict[str, Any] = {
        "base": {
            "model": "digits_cnn",
            "data": "digits",
            "base_epochs": 2,
            "train_images": 300,
            "val_images": 100,
            "test_images": 80,
        },
        "regimes": [0.5],
        "window": 0.02,
        "protocol": {"epochs": 1, "recalibration_images": 64, "calibration_images": 64},
        "population": {"strata": 4, "per_stratum": 4, "natural": 6, "replicated": 0.25},
        "resampling": {"draws": 50},
        "supernet": {"epochs": 1},
        "search": {"regimes": [0.5], "fresh": 4, "candidates": 4, "trained": 2, "epochs": 2},
        **changes,
    }
    return study_from_mapping(values, origin="test")


def rows_in(directory: Path) -> list[dict[str, Any]]:
    """Return the rows of a study without what differs from run to run."""
    rows = json.loads((directory / "rows.json").read_text())
    return [{k: v for k, v in row.items() if k not in VOLATILE} for row in rows]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Analysis]:
    directory = tmp_path_factory.mktemp("study")
    analysis = run_study(quick(), directory, executor=SERIAL)
    assert analysis is not None
    return directory, analysis


def of_space(rows: Sequence[dict[str, Any]], space: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["space"] == space]


def test_every_population_is_evaluated_as_the_study_asks(finished: tuple[Path, Analysis]) -> None:
    directory, _ = finished
    rows = rows_in(directory)

    trained = [row for row in of_space(rows, "stratified") if not row["supernet"]]
    # 16 recipes (equal ones count once), a quarter of them three times.
    subnets = {row["subnet"] for row in trained}
    assert 8 < len(subnets) <= 16
    assert {row["epochs"] for row in trained} == {1}
    assert {row["replicate"] for row in trained} == {0, 1, 2}
    assert all(0.48 <= row["macs_left"] <= 0.52 for row in trained)
    assert {row["epochs"] for row in of_space(rows, "natural")} == {0}
    assert len(of_space(rows, "uniform")) == 3


def test_the_supernet_judges_every_trained_recipe(finished: tuple[Path, Analysis]) -> None:
    directory, analysis = finished
    trained = [row for row in of_space(rows_in(directory), "stratified") if row["epochs"] == 1]
    shared = [row for row in of_space(rows_in(directory), "stratified") if row["supernet"]]

    assert {row["subnet"] for row in shared} == {row["subnet"] for row in trained}
    assert {row["epochs"] for row in shared} == {0}
    assert [proxy.name for proxy in analysis.proxies] == ["one shot", "supernet"]
    alone = {row["subnet"]: row["one_shot"] for row in trained}
    assert any(row["one_shot"] != alone[row["subnet"]] for row in shared)


def test_another_supernet_is_refused(tmp_path: Path) -> None:
    run_study(quick(), tmp_path, executor=SERIAL, until="sample")

    with pytest.raises(CheckpointError, match="holds another supernet: epochs"):
        run_study(quick(supernet={"epochs": 2}), tmp_path, executor=SERIAL)


def test_rows_count_the_costs_of_the_network_that_was_cut(finished: tuple[Path, Analysis]) -> None:
    directory, _ = finished
    row = rows_in(directory)[0]
    model = load_pretrained(directory / "base")
    dense = sum(p.numel() for p in model.parameters())

    assert row["params_left"] == pytest.approx(row["num_parameters"] / dense)
    assert row["ratio"] == pytest.approx(row["macs_left"] / row["params_left"])
    pruned = 1 - np.array(list(row["widths"].values())) / [16, 32, 32]
    assert row["std"] == pytest.approx(pruned.std())


def test_drops_are_points_of_accuracy_below_the_dense_network(
    finished: tuple[Path, Analysis],
) -> None:
    directory, _ = finished
    facts = json.loads((directory / "base" / "facts.json").read_text())

    for row in rows_in(directory):
        lost = 100 * (facts["val_accuracy"] - row["val_accuracy"])
        assert row["drop"] == pytest.approx(lost)
        assert (row["test_drop"] is None) == (row["epochs"] == 0)


def test_the_search_ends_with_full_trainings_of_finalists_and_rivals(
    finished: tuple[Path, Analysis],
) -> None:
    directory, analysis = finished
    full = [row for row in rows_in(directory) if row["epochs"] == 2]

    assert {"uniform L1", "global L1", "default"} < {row["space"] for row in full}
    assert {row["replicate"] for row in full} == {0, 1, 2}
    assert {c.method for c in analysis.contenders} == {row["space"] for row in full}
    assert "C5" in {verdict.conjecture for verdict in analysis.verdicts}


def test_the_found_architecture_is_saved_and_as_accurate_as_its_row(
    finished: tuple[Path, Analysis],
) -> None:
    directory, analysis = finished
    found = analysis.found[0]
    model = load_pretrained(directory / "found-0.5").eval()

    groups = trace(model, torch.zeros(2, 1, 8, 8)).groups
    assert tuple(group.width for group in groups) == found.widths
    data = load_splits(quick().base, model)
    row = next(r for r in rows_in(directory) if r["epochs"] == 2 and r["replicate"] == 0)
    assert row["space"] == found.name.removeprefix("found by ")
    assert evaluate(model, data.loader("test", batch_size=80)).accuracy == row["test_accuracy"]


def test_a_finished_study_is_not_computed_again(finished: tuple[Path, Analysis]) -> None:
    directory, analysis = finished
    seen: list[str] = []

    again = run_study(
        read_config(directory),
        directory,
        executor=SERIAL,
        on_event=lambda event, _: seen.append(event.kind),
    )

    assert again is not None
    assert dataclasses.replace(again, created=analysis.created) == analysis
    assert seen == []


def test_a_report_of_a_study_in_progress_runs_nothing(tmp_path: Path) -> None:
    halted: list[bool] = []

    def halt(_event: engine.Event, progress: engine.Progress) -> None:
        if progress.done == 14 and not halted:
            halted.append(True)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(quick(supernet={"epochs": 0}), tmp_path, executor=SERIAL, on_event=halt)
    found = run_study(quick(supernet={"epochs": 0}), tmp_path, executor=None)

    assert found is not None
    assert study_status(tmp_path).done == 14
    assert len(rows_in(tmp_path)) == 14
    assert [regime.level for regime in found.regimes] == [0.5]
    assert found.contenders == ()


def test_status_counts_jobs_by_population(finished: tuple[Path, Analysis]) -> None:
    directory, _ = finished

    found = study_status(directory)

    assert found.done == found.total
    assert found.labels["0.5 stratified"][0] >= 8


def test_populations_are_frozen_before_anything_is_evaluated(tmp_path: Path) -> None:
    assert run_study(quick(), tmp_path, executor=SERIAL, until="sample") is None

    names = {path.name for path in (tmp_path / "populations").iterdir()}
    assert names == {"0.5-stratified.json", "0.5-natural.json"}
    assert study_status(tmp_path).total == 0


def test_an_altered_population_is_refused(tmp_path: Path) -> None:
    run_study(quick(), tmp_path, executor=SERIAL, until="sample")
    path = tmp_path / "populations" / "0.5-natural.json"
    path.write_text(path.read_text().replace('"widths": [[', '"widths": [[1, 1, 1], [', 1))

    with pytest.raises(CheckpointError, match="altered after it was written"):
        run_study(quick(), tmp_path, executor=SERIAL, until="sample")


def test_a_changed_base_network_is_refused(tmp_path: Path) -> None:
    run_study(quick(), tmp_path, executor=SERIAL, until="sample")
    other = load_model("digits_cnn", num_classes=10).model
    source = {"spec": "digits_cnn", "kwargs": {"num_classes": 10}}
    save_pretrained(other, tmp_path / "base", source=source)

    with pytest.raises(CheckpointError, match="not the one this study began with"):
        run_study(quick(), tmp_path, executor=SERIAL)


def test_another_protocol_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    run_study(quick(), tmp_path, executor=SERIAL, until="sample")

    with pytest.raises(CheckpointError, match="learning_rate"):
        run_study(quick(protocol={"epochs": 1, "learning_rate": 0.5}), tmp_path, executor=SERIAL)


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    messages: list[str] = []

    def intrude(_event: engine.Event, _progress: engine.Progress) -> None:
        if not messages:
            with pytest.raises(PruningError) as raised:
                run_study(quick(), tmp_path, executor=SERIAL)
            messages.append(str(raised.value))

    run_study(quick(), tmp_path, executor=SERIAL, on_event=intrude, until="evaluate")

    assert "another" in messages[0]
    assert str(tmp_path) in messages[0]


def test_failed_trainings_are_counted_in_the_report_and_stop_nothing(tmp_path: Path) -> None:
    config = quick(protocol={"epochs": 1, "learning_rate": 1e30, "recalibration_images": 64})

    found = run_study(config, tmp_path, executor=SERIAL, until="evaluate")

    assert found is not None
    status = study_status(tmp_path)
    assert status.failed > 8
    assert f"{status.failed} jobs failed" in found.about
    assert len(of_space(rows_in(tmp_path), "natural")) == 6


def test_an_empty_space_says_what_conflicts(tmp_path: Path) -> None:
    slabs = [{"quantity": "params", "low": 0.0, "high": 0.05}]

    with pytest.raises(SpaceError, match=r"params in \[0, 0.05\]"):
        run_study(quick(space={"slabs": slabs}), tmp_path, executor=SERIAL)


@pytest.mark.slow
def test_a_killed_study_goes_on_and_ends_with_the_same_rows(
    tmp_path: Path, finished: tuple[Path, Analysis]
) -> None:
    directory, _ = finished
    code = (
        "import json, sys; from sentei import engine; from sentei.spaces import *;"
        "run_study(read_config(sys.argv[1]), sys.argv[1],"
        " executor=engine.EXECUTORS['serial']())"
    )
    run_study(quick(), tmp_path, executor=SERIAL, until="sample")
    driver = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    journal, deadline = tmp_path / "journal.jsonl", time.monotonic() + 60
    while time.monotonic() < deadline and journal.read_text().count('"result"') < 5:
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()

    run_study(
        read_config(tmp_path), tmp_path, executor=engine.EXECUTORS["process"](workers=2, threads=1)
    )

    assert rows_in(tmp_path) == rows_in(directory)


def test_the_command_prints_the_tables_as_json(
    tmp_path: Path, finished: tuple[Path, Analysis], capsys: pytest.CaptureFixture[str]
) -> None:
    directory, analysis = finished

    assert main(["space", "resume", str(directory), "--engine", "serial", "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert [v["conjecture"] for v in document["verdicts"]] == [
        v.conjecture for v in analysis.verdicts
    ]
    assert main(["space", "status", str(directory)]) == 0
    assert "0.5 stratified" in capsys.readouterr().out

"""A study of spaces on digits: whole, interrupted, resumed, refused."""

import dataclasses
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import kendalltau

from sentei import engine
from sentei.cli import main
from sentei.errors import CheckpointError, ConfigError, DeviceError, PruningError, SpaceError
from sentei.graph import trace
from sentei.methods.base_network import load_splits
from sentei.models import load_model
from sentei.report.space_schema import Analysis
from sentei.spaces import (
    StudyConfig,
    contest_latency,
    read_config,
    rounds,
    run_study,
    study_status,
)
from sentei.spaces.config import SearchConfig, study_from_mapping
from sentei.spaces.extrapolate import extrapolate
from sentei.spaces.joint import report_studies, unlike
from sentei.spaces.populate import over_strata
from sentei.spaces.regime_data import RegimeData
from sentei.spaces.result_proxies import may_screen
from sentei.spaces.space import Slab
from sentei.spaces.subnets import Member, Wish, in_order_of_widths, rows_of
from sentei.surgery.checkpoint import load_pretrained, save_pretrained
from sentei.train import Progress, evaluate

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


def test_spaces_are_shown_with_their_share_of_the_regime(finished: tuple[Path, Analysis]) -> None:
    directory, analysis = finished
    spaces = analysis.regimes[0].spaces

    frozen = json.loads((directory / "populations" / "0.5-stratified.json").read_text())
    known = {n: w / 4 for n, w in zip(frozen["strata"], frozen["weights"], strict=True)}
    assert sum(known.values()) == pytest.approx(1.0)
    # A stratum of one recipe is not shown.
    strata = [space for space in spaces if space.family == "strata of m"]
    shares = [math.exp(space.log_volume) for space in strata if space.log_volume is not None]
    assert 2 <= len(shares) <= 4
    for share in shares:
        assert any(share == pytest.approx(own) for own in known.values())
    weighted = next(space for space in spaces if space.name == "weighted as the regime")
    trained = {
        row["subnet"]: row["weight"]
        for row in of_space(rows_in(directory), "stratified")
        if row["epochs"] == 1
    }
    assert sorted(weighted.weights) == pytest.approx(sorted(trained.values()))
    assert weighted.mean == pytest.approx(np.average(weighted.drops, weights=weighted.weights))
    assert weighted.epsilon is None


def test_the_supernet_judges_every_trained_recipe(finished: tuple[Path, Analysis]) -> None:
    directory, analysis = finished
    trained = [row for row in of_space(rows_in(directory), "stratified") if row["epochs"] == 1]
    shared = [row for row in of_space(rows_in(directory), "stratified") if row["supernet"]]

    assert {row["subnet"] for row in shared} == {row["subnet"] for row in trained}
    assert {row["epochs"] for row in shared} == {0}
    assert [proxy.name for proxy in analysis.proxies] == ["one shot", "supernet"]
    alone = {row["subnet"]: row["one_shot"] for row in trained}
    assert any(row["one_shot"] != alone[row["subnet"]] for row in shared)


@pytest.mark.slow
def test_trainings_of_the_driver_tell_their_steps_and_go_on_after_their_last_epoch(
    tmp_path: Path,
) -> None:
    base = {**dataclasses.asdict(quick().base), "base_epochs": 2}
    config = quick(base=base, supernet={"epochs": 2})
    run_study(config, tmp_path / "whole", executor=SERIAL, until="sample")
    seen: list[tuple[str, int]] = []

    def kill(step: Progress) -> None:
        seen.append((step.phase, step.epoch))
        # The second epochs of both trainings are cut off once.
        if seen.count((step.phase, 2)) == 1 and step.epoch == 2:
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_study(config, tmp_path / "cut", executor=SERIAL, until="sample", on_progress=kill)
    run_study(config, tmp_path / "cut", executor=SERIAL, until="sample", on_progress=kill)

    steps = math.ceil(300 / 64)
    for phase in ("base", "supernet"):
        assert seen.count((phase, 1)) == steps
        assert seen.count((phase, 2)) == 1 + steps
    for name in ("base/model.safetensors", "supernet/state.safetensors"):
        whole, cut = (load_file(tmp_path / part / name) for part in ("whole", "cut"))
        assert whole.keys() == cut.keys()
        assert all(torch.equal(whole[key], cut[key]) for key in whole)
    assert not (tmp_path / "cut" / "training").exists()


def test_another_supernet_is_refused(tmp_path: Path) -> None:
    run_study(quick(), tmp_path, executor=SERIAL, until="sample")

    with pytest.raises(CheckpointError, match="holds another supernet: epochs"):
        run_study(quick(supernet={"epochs": 2}), tmp_path, executor=SERIAL)


@pytest.mark.parametrize("text", ['{"base": ', "3"])
def test_damaged_settings_of_a_supernet_are_named_with_a_way_out(tmp_path: Path, text: str) -> None:
    run_study(quick(), tmp_path, executor=SERIAL, until="sample")
    path = tmp_path / "supernet" / "settings.json"
    weights = load_file(tmp_path / "supernet" / "state.safetensors")
    path.write_text(text)

    with pytest.raises(
        CheckpointError, match=r"settings\.json cannot be read .* or remove .*supernet:"
    ):
        run_study(quick(), tmp_path, executor=SERIAL, until="sample")

    shutil.rmtree(path.parent)
    run_study(quick(), tmp_path, executor=SERIAL, until="sample")
    again = load_file(tmp_path / "supernet" / "state.safetensors")
    assert all(torch.equal(weights[key], again[key]) for key in weights)


def test_a_recipe_of_two_spaces_is_evaluated_once_and_counts_in_both() -> None:
    facts = {"subnet": "a", "regime": 0.5, "widths": {"conv1": 4}}
    wishes = [Wish(member=Member(facts={**facts, "space": name})) for name in ("one", "two", "two")]
    value = {"val_accuracy": 0.8, "test_accuracy": None}
    store = SimpleNamespace(results=lambda: {wishes[0].job.key: SimpleNamespace(value=value)})

    found = rows_of(wishes, store, {"val_accuracy": 0.9})  # type: ignore[arg-type]

    assert len({wish.job.key for wish in wishes}) == 1
    assert [(row["space"], round(row["drop"], 9)) for row in found] == [("one", 10), ("two", 10)]


def test_what_only_validates_comes_last_by_its_first_widths() -> None:
    def wish(first: int, second: int, **fields: Any) -> Wish:  # noqa: ANN401 - of a wish
        return Wish(member=Member(facts={"widths": {"a": first, "b": second}}), **fields)

    trained = [wish(9, 9, epochs=1), wish(1, 1, epochs=1), wish(5, 5, zero_cost="snip")]
    ordered = [wish(2, 7), wish(3, 1), wish(3, 4), wish(1, 1, supernet=True)]

    found = in_order_of_widths(
        [ordered[2], trained[0], ordered[3], ordered[1], *trained[1:], ordered[0]]
    )

    assert found == [*trained, *ordered]


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

    rivals = {"EagleEye", "uniform L1", "global L1", "cost-aware L1"}
    assert rivals < {row["space"] for row in full}
    assert {row["replicate"] for row in full} == {0, 1, 2}
    assert {c.method for c in analysis.contenders} == {row["space"] for row in full}
    assert "C5" in {verdict.conjecture for verdict in analysis.verdicts}


def test_eagle_eye_is_the_natural_recipe_that_is_most_accurate_before_training(
    finished: tuple[Path, Analysis],
) -> None:
    rows = rows_in(finished[0])
    natural = [row for row in of_space(rows, "natural") if row["epochs"] == 0]
    most = max(row["val_accuracy"] for row in natural)
    equals = [row for row in natural if row["val_accuracy"] == most]
    best = min(equals, key=lambda row: row["val_loss"])

    chosen = of_space(rows, "EagleEye")

    assert {row["subnet"] for row in chosen} == {best["subnet"]}
    assert {row["sampler"] for row in chosen} == {"bisection"}
    assert len(chosen) == 3


@pytest.mark.slow
def test_a_zero_cost_score_screens_the_search_and_touches_no_conjecture(
    tmp_path: Path, finished: tuple[Path, Analysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, usual = finished
    asked: list[bool] = []

    def screens(data: RegimeData) -> bool:
        asked.append(may_screen(data))
        return True

    monkeypatch.setattr("sentei.spaces.run.may_screen", screens)
    search = {**dataclasses.asdict(quick().search), "screen": "synflow"}

    found = run_study(quick(search=search), tmp_path, executor=SERIAL)

    assert found is not None
    rows = rows_in(tmp_path)
    scored = [row for row in rows if row["zero_cost"]]
    assert all(row["drop"] is None and row["val_accuracy"] is None for row in scored)
    for space in ("search refined", "search base"):
        candidates = of_space(scored, space)
        if candidates:
            best = sorted(candidates, key=lambda row: -row["score"])[:2]
            short = [row for row in of_space(rows, space) if row["epochs"] == 1]
            assert {row["subnet"] for row in short} == {row["subnet"] for row in best}
            assert not [r for r in of_space(rows, space) if r["epochs"] == 0 and not r["zero_cost"]]
    drops: dict[str, list[float]] = {}
    for row in of_space(rows, "stratified"):
        if row["epochs"] == 1:
            drops.setdefault(row["subnet"], []).append(row["drop"])
    scores = {row["subnet"]: row["score"] for row in of_space(scored, "stratified")}
    proxy = next(p for p in found.proxies if p.name == "synflow")
    means = [np.mean(own) for own in drops.values()]
    expected = kendalltau([-scores[name] for name in drops], means).statistic
    assert proxy.tau == pytest.approx(expected)
    assert proxy.partial_tau is not None
    assert asked == [proxy.interval[0] >= 0.5]
    judged = [[v for v in one.verdicts if v.conjecture != "C5"] for one in (found, usual)]
    assert judged[0] == judged[1]
    choices = {choice.name: choice.value for choice in found.choices}
    assert choices["screen of the search"] == "synflow"


def test_a_score_that_is_not_known_of_all_screens_nothing() -> None:
    rows = [
        {"space": "stratified", "zero_cost": "naswot", "subnet": name, "score": score}
        for name, score in (("a", 1.0), ("b", None))
    ]
    recipes = SimpleNamespace(subnets=("a", "b"), recipe=np.array([0, 1]), one_shot_drop=None)
    config = SimpleNamespace(search=SearchConfig(screen="naswot"))
    data = SimpleNamespace(config=config, rows=rows, recipes=recipes)

    assert may_screen(data) is False  # type: ignore[arg-type]


def test_the_found_architecture_and_its_rivals_are_timed_once(
    finished: tuple[Path, Analysis],
) -> None:
    directory, analysis = finished
    times = json.loads((directory / "latency-found-0.5.json").read_text())

    assert [f.name.removeprefix("found by ") for f in analysis.found] == [*times["times_ms"]]
    assert {"EagleEye", "uniform L1", "global L1", "cost-aware L1"} < times["times_ms"].keys()
    accuracies = {c.method: c.accuracy for c in analysis.contenders}
    for found in analysis.found:
        method = found.name.removeprefix("found by ")
        assert found.accuracy == accuracies[method]
        assert found.latency_ms == times["times_ms"][method]
        assert found.speedup is not None
        assert found.speedup_interval is not None
        low, high = found.speedup_interval
        assert low <= found.speedup <= high
        assert found.device.endswith("1 threads, batch of 1")
    # All ratios are to one dense network.
    dense_ms = [(f.speedup or 0.0) * (f.latency_ms or 0.0) for f in analysis.found]
    assert dense_ms == pytest.approx([dense_ms[0]] * len(dense_ms))


def test_a_runtime_that_is_not_there_ends_no_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise DeviceError("runtime 'eager' is on strike; hire another")

    monkeypatch.setattr(contest_latency, "time_networks", refuse)
    scene = SimpleNamespace(
        config=quick(), dense={"a": 2}, graph=SimpleNamespace(widths=np.array([2]))
    )
    rows = {"uniform L1": [{"subnet": "x", "widths": {"a": 1}}]}

    found = contest_latency.contest_times(scene, tmp_path, 0.5, rows)  # type: ignore[arg-type]

    assert found.times_ms == {}
    assert found.where == "not timed: runtime 'eager' is on strike; hire another"
    assert list(tmp_path.iterdir()) == []


def test_latencies_of_other_subnetworks_or_torn_ones_are_not_taken(
    tmp_path: Path, finished: tuple[Path, Analysis]
) -> None:
    directory, _ = finished
    path = tmp_path / "latency-found-0.5.json"
    text = (directory / "latency-found-0.5.json").read_text()
    subnets = json.loads(text)["subnets"]
    contest = {name: [{"subnet": subnet}] for name, subnet in subnets.items()}
    path.write_text(text)

    assert contest_latency.read_contest_times(tmp_path, 0.5, contest) is not None
    other = {**contest, "cost-aware L1": [{"subnet": "another"}]}
    assert contest_latency.read_contest_times(tmp_path, 0.5, other) is None
    path.write_text(text[:50])
    with pytest.raises(CheckpointError, match=r"holds no latencies .*delete it, they are measured"):
        contest_latency.read_contest_times(tmp_path, 0.5, contest)


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


def interrupt(config: StudyConfig, directory: Path, *, done: int) -> None:
    """Run a study until so many of its jobs are done."""
    halted: list[bool] = []

    def halt(_event: engine.Event, progress: engine.Progress) -> None:
        if progress.done == done and not halted:
            halted.append(True)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(config, directory, executor=SERIAL, on_event=halt)


def test_a_report_of_a_study_in_progress_runs_nothing(tmp_path: Path) -> None:
    interrupt(quick(supernet={"epochs": 0}), tmp_path, done=14)
    drawn = sorted(path.name for path in (tmp_path / "populations").iterdir())
    found = run_study(quick(supernet={"epochs": 0}), tmp_path, executor=None)

    assert found is not None
    assert study_status(tmp_path).done == 14
    assert len(rows_in(tmp_path)) == 14
    assert [regime.level for regime in found.regimes] == [0.5]
    assert found.contenders == ()
    assert sorted(path.name for path in (tmp_path / "populations").iterdir()) == drawn


def refine_to(monkeypatch: pytest.MonkeyPatch, *quantiles: float) -> None:
    """Say what is refined to: the network is too small to have a valley."""

    def slabs(data: RegimeData) -> list[tuple[Slab, ...]]:
        ends = np.quantile([row["ratio"] for row in data.rows], [*quantiles, 1.0])
        return [(Slab(quantity="ratio", low=a, high=b),) for a, b in itertools.pairwise(ends)]

    monkeypatch.setattr(rounds, "refined_slabs", lambda data, *_: slabs(data)[0])
    monkeypatch.setattr(rounds, "placebo_slabs", lambda data, *_: slabs(data)[1])


@pytest.mark.slow
def test_a_report_in_between_leaves_a_study_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refine_to(monkeypatch, 0.2, 0.6)
    config = quick(supernet={"epochs": 0})
    interrupt(config, tmp_path / "cut", done=14)
    run_study(config, tmp_path / "cut", executor=None)
    run_study(config, tmp_path / "cut", executor=SERIAL)
    run_study(config, tmp_path / "whole", executor=SERIAL)

    assert len(of_space(rows_in(tmp_path / "whole"), "refined")) == 4
    assert rows_in(tmp_path / "cut") == rows_in(tmp_path / "whole")
    _grows_but_does_not_shrink(tmp_path / "whole", monkeypatch)


def _grows_but_does_not_shrink(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was drawn stays under other thresholds, grows, and does not shrink."""
    refine_to(monkeypatch, 0.3, 0.5)
    before, config = rows_in(directory), read_config(directory)
    search = {"regimes": [0.5], "fresh": 6, "candidates": 6, "trained": 2, "epochs": 2}
    fewer = quick(supernet={"epochs": 0}, search={**search, "fresh": 3})
    with pytest.raises(CheckpointError, match="holds 4 recipes, and 3 were asked for"):
        run_study(fewer, directory, executor=SERIAL)
    assert read_config(directory) == config

    more = quick(
        supernet={"epochs": 0},
        thresholds={"smallest_drop": 3.0},
        resampling={"draws": 60},
        search=search,
    )
    run_study(more, directory, executor=SERIAL)

    for space in ("fresh base", "refined", "placebo"):
        old, new = (of_space(rows, space) for rows in (before, rows_in(directory)))
        assert [row["subnet"] for row in new[: len(old)]] == [row["subnet"] for row in old]
    there = json.loads((directory / "populations" / "0.5-refined.json").read_text())
    assert len(there["widths"]) == 6


@pytest.mark.slow
def test_jobs_start_as_the_protocol_says(tmp_path: Path) -> None:
    config = quick(
        protocol={"epochs": 1, "recalibration_images": 64, "weights": "new"},
        population={"strata": 4, "per_stratum": 4, "natural": 0, "replicated": 0.25},
    )

    found = run_study(config, tmp_path, executor=SERIAL, until="evaluate")

    assert found is not None
    rows = rows_in(tmp_path)
    assert {r["weights"] for r in rows if not r["supernet"]} == {"new"}
    assert {r["weights"] for r in rows if r["supernet"]} == {"kept"}
    assert study_status(tmp_path).failed == 0
    assert [regime.level for regime in found.regimes] == [0.5]
    control = next(why for name, why in found.missing.items() if "new weights" in name)
    assert control.startswith("the protocol of the study itself is so")


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


def test_a_study_of_before_an_option_came_goes_on(tmp_path: Path) -> None:
    run_study(quick(), tmp_path, executor=SERIAL, until="sample")
    with engine.read_store(tmp_path) as store:
        stored = store.meta
    del stored["config"]["space"]["mac_scope"], stored["config"]["regime_by"]
    for name in ("journal.jsonl", "study.sqlite"):
        (tmp_path / name).unlink()
    with engine.open_store(tmp_path, stored):
        pass

    run_study(read_config(tmp_path), tmp_path, executor=SERIAL, until="sample")

    with pytest.raises(CheckpointError, match="regime_by is None there and 'params' now"):
        run_study(quick(regime_by="params"), tmp_path, executor=SERIAL, until="sample")


def identity(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a row is of."""
    names = ("subnet", "space", "epochs", "replicate", "ranking", "weights", "supernet")
    return tuple(row[name] for name in names)


@pytest.mark.slow
def test_controls_may_come_later_and_run_nothing_again(tmp_path: Path) -> None:
    run_study(quick(search={"regimes": []}, supernet={}), tmp_path, executor=SERIAL)
    before = {identity(row): row for row in rows_in(tmp_path)}
    population = {**dataclasses.asdict(quick().population), "controls": 2}

    config = quick(search={"regimes": []}, supernet={}, population=population)
    run_study(config, tmp_path, executor=SERIAL)

    after = {identity(row): row for row in rows_in(tmp_path)}
    new = [row for key, row in after.items() if key not in before]
    assert {key: after[key] for key in before} == before
    assert sorted((row["ranking"], row["weights"]) for row in new) == [
        ("criterion", "new"), ("criterion", "new"), ("random", "kept"), ("random", "kept"),
    ]  # fmt: skip
    assert read_config(tmp_path).population.controls == 2


@pytest.mark.slow
def test_regimes_may_be_shares_of_the_parameters(tmp_path: Path) -> None:
    config = quick(
        regime_by="params",
        supernet={},
        space={"bucket_edges": [0.49, 0.505]},
        thresholds={"winner_rule": "best1"},
        search={
            "regimes": [0.5],
            "fresh": 0,
            "candidates": 2,
            "trained": 1,
            "epochs": 2,
            "seeds": 1,
        },
    )

    found = run_study(config, tmp_path, executor=SERIAL)

    assert found is not None
    rows = rows_in(tmp_path)
    assert all(abs(row["params_left"] - 0.5) <= 0.02 for row in rows if row["space"] != "uniform")
    assert np.std([row["macs_left"] for row in rows]) > 0.01
    only = found.regimes[0]
    assert only.name == "digits_cnn at 50 % of the parameters"
    assert only.population is not None
    assert only.population.winners is not None
    assert only.population.winners.rule == "the best"
    best = min(point.drop for point in only.population.points)
    first, last = only.population.winners.band
    assert {p.drop for p in only.population.points if p.ratio in (first, last)} == {best}
    left = {
        row["subnet"]: row["params_left"]
        for row in of_space(rows, "stratified")
    }  # fmt: skip
    counts = np.histogram(list(left.values()), [0, 0.49, 0.505, 1])[0]
    buckets = {s.name: len(s.drops) for s in only.spaces if s.family == "parameter buckets"}
    names = ("parameters 0 to 0.49", "parameters 0.49 to 0.505", "parameters 0.505 to 1")
    expected = {name: n for name, n in zip(names, counts.tolist(), strict=True) if n > 1}
    assert buckets == expected
    assert sum(counts) == len(left)


def test_spaces_of_std_are_drawn_and_compared(tmp_path: Path) -> None:
    config = quick(
        supernet={},
        population={
            "strata": 2, "per_stratum": 4, "natural": 0, "std_edges": [0.05, 0.15], "per_std_bin": 12
        },
    )  # fmt: skip

    found = run_study(config, tmp_path, executor=SERIAL, until="evaluate")

    assert found is not None
    rows = rows_in(tmp_path)
    low, high = (of_space(rows, name) for name in ("STD 0.05 to 0.15", "STD from 0.15"))
    assert all(0.05 <= row["std"] <= 0.15 for row in low)
    assert all(row["std"] >= 0.15 for row in high)
    shares = math.exp(low[0]["log_share"]) + math.exp(high[0]["log_share"])
    assert 0.3 < shares < 1.2
    spaces = {s.name: s for s in found.regimes[0].spaces if s.family == "bins of STD"}
    assert sorted(spaces["STD from 0.15"].drops) == sorted(row["drop"] for row in high)
    assert spaces["STD from 0.15"].log_volume == high[0]["log_share"]
    spread = next(verdict for verdict in found.verdicts if verdict.conjecture == "C0")
    assert list(spread.numbers) == ["ks_p 0.05-0.15 0.15-1"]


@pytest.mark.slow
def test_cells_of_std_by_m_are_drawn_and_crossed(tmp_path: Path) -> None:
    config = quick(
        supernet={},
        population={
            "strata": 2, "per_stratum": 4, "natural": 0, "std_edges": [0.0, 0.1, 0.2],
            "cell_regimes": [0.5], "cell_bins": 3, "per_cell": 5,
        },
    )  # fmt: skip

    found = run_study(config, tmp_path, executor=SERIAL, until="evaluate")

    assert found is not None
    rows = of_space(rows_in(tmp_path), "cells")
    bins = [(0.0, 0.1), (0.1, 0.2), (0.2, 1.0)]
    for row in rows:
        low, high = bins[row["stratum"] // 3]
        assert low <= row["std"] <= high
    columns = [[r["ratio"] for r in rows if r["stratum"] % 3 == i] for i in range(3)]
    assert all(max(one) < min(other) for one, other in itertools.pairwise(columns))
    crossed, spaces = found.regimes[0].cells, found.regimes[0].spaces
    assert crossed is not None
    drops = [[r["drop"] for r in rows if r["stratum"] == number] for number in range(9)]
    assert [n for row in crossed.counts for n in row] == [len(own) for own in drops]
    means = [mean for row in crossed.means for mean in row]
    # Nothing at half of the MACs is as narrow as the least m and yet spreads so little.
    assert means[0] is None
    assert means[1:] == [pytest.approx(np.mean(own)) for own in drops[1:]]
    shown = [s for s in spaces if s.family == "cells of STD from 0.2"]
    assert [sorted(s.drops) for s in shown] == [sorted(own) for own in drops[6:]]
    # Cells are parts of the regime: their shares add up to nearly all of it.
    cells = [s for s in spaces if s.family.startswith("cells of")]
    assert 0.6 < sum(math.exp(s.log_volume) for s in cells if s.log_volume is not None) < 1.3
    scopes = [verdict.scope for verdict in found.verdicts if verdict.conjecture == "C0"]
    assert scopes == ["digits_cnn at 50 % of the MACs, cells"]
    choices = {choice.name: choice.value for choice in found.choices}
    assert (
        choices["cells of STD by m"] == "in regime 0.5: 3 bins of STD by 3 of m, 5 trained of each"
    )


def test_cells_that_are_all_empty_are_refused(tmp_path: Path) -> None:
    population = {"std_edges": [0.9], "cell_regimes": [0.5], "strata": 2, "per_stratum": 2}

    with pytest.raises(SpaceError, match=r"none of 3 cells of STD by m has a recipe in regime 0.5"):
        run_study(quick(population=population), tmp_path, executor=SERIAL, until="sample")


def test_trainings_of_full_length_are_spread_over_the_strata() -> None:
    members = [Member(facts={"stratum": stratum}) for stratum in (0, 0, 0, 1, 1, 1, 2, 2, 2)]
    order = np.array([0, 1, 2, 8, 7, 6, 4, 5, 3])

    assert over_strata(members, order, 5) == [members[i] for i in (0, 8, 4, 1, 7)]
    assert over_strata(members, order, 0) == []


@pytest.mark.slow
def test_full_trainings_judge_short_ones_and_forecasts(tmp_path: Path) -> None:
    config = quick(
        supernet={},
        fidelity={"recipes": 10, "epochs": 7},
        population={"strata": 4, "per_stratum": 4},
    )

    found = run_study(config, tmp_path, executor=SERIAL, until="evaluate")

    assert found is not None
    rows = of_space(rows_in(tmp_path), "stratified")
    full = {row["subnet"]: row for row in rows if row["epochs"] == 7}
    assert len(full) == 10
    proxies = {proxy.name: proxy for proxy in found.proxies}
    assert {"one shot", "one shot against 7 epochs", "1 epochs against 7 epochs"} <= proxies.keys()
    short = {row["subnet"]: row for row in rows if row["epochs"] == 1}
    means = {
        name: np.mean([r["drop"] for r in rows if r["epochs"] == 1 and r["subnet"] == name])
        for name in short
    }
    drops, fulls = zip(*((means[name], row["drop"]) for name, row in full.items()), strict=True)
    assert proxies["1 epochs against 7 epochs"].tau == pytest.approx(
        kendalltau(drops, fulls).statistic
    )
    assert sorted(proxies["1 epochs against 7 epochs"].values) == pytest.approx(sorted(drops))
    forecast = proxies.get("extrapolated from 5 of 7 epochs")
    bending = [row for row in full.values() if _foretold(row) is not None]
    assert (forecast is not None) == (len(bending) >= 10)


def _foretold(row: dict[str, Any]) -> float | None:
    try:
        return extrapolate([one["val_loss"] for one in row["curve"]][:5], epoch=7).value
    except ValueError:
        return None


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


def test_a_report_of_several_studies_judges_the_law_over_all(
    tmp_path: Path, finished: tuple[Path, Analysis], capsys: pytest.CaptureFixture[str]
) -> None:
    directory, alone = finished
    base = {**dataclasses.asdict(quick().base), "base_epochs": 1}
    other = run_study(
        quick(base=base, supernet={}), tmp_path / "other", executor=SERIAL, until="evaluate"
    )
    assert other is not None
    seen = (directory / "report.html").read_bytes()

    arguments = [str(directory), str(tmp_path / "other"), "-o", str(tmp_path / "joint"), "--json"]
    assert main(["space", "report", *arguments]) == 0

    found = json.loads(capsys.readouterr().out)
    name = "digits_cnn at 50 % of the MACs"
    assert [regime["name"] for regime in found["regimes"]] == [
        f"{directory.name}: {name}",
        f"other: {name}",
    ]
    kept = [(v.conjecture, v.estimate) for v in alone.verdicts if v.conjecture != "C2"]
    own = [v for v in found["verdicts"] if v["scope"].startswith(directory.name)]
    assert sorted((v["conjecture"], v["estimate"]) for v in own) == sorted(kept)
    law = [v for v in found["verdicts"] if v["conjecture"] == "C2"]
    assert [v["scope"] for v in law] == ["1 networks, 2 regimes in all"]
    assert any("checkpoints of one network agree" in c["text"] for c in law[0]["checks"])
    choices = {choice["name"]: choice["value"] for choice in found["choices"]}
    assert choices["epochs"] == "1"
    assert (tmp_path / "joint" / "report.html").stat().st_size > 10_000
    assert (directory / "report.html").read_bytes() == seen


def test_studies_that_share_no_law_say_why() -> None:
    site = SimpleNamespace(network="a", regime=0.5, checkpoint="x")
    other = SimpleNamespace(network="b", regime=0.5, checkpoint="y")

    assert unlike([1, 1], [site, other]) == ""  # type: ignore[list-item]
    assert "train for 1, 3 epochs" in unlike([1, 3], [site, other])  # type: ignore[list-item]
    assert "same weights in the same regime" in unlike([1, 1], [site, site])  # type: ignore[list-item]


def test_reports_of_several_studies_need_a_place_and_a_report_each(
    tmp_path: Path, finished: tuple[Path, Analysis], capsys: pytest.CaptureFixture[str]
) -> None:
    directory, _ = finished
    run_study(quick(), tmp_path / "new", executor=SERIAL, until="sample")

    assert main(["space", "report", str(directory), str(tmp_path / "new")]) == 2
    assert "2 studies share a report; say where: -o DIRECTORY" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="new has no report yet"):
        report_studies([directory, tmp_path / "new"], tmp_path / "joint")
    with pytest.raises(ConfigError, match="2 directories of studies; give at least one, each once"):
        report_studies([directory, directory], tmp_path / "joint")


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

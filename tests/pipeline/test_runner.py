"""A run: its files, its numbers, and that nothing is computed twice."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import sentei
from sentei import Budget, Plan, RunConfig, pipeline
from sentei.data import DataSplits, load_data
from sentei.engine.lock import LOCK_NAME
from sentei.errors import DataError, DeviceError, UnknownNameError
from sentei.pipeline import Event, LatencyConfig, StageEvent
from sentei.records import read_record
from sentei.train import TrainConfig, evaluate


def digits() -> DataSplits:
    return load_data("digits")


def test_pruned_network_has_the_recorded_accuracy(finished: RunConfig) -> None:
    model = sentei.load_pretrained(f"{finished.output}/model")
    images, labels = next(iter(digits().loader("test", batch_size=1000)))

    with torch.no_grad():
        right = int((model(images).argmax(1) == labels).sum())

    record = read_record(f"{finished.output}/record.json")
    assert record.after.accuracy == right / len(labels)


def test_dense_network_has_learnt_and_is_recorded_as_before(finished: RunConfig) -> None:
    dense = sentei.load_pretrained(f"{finished.output}/dense")

    record = read_record(f"{finished.output}/record.json")
    found = evaluate(dense, digits().loader("test", batch_size=128)).accuracy
    assert found > 0.3
    assert record.before.accuracy == pytest.approx(found)


def test_plan_leads_from_the_dense_to_the_pruned_network(finished: RunConfig) -> None:
    folder = Path(finished.output)
    dense = sentei.load_pretrained(folder / "dense")
    graph = sentei.trace(dense, torch.zeros(1, 1, 8, 8))
    plan = Plan.from_json((folder / "plan.json").read_text(), graph)

    shapes = {n: t.shape for n, t in sentei.apply(plan, dense).state_dict().items()}

    pruned = sentei.load_pretrained(folder / "model")
    assert shapes == {n: t.shape for n, t in pruned.state_dict().items()}


def test_budget_is_met(finished: RunConfig) -> None:
    record = read_record(f"{finished.output}/record.json")

    assert 0.495 <= record.after.macs / record.before.macs <= 0.5


def test_record_lists_every_epoch_of_both_trainings(finished: RunConfig) -> None:
    record = read_record(f"{finished.output}/record.json")

    phases = [(epoch.phase, epoch.epoch) for epoch in record.curve]
    assert phases == [("fine-tune", 0), ("fine-tune", 1), ("recover", 0), ("recover", 1)]


def test_record_says_where_the_groups_went(finished: RunConfig) -> None:
    record = read_record(f"{finished.output}/record.json")
    model = sentei.load_pretrained(f"{finished.output}/model")

    widths = {g.name: g.width_after for g in record.groups if g.frozen is None}
    found = {name: model.get_parameter(f"{name}.weight").shape[0] for name in widths}
    assert widths == found
    assert [g.name for g in record.groups if g.frozen] == ["linear"]


def written(config: RunConfig) -> dict[Path, int]:
    """Return when each file of a run was written; the lock is taken each time."""
    files = (p for p in Path(config.output).rglob("*") if p.name != LOCK_NAME)
    return {path: path.stat().st_mtime_ns for path in files}


def test_finished_run_is_not_computed_again(finished: RunConfig) -> None:
    events: list[Event] = []
    before = written(finished)

    record = pipeline.run(finished, on_progress=events.append)

    states = {event.state for event in events if isinstance(event, StageEvent)}
    assert states == {"kept"}
    assert written(finished) == before
    assert record == read_record(f"{finished.output}/record.json")


def test_config_file_holds_the_configuration(finished: RunConfig) -> None:
    text = (Path(finished.output) / "config.json").read_text()

    assert json.loads(text) == json.loads(json.dumps(finished.as_json()))


def test_pruned_network_is_pruned_again(finished: RunConfig, tmp_path: Path) -> None:
    again = dataclasses.replace(finished, model=finished.output, output=str(tmp_path / "again"))

    record = pipeline.run(again)

    first = read_record(f"{finished.output}/record.json")
    assert record.before.macs == first.after.macs
    assert record.after.macs <= 0.5 * first.after.macs
    assert {epoch.phase for epoch in record.curve} == {"recover"}  # its classifier is not new


def test_rounds_end_at_the_budget_of_the_dense_network(quick: RunConfig) -> None:
    config = dataclasses.replace(
        quick, budget=Budget(macs=0.4), steps=3, step_epochs=1, criterion="l1"
    )

    record = pipeline.run(config)

    assert 0.398 <= record.after.macs / record.before.macs <= 0.4
    phases = list(dict.fromkeys(epoch.phase for epoch in record.curve))
    assert phases == ["fine-tune", "round 1", "round 2", "recover"]


def test_the_floor_of_rounds_is_a_share_of_the_dense_widths(quick: RunConfig) -> None:
    # The narrowest network of this floor, of 5, 10 and 10 channels, costs 38980 of 378176
    # multiply-adds: nothing else meets the budget.
    config = dataclasses.replace(
        quick, budget=Budget(macs=0.1035), steps=3, criterion="l1", floor=0.3, round_to=1
    )

    record = pipeline.run(config)

    widths = {g.name: g.width_after for g in record.groups if g.frozen is None}
    assert widths == {"conv1": 5, "conv2": 10, "conv3": 10}


def test_nothing_is_trained_where_that_is_wanted(quick: RunConfig) -> None:
    config = dataclasses.replace(quick, fine_tune_when="never", recover_when="never")

    assert pipeline.run(config).curve == ()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"criterion": "tailor"}, UnknownNameError, "Did you mean 'taylor'"),
        ({"scope": "globl"}, UnknownNameError, "Did you mean 'global'"),
        ({"data": "digts"}, UnknownNameError, "Did you mean 'digits'"),
        ({"model": "digits_cn"}, UnknownNameError, "Did you mean 'digits_cnn'"),
        ({"device": "cuda:7"}, DeviceError, "device 'cuda:7' is not there"),
        (
            {"latency": LatencyConfig(runtimes=("onxruntime",))},
            UnknownNameError,
            "Did you mean 'onnxruntime'",
        ),
    ],
)
def test_what_is_not_there_is_refused_at_once(
    quick: RunConfig, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pipeline.run(dataclasses.replace(quick, **change))
    assert not (Path(quick.output) / "dense").exists()


def stop(event: Event) -> None:
    """Interrupt a run before its first round."""
    if isinstance(event, StageEvent) and event.state == "begin" and event.stage == "round 1":
        raise KeyboardInterrupt


def test_a_run_goes_on_with_a_factory_that_knows_no_options(
    quick: RunConfig, tmp_path: Path
) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from sentei.data import load_data\ndef make():\n    return load_data('digits')\n"
    )
    config = dataclasses.replace(quick, data=f"{file}:make")

    with pytest.raises(KeyboardInterrupt):
        pipeline.run(config, on_progress=stop)

    record = pipeline.run(config)

    assert record.after.macs <= 0.5 * record.before.macs


def test_data_that_changed_are_not_gone_on_with(
    quick: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(quick, on_progress=stop)
    other = dataclasses.replace(digits(), digest="other")
    monkeypatch.setattr("sentei.pipeline.workshop.load_data", lambda *_, **__: other)

    with pytest.raises(DataError, match="changed since this run began"):
        pipeline.run(quick)


def test_seeds_of_the_recipes_count(quick: RunConfig, tmp_path: Path) -> None:
    def loss(name: str, seed: int) -> float:
        config = dataclasses.replace(
            quick,
            output=str(tmp_path / name),
            fine_tune=TrainConfig(epochs=1, seed=seed),
            recover_when="never",
        )
        return pipeline.run(config).curve[0].train_loss

    assert loss("a", 0) != loss("b", 1)

"""A run of two seconds on real images, and what must be the same however it came about."""

import json
from pathlib import Path
from typing import Any

import pytest

from sentei import Budget, RunConfig, pipeline
from sentei.pipeline import LatencyConfig
from sentei.records import RunRecord
from sentei.train import TrainConfig


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return make_config(tmp_path / "run")


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the numbers of a run that nothing interrupted."""
    return numbers(pipeline.run(make_config(tmp_path_factory.mktemp("expected") / "run")))


def make_config(output: Path) -> RunConfig:
    return RunConfig(
        model="digits_cnn",
        data="digits",
        budget=Budget(macs=0.5),
        output=str(output),
        batch_size=256,
        fine_tune=TrainConfig(epochs=2, learning_rate=0.05, ema_decay=0.9),
        recover=TrainConfig(epochs=2, learning_rate=0.02, distill_weight=0.5),
        steps=2,
        latency=LatencyConfig(runtimes=("eager",), min_runs=10),
        onnx=False,
    )


def numbers(record: RunRecord) -> dict[str, Any]:
    """Return everything in a record that does not tell time."""
    document = json.loads(record.to_json())
    for network in ("before", "after"):
        del document[network]["latencies"]
    for epoch in document["curve"]:
        del epoch["seconds"]
    document["notes"] = [note for note in document["notes"] if "times as fast" not in note]
    for key in ("created", "seconds", "config"):
        del document[key]
    return document

"""A run that takes two seconds."""

from pathlib import Path

import pytest

from sentei import Budget, RunConfig, pipeline
from sentei.pipeline import LatencyConfig
from sentei.train import TrainConfig


@pytest.fixture
def quick(tmp_path: Path) -> RunConfig:
    return quick_config(tmp_path / "run")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """Return the configuration of a run that is finished; tests only read its directory."""
    config = quick_config(tmp_path_factory.mktemp("finished") / "run")
    pipeline.run(config)
    return config


def quick_config(output: Path) -> RunConfig:
    return RunConfig(
        model="digits_cnn",
        data="digits",
        budget=Budget(macs=0.5),
        output=str(output),
        batch_size=128,
        fine_tune=TrainConfig(epochs=2, learning_rate=0.05),
        recover=TrainConfig(epochs=2, learning_rate=0.02, distill_weight=0.5),
        latency=LatencyConfig(runtimes=("eager",), min_runs=10),
        onnx=False,
    )

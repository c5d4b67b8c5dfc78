"""A run that was stopped and started again ends where an uninterrupted one does."""

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sentei.errors import CheckpointError
from sentei.train import FitResult, Hook, RunOptions, TrainConfig, fit
from sentei.train.checkpoint import read_state

SCRIPT = Path(__file__).with_name("killed_run.py")
CONFIG = TrainConfig(epochs=3, learning_rate=0.05, ema_decay=0.5)
Pairs = list[tuple[Tensor, Tensor]]


def _net(width: int = 8) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, width), nn.BatchNorm1d(width), nn.Dropout(), nn.ReLU(),
            nn.Linear(width, 10),
        )  # fmt: skip


def _assert_same_bits(first: nn.Module, second: nn.Module) -> None:
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


class _Count(Hook):
    """A hook with state: a step counter that scales the penalty; it can stop the run."""

    def __init__(self, stop_at: int = -1) -> None:
        self.count = torch.tensor(0)
        self.stop_at = stop_at

    def penalty(self, model: nn.Module) -> Tensor:
        return 1e-4 * self.count * sum(p.square().sum() for p in model.parameters())

    def after_step(self, _model: nn.Module) -> None:
        self.count += 1
        if int(self.count) == self.stop_at:
            raise KeyboardInterrupt

    def state(self) -> Mapping[str, Tensor]:
        return {"count": self.count}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.count.copy_(state["count"])


def test_a_killed_process_started_again_ends_with_the_same_bits(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "killed"), "13"], env=environment, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    state = read_state(tmp_path / "killed")
    assert state is not None
    assert len(state[1]["curve"]) == 2  # 13 steps are two epochs of 5 and three steps more

    train: Callable[[Path], nn.Module] = runpy.run_path(str(SCRIPT))["train"]
    _assert_same_bits(train(tmp_path / "killed"), train(tmp_path / "whole"))


def test_an_interrupt_passes_and_the_run_goes_on_with_its_hooks(
    tmp_path: Path, digits: Pairs
) -> None:
    whole, stopped, resumed = _net(), _net(), _net()
    options = RunOptions(hooks=(_Count(),))
    expected = fit(whole, digits, config=CONFIG, options=options)

    options = RunOptions(hooks=(_Count(stop_at=8),), checkpoint_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, digits, config=CONFIG, options=options)
    options = replace(options, hooks=(_Count(),))
    result = fit(resumed, digits, config=CONFIG, options=options)

    _assert_same_bits(whole, resumed)
    assert _losses(result) == _losses(expected)


def _losses(result: FitResult) -> list[tuple[int, float, float]]:
    return [(r.epoch, r.train_loss, r.learning_rate) for r in result.curve]


def test_a_finished_run_is_not_trained_again(tmp_path: Path, digits: Pairs) -> None:
    first, second = _net(), _net()
    options = RunOptions(checkpoint_dir=tmp_path)
    result = fit(first, digits, config=CONFIG, options=options)
    steps: list[Any] = []
    again = fit(second, digits, config=CONFIG, options=replace(options, on_progress=steps.append))
    assert again == result
    assert steps == []
    _assert_same_bits(first, second)


def test_another_recipe_is_refused_and_the_model_untouched(tmp_path: Path, digits: Pairs) -> None:
    options = RunOptions(checkpoint_dir=tmp_path)
    fit(_net(), digits, config=CONFIG, options=options)
    model = _net()
    with pytest.raises(CheckpointError, match=r"learning_rate is 0.05 there and 0.2 now; use the"):
        fit(model, digits, config=replace(CONFIG, learning_rate=0.2), options=options)
    _assert_same_bits(model, _net())


def test_another_number_of_batches_is_refused(tmp_path: Path, digits: Pairs) -> None:
    options = RunOptions(checkpoint_dir=tmp_path)
    fit(_net(), digits, config=CONFIG, options=options)
    with pytest.raises(CheckpointError, match=r"num_steps is 6 there and 5 now"):
        fit(_net(), digits[:5], config=CONFIG, options=options)


def test_a_model_of_other_shapes_is_refused(tmp_path: Path, digits: Pairs) -> None:
    options = RunOptions(checkpoint_dir=tmp_path)
    fit(_net(), digits, config=CONFIG, options=options)
    with pytest.raises(CheckpointError, match=r"1.bias is \[8\] float32 there and \[6\] float32"):
        fit(_net(width=6), digits, config=CONFIG, options=options)

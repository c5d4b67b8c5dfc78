"""Shared weights: slices compute and learn as masks do, and narrow subnetworks get better."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentei.allocate import Budget, plan_widths
from sentei.data import DataSplits
from sentei.errors import CheckpointError, ConfigError
from sentei.methods import Task
from sentei.models import load_model
from sentei.spaces.evaluate import Evaluator
from sentei.spaces.protocol import Protocol, SubnetJob
from sentei.spaces.supernet import (
    Sandwich,
    Supernet,
    load_supernet,
    save_supernet,
    train_supernet,
)
from sentei.surgery import mask
from sentei.train import TrainConfig
from tests.support.digits import some_digits, trained_cnn

PROTOCOL = Protocol(recalibration_images=128, recalibration_batch=64, batch_size=50)
NARROW = {"conv1": 4, "conv2": 8, "conv3": 8}


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    return some_digits(train=400, val=150)


@pytest.fixture(scope="module")
def evaluator(digits: DataSplits) -> Evaluator:
    return Evaluator(protocol=PROTOCOL, model=trained_cnn(digits, epochs=10), data=digits)


def supernet_of(evaluator: Evaluator, **changes: float) -> Supernet:
    model = copy.deepcopy(evaluator.model)
    return Supernet(model, evaluator.graph, scores=evaluator.scores, **changes)  # type: ignore[arg-type]


def first_images(digits: DataSplits) -> Tensor:
    images, _ = next(iter(digits.loader("train", batch_size=16)))
    return images


def test_slices_compute_and_learn_what_the_masked_network_does(
    evaluator: Evaluator, digits: DataSplits
) -> None:
    sliced, images = supernet_of(evaluator).eval(), first_images(digits)
    widths = evaluator.widths_G(NARROW)
    whole = copy.deepcopy(sliced.model)
    masked = mask(plan_widths(evaluator.graph, evaluator.scores, widths), whole)

    outputs = sliced.call_subnetwork(widths, images), masked(images)
    for logits in outputs:
        logits.square().sum().backward()

    torch.testing.assert_close(*outputs)
    for one, other in zip(sliced.model.parameters(), whole.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_a_step_teaches_the_smallest_and_two_random_subnetworks(
    evaluator: Evaluator, digits: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    supernet = supernet_of(evaluator, floor=0.25).train()
    called: list[list[int]] = []
    call = Supernet.call_subnetwork

    def watched(self: Supernet, widths: np.ndarray, images: Tensor) -> Tensor:
        called.append(widths.tolist())
        return call(self, widths, images)

    monkeypatch.setattr(Supernet, "call_subnetwork", watched)
    supernet(first_images(digits))

    assert called[0] == [-(-g.width // 4) for g in evaluator.graph.groups]
    assert len(called) == 3
    assert called[1] != called[2]
    assert all(np.all(np.array(c) >= called[0]) for c in called)
    found = Sandwich().penalty(supernet)
    assert found is not None
    assert float(found.detach()) > 0


def test_in_evaluation_mode_it_is_the_whole_network(
    evaluator: Evaluator, digits: DataSplits
) -> None:
    supernet, images = supernet_of(evaluator).eval(), first_images(digits)

    torch.testing.assert_close(supernet(images), evaluator.model(images), rtol=0, atol=0)
    assert supernet.distilled is None


def test_training_makes_narrow_subnetworks_better_and_jobs_can_use_them(
    evaluator: Evaluator, digits: DataSplits, tmp_path: Path
) -> None:
    task = Task(
        model=evaluator.model,
        data=digits,
        budget=Budget(macs=1.0),
        recipe=TrainConfig(epochs=3, learning_rate=0.05),
        batch_size=50,
    )
    before = evaluator.run({"widths": NARROW}, lambda _: None)

    shared, curve = train_supernet(task, evaluator.graph, scores=evaluator.scores, floor=0.25)
    save_supernet(shared, tmp_path)
    loaded = load_supernet(evaluator.model, tmp_path)
    with_shared = dataclasses.replace(evaluator, shared=loaded)
    after = with_shared.run({"widths": NARROW, "supernet": True}, lambda _: None)

    assert [record.epoch for record in curve] == [1, 2, 3]
    assert after["val_loss"] < 0.7 * before["val_loss"]
    assert with_shared.run({"widths": NARROW}, lambda _: None)["val_loss"] == before["val_loss"]


def test_a_study_without_a_supernet_says_so(evaluator: Evaluator, tmp_path: Path) -> None:
    assert load_supernet(evaluator.model, tmp_path) is None
    with pytest.raises(ConfigError, match="wants the weights of a supernet and the study has none"):
        evaluator.run({"widths": NARROW, "supernet": True}, lambda _: None)


def test_weights_of_another_network_are_refused(evaluator: Evaluator, tmp_path: Path) -> None:
    other: nn.Module = load_model("digits_cnn", num_classes=3).model
    save_supernet(other, tmp_path)

    with pytest.raises(CheckpointError, match="linear"):
        load_supernet(evaluator.model, tmp_path)


def test_what_a_supernet_cannot_be_is_refused(evaluator: Evaluator) -> None:
    with pytest.raises(ValueError, match=r"floor=0.0 and num_random=2; give a floor in \(0, 1\]"):
        supernet_of(evaluator, floor=0.0)
    with pytest.raises(ConfigError, match="a job of a supernet has weights='new'"):
        SubnetJob(widths={}, weights="new", supernet=True)

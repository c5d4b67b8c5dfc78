"""Methods that make up for what they remove, as their papers do."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from sentei.allocate.local import Local
from sentei.compensate import Compensation, Removal
from sentei.compensate.absorb import Absorb
from sentei.compensate.least_squares import LeastSquares
from sentei.criteria.magnitude import Magnitude
from sentei.methods import METHODS, Card, Composition, Task
from tests.support import nets


@pytest.mark.parametrize(
    ("name", "kind", "other"),
    [
        ("thinet", LeastSquares, "l1"),
        ("cp-lasso", LeastSquares, "l1"),
        ("rsnli", Absorb, "network-slimming"),
    ],
)
def test_compensates_with_the_removal_and_the_calibration_images(
    name: str, kind: type[Compensation], other: str, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Removal] = []
    original = kind.compensate

    def compensate(self: Compensation, small: nn.Module, removal: Removal) -> None:
        seen.append(removal)
        original(self, small, removal)

    monkeypatch.setattr(kind, "compensate", compensate)
    METHODS[name].run(task)
    METHODS[other].run(task)

    assert len(seen) == 1
    assert seen[0].plan.removed
    pairs = zip(seen[0].batches, task.calibration, strict=True)
    assert all(torch.equal(found, given) for (found, _), (given, _) in pairs)


def test_refitted_weights_lose_less_before_the_recovery(task: Task) -> None:
    plain, refitted = (METHODS[n].run(task).before_recovery for n in ("l1", "l1-least-squares"))

    assert refitted.loss < plain.loss


def cut(task: Task, compensation: Compensation | None) -> nn.Module:
    """Return the network after the removal in all groups, its norms measured anew."""
    card = Card(summary="Smallest L1 norm, equal shares", section="baseline")
    method = Composition(card=card, criterion=Magnitude(), scope=Local(), compensation=compensation)
    return method._cut(task.model, task, learned=None, dense_widths={}).model


def test_norms_measured_anew_leave_of_absorption_the_bias_of_the_classifier(task: Task) -> None:
    plain, absorbed = (cut(task, c).state_dict() for c in (None, Absorb()))

    changed = {k for k in plain if not torch.allclose(plain[k], absorbed[k], rtol=1e-6, atol=1e-6)}
    assert changed == {"linear.bias"}


def test_without_norms_the_bias_takes_up_the_mean_of_what_went(task: Task) -> None:
    conv, linear = nn.Conv2d(1, 8, 3), nn.Linear(8, 10)
    features = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nets.fill(nn.Sequential(features, linear)).float()

    small = cut(replace(task, model=model), Absorb())

    rows = small.get_parameter("0.0.weight")
    gone = torch.tensor([not bool((rows == row).flatten(1).all(1).any()) for row in conv.weight])
    assert int(gone.sum()) == 4
    with torch.no_grad():
        means = torch.cat([features(images) for images, _ in task.calibration]).mean(0)
        expected = linear.bias + linear.weight[:, gone] @ means[gone]
    torch.testing.assert_close(small.get_parameter("1.bias"), expected, rtol=1e-5, atol=1e-6)

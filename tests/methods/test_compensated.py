"""Methods that make up for what they remove, as their papers do."""

import pytest
import torch
from torch import nn

from sentei.compensate import Compensation, Removal
from sentei.compensate.absorb import Absorb
from sentei.compensate.least_squares import LeastSquares
from sentei.methods import METHODS, Task


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

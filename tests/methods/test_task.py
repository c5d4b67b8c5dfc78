"""What all methods of a comparison share."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sentei.methods import Task
from sentei.methods.task import Phase
from sentei.train import Hook, TrainConfig


class _Watch(nn.Module):
    """Notes the sum of every batch it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.seen: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.append(float(x.sum()))
        return self.linear(x.flatten(1))


def test_epochs_see_the_same_images_whatever_phase_they_belong_to(task: Task) -> None:
    whole, parts = _Watch(), _Watch()

    task.train(whole, Phase(name="recover", epochs=2))
    task.train(parts, Phase(name="sparse", epochs=1))
    task.train(parts, Phase(name="recover", epochs=1, first_epoch=1))

    assert parts.seen == whole.seen
    assert len(set(whole.seen)) == len(whole.seen) == 2 * task.steps_per_epoch


def test_a_phase_may_end_after_some_steps(task: Task) -> None:
    model = _Watch()

    task.train(model, Phase(name="candidate", epochs=1, num_steps=3))

    assert len(model.seen) == 3


def test_no_epochs_change_nothing(task: Task) -> None:
    assert task.train(task.model, Phase(name="recover", epochs=0)) == ()


def test_hooks_are_called(task: Task) -> None:
    class Count(Hook):
        steps = 0

        def after_step(self, _model: nn.Module, /) -> None:
            self.steps += 1

    hook = Count()
    task.train(_Watch(), Phase(name="sparse", epochs=1, hooks=[hook]))

    assert hook.steps == task.steps_per_epoch


@pytest.mark.parametrize(
    ("epochs", "share", "expected"),
    [
        (10, 0.0, (0, 10)),
        (10, 0.3, (3, 7)),
        (2, 0.1, (1, 1)),
        (2, 0.9, (1, 1)),
        (10, 1.0, (10, 0)),
        (1, 0.5, (1, 0)),
    ],
)
def test_epochs_are_split_by_share(
    task: Task, epochs: int, share: float, expected: tuple[int, int]
) -> None:
    other = replace(task, recipe=TrainConfig(epochs=epochs))

    assert other.split_epochs(share) == expected


def test_recalibration_uses_the_calibration_images(task: Task) -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 10))

    task.recalibrate(model)

    images = torch.cat([images for images, _ in task.calibration])
    means = [chunk.mean() for chunk in images.split(64)]
    torch.testing.assert_close(model[0].running_mean, torch.stack(means).mean()[None])

"""The moving average against numbers worked out by hand."""

import pytest
import torch
from torch import nn

from sentei.train.ema import Ema, model_tensors


class _Scalar(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0]))
        self.register_buffer("mean", torch.tensor([10.0]))
        self.register_buffer("count", torch.tensor(0))

    def hold(self, weight: float, mean: float, count: int) -> None:
        with torch.no_grad():
            for tensor, value in zip(
                model_tensors(self).values(), (weight, mean, count), strict=True
            ):
                tensor.fill_(value)


def test_average_follows_the_recurrence_with_a_small_first_decay() -> None:
    model = _Scalar()
    ema = Ema(model, decay=0.15)
    for step, (weight, mean, count) in enumerate([(2.0, 20.0, 1), (4.0, 0.0, 2)]):
        model.hold(weight, mean, count)
        ema.update(model, step=step)
    # Decays: min(0.15, 1/10) = 0.1, then min(0.15, 2/11) = 0.15.
    # weight: 0.1 * 1 + 0.9 * 2 = 1.9, then 0.15 * 1.9 + 0.85 * 4 = 3.685
    # mean: 0.1 * 10 + 0.9 * 20 = 19, then 0.15 * 19 + 0.85 * 0 = 2.85
    assert ema.average["weight"].item() == pytest.approx(3.685, rel=1e-6)
    assert ema.average["mean"].item() == pytest.approx(2.85, rel=1e-6)
    assert ema.average["count"].item() == 2


def test_applied_average_leaves_the_model_as_it_was_even_after_an_error() -> None:
    model = _Scalar()
    ema = Ema(model, decay=0.9)
    model.hold(5.0, 6.0, 7)
    parameter = model.weight
    inside = []

    def interrupted() -> None:
        with ema.applied(model):
            inside.append(model.weight.item())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert inside == [1.0]
    assert model.weight is parameter
    assert model.weight.item() == 5.0
    assert ema.average["weight"].item() == 1.0

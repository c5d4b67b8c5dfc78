"""Recalibrated statistics against means and variances computed by hand."""

import pytest
import torch
from torch import Tensor, nn

from sentei.errors import DataError, TrainingError
from sentei.train.recalibrate import recalibrate_batch_norm

Pairs = list[tuple[Tensor, Tensor]]


def _model() -> nn.Sequential:
    model = nn.Sequential(
        nn.Dropout(0.5), nn.BatchNorm2d(2, momentum=0.3), nn.ReLU(), nn.BatchNorm2d(2)
    )
    return model.double()


def _batches() -> Pairs:
    generator = torch.Generator().manual_seed(0)
    sizes = (4, 4, 3)
    return [
        (torch.randn(n, 2, 3, 3, generator=generator, dtype=torch.float64), torch.zeros(n))
        for n in sizes
    ]


def _mean_of_batches(batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    flat = [images.transpose(0, 1).reshape(2, -1) for images in batches]
    means = torch.stack([values.mean(dim=1) for values in flat]).mean(dim=0)
    variances = torch.stack([values.var(dim=1, unbiased=True) for values in flat]).mean(dim=0)
    return means, variances


def _assert_statistics(norm: nn.Module, batches: list[Tensor]) -> None:
    means, variances = _mean_of_batches(batches)
    assert isinstance(norm, nn.BatchNorm2d)
    torch.testing.assert_close(norm.running_mean, means, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(norm.running_var, variances, rtol=1e-10, atol=1e-12)


def test_statistics_are_plain_means_over_batches_in_both_layers() -> None:
    model, batches = _model(), _batches()
    model(batches[0][0] * 9)
    assert recalibrate_batch_norm(model, batches) == 3
    inputs = [images for images, _ in batches]
    _assert_statistics(model[1], inputs)
    # The second layer sees what the first one returns in training: batch statistics, biased.
    second = []
    for x in inputs:
        center = x - x.mean(dim=(0, 2, 3), keepdim=True)
        second.append(
            (center / (center.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()).relu()
        )
    _assert_statistics(model[3], second)


def test_no_more_than_max_batches_are_used() -> None:
    model, batches = _model(), _batches()
    assert recalibrate_batch_norm(model, batches, max_batches=2) == 2
    _assert_statistics(model[1], [images for images, _ in batches[:2]])


def test_momenta_modes_and_gradients_are_as_before() -> None:
    model = _model()
    model[3].eval()
    recalibrate_batch_norm(model, _batches())
    assert [module.training for module in model.modules()] == [True, True, True, True, False]
    assert [model[1].momentum, model[3].momentum] == [0.3, 0.1]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_without_running_statistics_uses_no_batch() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False), nn.GroupNorm(1, 2))
    assert recalibrate_batch_norm(model, _batches()) == 0


def test_no_batches_are_refused() -> None:
    with pytest.raises(DataError, match=r"no batch to recalibrate batch norms with"):
        recalibrate_batch_norm(_model(), [])


def test_max_batches_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"max_batches=0 is not allowed; give at least 1"):
        recalibrate_batch_norm(_model(), _batches(), max_batches=0)


def test_a_failure_names_the_layer_and_leaves_the_statistics() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(2, momentum=0.2)).double()
    model(_batches()[0][0])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batches = [*_batches(), (torch.ones(1, 2, 3, 3, dtype=torch.float64), torch.zeros(1))]
    with pytest.raises(TrainingError, match=r"batch norm 1 \(BatchNorm2d\) got a single value a"):
        recalibrate_batch_norm(model, batches)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert model[1].momentum == 0.2

"""COP: correlations by hand and by numpy, costs by hand."""

from math import log2

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from sentei.criteria.cop import Cop
from sentei.errors import PruningError
from tests.support.nets import FlattenNet, GroupedNet, PlainNet, ResidualNet, fill
from tests.support.small import linear_net, scores

ALONE = Cop(top_k=1, beta=0, gamma=0)

# Inputs of the second layer: (1, 2, 3) and (2, 4, 6) rise together, (1, 0, 1) with neither.
THREE = linear_net([[1.0], [2.0], [3.0]], [[1.0, 2.0, 1.0], [2.0, 4.0, 0.0], [3.0, 6.0, 1.0]])


def test_channels_read_alike_score_lowest() -> None:
    np.testing.assert_allclose(scores(THREE, ALONE, 1, 1)["0"], [0, 0, 1], atol=1e-12)


def test_mean_of_the_largest_leaves_the_channel_itself_out() -> None:
    found = scores(THREE, Cop(top_k=2, beta=0, gamma=0), 1, 1)["0"]

    np.testing.assert_allclose(found, [0.5, 0.5, 1], atol=1e-12)


def test_more_than_there_are_is_all_others() -> None:
    found = scores(THREE, Cop(top_k=9, alpha=2, beta=0, gamma=0), 1, 1)["0"]

    np.testing.assert_allclose(found, [1, 1, 2], atol=1e-12)


def test_opposite_weights_correlate() -> None:
    net = linear_net([[1.0], [2.0]], [[1.0, -2.0], [2.0, -4.0]])

    np.testing.assert_allclose(scores(net, ALONE, 1, 1)["0"], [0, 0], atol=1e-12)


def test_constant_weights_correlate_with_nothing_and_costs_are_logarithmic() -> None:
    # 1 -> 2 -> 4 -> 1. Multiply-adds: 2 + 8 and 8 + 4; parameters, with biases: 2 + 2 + 8
    # and 8 + 4 + 4.
    net = linear_net([[1.0], [1.0]], [[0.3, 0.3]] * 4, [[1.0] * 4])

    found = scores(net, Cop(beta=2, gamma=0.5), 1, 1)

    cheap = 1 + 2 * (1 - log2(10) / log2(12)) + 0.5 * (1 - log2(12) / log2(16))
    np.testing.assert_allclose(found["0"], [cheap] * 2, rtol=1e-12)
    np.testing.assert_allclose(found["1"], [1] * 4, rtol=1e-12)


def nearest_correlations(weights: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Return 1 - the largest correlation of each input, from layers [positions][inputs][outputs]."""
    means = [np.mean([np.abs(np.corrcoef(at)) for at in layer], axis=0) for layer in weights]
    whole = np.mean(means, axis=0)
    np.fill_diagonal(whole, 0)
    return np.asarray(1 - (whole / whole.max()).max(axis=1))


def by_position(weight: Tensor) -> npt.NDArray[np.float64]:
    """Return the weight of a convolution as [pixels, inputs, outputs]."""
    return weight.detach().flatten(2).permute(2, 1, 0).numpy()


def test_pixels_of_a_kernel_are_averaged() -> None:
    model = fill(PlainNet())

    found = scores(model, ALONE, 1, 3, 8, 8)["conv1"]

    expected = nearest_correlations([by_position(model.conv2.weight)])
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_pixels_of_a_flattened_map_are_averaged() -> None:
    model = fill(FlattenNet(5))

    found = scores(model, ALONE, 1, 3, 3, 3)["conv"]

    weight = model.linear.weight.detach().reshape(4, 5, 4).permute(2, 1, 0).numpy()
    np.testing.assert_allclose(found, nearest_correlations([weight]), rtol=1e-10, atol=1e-12)


def test_layers_that_read_a_group_are_averaged() -> None:
    model = fill(ResidualNet())

    found = scores(model, ALONE, 1, 3, 8, 8)["stem"]

    linear = model.linear.weight.detach().T.numpy()[None]
    expected = nearest_correlations([by_position(model.conv1.weight), linear])
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_inputs_of_a_grouped_convolution_are_compared_inside_their_outputs() -> None:
    model = fill(GroupedNet(8, 12, 2))

    found = scores(model, ALONE, 1, 3, 6, 6)["enter"]

    # Six outputs read inputs 0 to 3, six others read 4 to 7.
    halves = model.grouped.weight.detach().reshape(2, 6, 4, 9).permute(3, 0, 2, 1)
    expected = nearest_correlations([halves.reshape(9, 8, 6).numpy()])
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_group_that_no_layer_reads_is_refused() -> None:
    class Lonely(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.conv(x)).sum(1)

    with pytest.raises(
        PruningError, match=r"group conv: no layer with weights reads it; .* 'fpgm'"
    ):
        scores(fill(Lonely()), "cop", 1, 3, 2, 2)


def test_count_of_correlations_must_be_positive() -> None:
    with pytest.raises(ValueError, match="top_k=0; expected at least 1"):
        Cop(top_k=0)


@pytest.mark.parametrize("name", ["alpha", "beta", "gamma"])
def test_weights_must_not_be_negative(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=-1; expected a finite weight >= 0"):
        Cop(**{name: -1})

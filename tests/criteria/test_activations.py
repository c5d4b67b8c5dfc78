"""Criteria on activations, worked out by hand on a few channels."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentei.criteria import Criterion, score
from sentei.criteria.apoz import Apoz
from sentei.criteria.base import FloatArray
from sentei.errors import PruningError
from sentei.graph import trace


class Maps(nn.Module):
    """Three channels a x from one, an activation, the mean over pixels, one number."""

    def __init__(self, weights: list[float], activation: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, len(weights), 1, bias=False)
        self.activation = activation
        self.linear = nn.Linear(len(weights), 1)
        self.double().eval()
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor(weights)[:, None, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.activation(self.conv(x)).mean((2, 3)))


# Two images of four pixels.
IMAGES = torch.tensor(
    [[[[1.0, -2.0], [3.0, 4.0]]], [[[-1.0, -1.0], [0.0, 2.0]]]], dtype=torch.float64
)


def scores(criterion: str | Criterion, weights: list[float], activation: nn.Module) -> FloatArray:
    net = Maps(weights, activation)
    return score(trace(net, IMAGES), criterion, batches=[(IMAGES,)]).by_group["conv"]


def test_mean_activation_is_the_mean_over_pixels_and_images_after_relu() -> None:
    # Positive pixels 1, 3, 4, 2 add to 10, negative ones to 4; there are 8.
    found = scores("mean-activation", [1.0, -1.0, 0.5], nn.ReLU())

    np.testing.assert_allclose(found, [10 / 8, 4 / 8, 5 / 8], rtol=1e-12)


def test_mean_activation_takes_signs_away_before_the_mean_over_pixels() -> None:
    found = scores("mean-activation", [1.0, -2.0], nn.Identity())

    np.testing.assert_allclose(found, [14 / 8, 28 / 8], rtol=1e-12)


def test_apoz_counts_pixels_that_are_not_zero_after_relu() -> None:
    # Positive: 4 of 8; negative: 3 of 8.
    found = scores("apoz", [1.0, -1.0, 0.0], nn.ReLU())

    np.testing.assert_array_equal(found, [4 / 8, 3 / 8, 0])


def test_apoz_with_eps_counts_what_is_larger_than_eps() -> None:
    found = scores(Apoz(eps=1.5), [1.0, -1.0, 0.5], nn.SiLU())

    # SiLU(3) = 2.86, SiLU(4) = 3.93, SiLU(2) = 1.76, also SiLU(-(-2)); SiLU(4 / 2) = 1.76.
    np.testing.assert_array_equal(found, [3 / 8, 1 / 8, 1 / 8])


def test_apoz_of_a_network_that_is_never_zero_is_refused() -> None:
    with pytest.raises(
        PruningError, match=r"within eps=0.0 of zero; .* set eps .*'mean-activation'"
    ):
        score(trace(Maps([1.0, 2.0], nn.Sigmoid()), IMAGES), "apoz", batches=[(IMAGES,)])


def test_negative_eps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"eps=-1; expected the largest size of a zero, >= 0"):
        Apoz(eps=-1)

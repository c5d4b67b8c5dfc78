"""Criteria on activations, worked out by hand on a few channels."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentei.criteria import Criterion, score
from sentei.criteria.apoz import Apoz
from sentei.criteria.base import FloatArray
from sentei.criteria.chip import nuclear_norm_losses
from sentei.criteria.hrank import matrix_ranks
from sentei.criteria.watch import watch
from sentei.errors import PruningError
from sentei.graph import trace
from sentei.graph.points import activations
from tests.support import nets
from tests.support.nets import example


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


def scores(
    criterion: str | Criterion,
    weights: list[float],
    activation: nn.Module,
    images: Tensor = IMAGES,
) -> FloatArray:
    net = Maps(weights, activation)
    return score(trace(net, images), criterion, batches=[(images,)]).by_group["conv"]


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


def test_hrank_is_the_mean_rank_of_the_maps() -> None:
    # A map of rank 1 and one of rank 2; negated, ReLU leaves nothing.
    images = torch.tensor([[[[1.0, 2.0], [2.0, 4.0]]], [[[1.0, 0.0], [0.0, 3.0]]]]).double()

    found = scores("hrank", [1.0, -1.0, 0.0], nn.ReLU(), images)

    np.testing.assert_array_equal(found, [1.5, 0, 0])


def test_hrank_of_one_image_is_the_rank_of_its_map() -> None:
    np.testing.assert_array_equal(scores("hrank", [1.0, -1.0], nn.ReLU(), IMAGES[:1]), [2, 1])


@pytest.mark.parametrize("shape", [(4, 4), (7, 3), (1, 5), (16, 16)])
def test_matrix_ranks_are_those_of_singular_values(shape: tuple[int, int]) -> None:
    maps = example(60, *shape).relu()
    maps[::3] = nn.functional.avg_pool2d(maps[::3, None], 3, 1, 1)[:, 0]
    maps[1::5, 0] = maps[2::7, :, 0] = 0
    maps[5] = 0
    maps[6] = maps[6, :, :1] @ maps[6, :1]

    found = matrix_ranks(maps.float())

    unit = max(shape) * 2.0**-23
    expected = [int(torch.linalg.matrix_rank(m, atol=unit * float(m.norm()), rtol=0)) for m in maps]
    assert found.tolist() == expected


def test_hrank_without_maps_names_a_method_that_works() -> None:
    case = nets.case("gated")

    with pytest.raises(
        PruningError, match=r"group linear1: none of its readers sees maps .* 'chip'"
    ):
        score(trace(case.model, case.inputs), "hrank", batches=[(case.inputs,)])


def test_hrank_averages_the_maps_that_shuffling_gives_a_channel() -> None:
    case = nets.case("shuffle")
    graph = trace(case.model, case.inputs)
    (point,) = activations(graph)
    maps: list[Tensor] = []
    with watch(graph, case.model, [point], read=lambda r: maps.append(r.input)):
        case.model(case.inputs)

    found = score(graph, "hrank", batches=[(case.inputs,)]).by_group["conv1"]

    ranks = torch.linalg.matrix_rank(maps[0], rtol=1e-6).double().mean(0)
    expected = np.bincount(point.channels, weights=ranks.numpy()) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_chip_of_orthogonal_maps_is_their_length() -> None:
    # Positive pixels 1, 3, 4 and 2; negative ones 2, and 1, 1.
    found = scores("chip", [1.0, -1.0], nn.ReLU())

    np.testing.assert_allclose(found, [(26**0.5 + 2) / 2, (2 + 2**0.5) / 2], rtol=1e-7)


def test_chip_of_two_equal_maps_is_what_the_second_adds() -> None:
    # One map: |x|, two: sqrt(2) |x|; positive pixels have lengths sqrt(26) and 2.
    found = scores("chip", [1.0, 0.0, 1.0], nn.ReLU())

    each = (2**0.5 - 1) * (26**0.5 + 2) / 2
    np.testing.assert_allclose(found, [each, 0, each], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("shape", [(3, 9), (9, 4), (6, 6), (5, 1), (1, 4)])
def test_losses_of_nuclear_norms_are_those_of_singular_values(shape: tuple[int, int]) -> None:
    rows = example(4, *shape)
    rows[1, -1] = rows[1, 0]
    rows[2] = rows[2, :, :1] @ rows[2, :1]
    rows[3, 0] = 0

    found = nuclear_norm_losses(rows)

    for matrix, losses in zip(rows, found, strict=True):
        whole = torch.linalg.svdvals(matrix).sum()
        for row, loss in enumerate(losses):
            rest = matrix.clone()
            rest[row] = 0
            expected = whole - torch.linalg.svdvals(rest).sum()
            torch.testing.assert_close(loss, expected, rtol=0, atol=1e-7 * float(whole))


def test_chip_of_maps_of_zeros_is_zero() -> None:
    assert torch.equal(nuclear_norm_losses(torch.zeros(1, 2, 3)), torch.zeros(1, 2).double())


def test_negative_eps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"eps=-1; expected the largest size of a zero, >= 0"):
        Apoz(eps=-1)

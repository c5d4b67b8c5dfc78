"""Greedy magnitude: what earlier groups lose does not count for later ones."""

import numpy as np
import pytest
from torch import nn

from sentei.criteria.greedy import GreedyMagnitude
from sentei.criteria.magnitude import Magnitude
from sentei.criteria.reduce import Reduction
from sentei.errors import UnknownNameError
from tests.support.nets import DenseNet, GroupedNet, ResidualNet, fill
from tests.support.small import FIRST, SECOND, linear_net, scores

THREE = linear_net(FIRST, SECOND, [[1.0, 1.0], [1.0, 2.0]])


def test_inputs_that_are_gone_do_not_count() -> None:
    # Group 0 has 9, 2.5, 9: channel 1 goes. Without its column the rows of the second layer
    # have 6 and 2 instead of 6 and 4; the columns of the third have 2 and 3.
    found = scores(THREE, GreedyMagnitude(ratio=1 / 3, reduction="sum"))

    assert found == {"0": [9, 2.5, 9], "1": [8, 5]}


def test_ratio_by_name_leaves_the_other_groups_whole() -> None:
    found = scores(THREE, GreedyMagnitude(ratio={"1": 0.5}, reduction="sum"))

    assert found == {"0": [9, 2.5, 9], "1": [8, 7]}


def test_two_of_three_gone() -> None:
    # Channels 1 and 0 of 9, 2.5, 9: the first of equal scores goes.
    found = scores(THREE, GreedyMagnitude(ratio=2 / 3, reduction="first", p=2))

    # Squared rows 5, 0.25, 25; then column 2 alone: 1 and 1.
    assert found == {"0": [5, 0.25, 25], "1": [1, 1]}


@pytest.mark.parametrize("reduction", ["mean", "sum", "max", "first", "prod"])
@pytest.mark.parametrize(
    ("net", "size"), [(ResidualNet(), 8), (GroupedNet(), 6), (DenseNet(5, 3, 4), 6)]
)
def test_without_removal_it_is_magnitude(net: nn.Module, size: int, reduction: Reduction) -> None:
    model, shape = fill(net), (1, 3, size, size)

    found = scores(model, GreedyMagnitude(ratio=0, p=2, reduction=reduction), *shape)

    expected = scores(model, Magnitude(p=2, reduction=reduction), *shape)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-12)


def test_rows_of_a_grouped_convolution_lose_equally_many() -> None:
    model = fill(GroupedNet(8, 12, 2))

    found = scores(model, GreedyMagnitude(ratio=0.5, reduction="sum"), 1, 3, 6, 6)

    enter = np.array(found["enter"]).reshape(2, 4)
    stay = np.sort(np.argsort(enter, axis=1)[:, 2:], axis=1)
    weight = model.grouped.weight.detach().abs().sum((2, 3)).numpy()
    producer = np.concatenate([weight[:6][:, stay[0]].sum(1), weight[6:][:, stay[1]].sum(1)])
    consumer = model.leave.weight.detach().abs().sum((0, 2, 3)).numpy()
    np.testing.assert_allclose(found["grouped"], producer + consumer, rtol=1e-12)


def test_unknown_group_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no group '7'"):
        scores(THREE, GreedyMagnitude(ratio={"7": 0.5}))


@pytest.mark.parametrize("ratio", [1.0, -0.5, {"0": 1.5}])
def test_ratio_out_of_range_is_refused(ratio: float | dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"ratio=-?\d.\d; expected a share of a group in \[0, 1\)"):
        GreedyMagnitude(ratio=ratio)


def test_power_must_be_positive() -> None:
    with pytest.raises(ValueError, match="p=0; expected a power > 0"):
        GreedyMagnitude(p=0)


def test_unknown_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match="reduction='median'; expected one of mean, sum"):
        GreedyMagnitude(reduction="median")  # type: ignore[arg-type]

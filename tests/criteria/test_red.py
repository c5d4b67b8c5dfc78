"""RED: modes and merges."""

import numpy as np
import pytest
import torch

from sentei.criteria.red import Red, _round_to_modes
from tests.support.small import linear_net, scores


def test_elements_become_the_mode_of_their_cluster() -> None:
    noise = np.random.default_rng(0).normal(size=(3, 50)) * 1e-3
    values = torch.from_numpy(np.array([[-1.0], [0.25], [2.0]]) + noise)

    found = _round_to_modes(values, 0.05)

    assert [len(row.unique()) for row in found] == [1, 1, 1]
    np.testing.assert_allclose(found[:, 0], [-1, 0.25, 2], atol=0.02)


def test_narrow_kernels_tell_more_modes_apart() -> None:
    values = torch.tensor([0.0, 0.1, 1.0, 1.1, 2.0], dtype=torch.float64)

    assert len(_round_to_modes(values, 0.01).unique()) == 5
    assert len(_round_to_modes(values, 0.2).unique()) == 3


def test_equal_elements_stay() -> None:
    assert _round_to_modes(torch.full((2, 2), 0.3), 0.01).unique().tolist() == [
        torch.tensor(0.3).double().item()
    ]


def test_nearly_equal_channels_merge_and_the_longer_one_stays() -> None:
    # 1 and 1.001 are one mode: the shorter gives way at 0, the longer at 2 to the one at 3.
    net = linear_net([[1.001], [1.0], [3.0]], [[0.0] * 3])

    found = scores(net, Red(bandwidth=0.05), 1, 1)["0"]

    np.testing.assert_allclose(found, [2, 0, 4], atol=0.02)


def test_two_pairs_lose_one_each_before_the_pairs_merge() -> None:
    net = linear_net([[0.0], [1.0], [10.0], [12.0]], [[0.0] * 4])

    found = scores(net, Red(bandwidth=0.001), 1, 1)["0"]

    # Distances 1 and 2 inside the pairs, 9 between them.
    np.testing.assert_allclose(found, [1, 9, 2, 24], atol=0.02)


def test_equal_channels_all_go_at_no_distance() -> None:
    net = linear_net([[2.0], [2.0], [2.0]], [[1.0] * 3])

    assert scores(net, "red", 1, 1) == {"0": [0, 0, 0]}


@pytest.mark.parametrize("bandwidth", [0.0, float("inf")])
def test_bandwidth_out_of_range_is_refused(bandwidth: float) -> None:
    with pytest.raises(ValueError, match=f"bandwidth={bandwidth}; expected a finite share > 0"):
        Red(bandwidth=bandwidth)

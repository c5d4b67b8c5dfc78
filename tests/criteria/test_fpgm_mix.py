"""FPGM-mix: norm first, then distances among what survives."""

import numpy as np
import pytest

from sentei.criteria.fpgm_mix import FpgmMix
from tests.support.small import linear_net, scores

# Channels (1, 0), (0, 4), (3, 4), (6, 8): norms 1, 4, 5, 10.
FOUR = linear_net([[1.0], [0.0], [3.0], [6.0]], [[0.0, 4.0, 4.0, 8.0]])


def test_smallest_channel_goes_by_norm_and_does_not_count_for_distances() -> None:
    # Among the last three: 3 apart, 52 ** .5 apart, 5 apart.
    far = 52**0.5

    found = scores(FOUR, FpgmMix(norm_rate=0.25), 1, 1)["0"]

    expected = [1 / 4, 1 + (3 + far) / (far + 5), 1 + 8 / (far + 5), 2]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_cut_by_norm_keeps_the_order_of_the_norms() -> None:
    found = scores(FOUR, FpgmMix(norm_rate=0.5), 1, 1)["0"]

    np.testing.assert_allclose(found, [1 / 5, 4 / 5, 2, 2], rtol=1e-12)


def test_share_of_less_than_a_channel_cuts_none_by_norm() -> None:
    found = scores(FOUR, FpgmMix(norm_rate=0.2), 1, 1)["0"]

    assert min(found) >= 1


def test_rate_of_three_tenths_of_ten_channels_is_three() -> None:
    net = linear_net([[float(k)] for k in range(1, 11)], [[0.0] * 10])

    found = scores(net, FpgmMix(norm_rate=0.3), 1, 1)["0"]

    np.testing.assert_allclose(found[:3], [1 / 4, 2 / 4, 3 / 4], rtol=1e-12)
    assert min(found[3:]) > 1


def test_channels_of_zeros_have_finite_scores() -> None:
    net = linear_net([[0.0], [0.0]], [[0.0, 0.0]])

    assert scores(net, FpgmMix(norm_rate=0.5), 1, 1) == {"0": [0, 1]}


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=rf"norm_rate={rate}; expected a share in \[0, 1\)"):
        FpgmMix(norm_rate=rate)

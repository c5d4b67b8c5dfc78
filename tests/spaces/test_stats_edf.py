"""Distribution functions, their bands, the expected best of k."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from sentei.spaces.stats_base import Resampling
from sentei.spaces.stats_edf import (
    best_of_k_band,
    bootstrap_band,
    dkw_epsilon,
    edf,
    expected_best,
)

FAST = Resampling(draws=400, seed=3)


def test_edf_counts_values_strictly_below() -> None:
    function = edf([3.0, 1.0, 2.0, 2.0])

    assert function.at([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]).tolist() == [
        0,
        0,
        0.25,
        0.25,
        0.75,
        0.75,
        1,
    ]
    assert function.legend() == "4|1.00|2.00"


def test_weighted_edf_equals_edf_of_repeated_values() -> None:
    grid = np.linspace(0, 4, 17)

    weighted = edf([1.0, 2.0, 3.5], [1, 3, 2])
    repeated = edf([1.0, 2.0, 2.0, 2.0, 3.5, 3.5])

    np.testing.assert_allclose(weighted.at(grid), repeated.at(grid), rtol=1e-12)
    assert weighted.mean == pytest.approx(repeated.mean)


def test_mean_is_the_area_left_of_the_curve() -> None:
    values = np.random.default_rng(0).gamma(2, size=50)
    grid = np.linspace(0, values.max() + 1, 200_001)

    area = np.trapezoid(1 - edf(values).at(grid), grid)

    assert edf(values).mean == pytest.approx(area, rel=1e-4)


@pytest.mark.parametrize(("num", "half"), [(50, 0.192), (100, 0.136), (200, 0.096), (500, 0.061)])
def test_dkw_half_widths_are_the_tabulated_ones(num: int, half: float) -> None:
    assert dkw_epsilon(num) == pytest.approx(half, abs=5e-4)


def test_dkw_band_holds_the_whole_truth_in_most_populations() -> None:
    rng = np.random.default_rng(0)
    grid = np.linspace(-3, 3, 61)
    truth = stats.norm.cdf(grid)

    curves = [edf(rng.normal(size=60)).at(grid) for _ in range(200)]

    inside = [np.abs(curve - truth).max() <= dkw_epsilon(60) for curve in curves]
    assert 0.95 <= np.mean(inside) < 1


def test_bootstrap_band_has_the_binomial_width() -> None:
    values = np.random.default_rng(0).normal(size=400)

    band = bootstrap_band(values, [0.0], resampling=FAST)

    share = band.curve[0]
    half = 1.96 * math.sqrt(share * (1 - share) / 400)
    assert (band.high - band.low)[0] == pytest.approx(2 * half, rel=0.15)


def test_clusters_widen_the_band_as_much_as_replication_narrows_it() -> None:
    values = np.random.default_rng(0).normal(size=100)
    single = bootstrap_band(values, [0.0], resampling=FAST)

    copied = bootstrap_band(
        np.repeat(values, 4), [0.0], clusters=np.repeat(np.arange(100), 4), resampling=FAST
    )

    np.testing.assert_allclose(copied.low, single.low, atol=0.03)
    np.testing.assert_allclose(copied.high, single.high, atol=0.03)


def test_expected_best_is_the_mean_over_all_subsets() -> None:
    values = [4.0, 1.0, 2.5, 2.5, 7.0, 3.0]

    found = expected_best(values, range(1, 7))

    slow = [np.mean([min(c) for c in itertools.combinations(values, k)]) for k in range(1, 7)]
    np.testing.assert_allclose(found, slow, rtol=1e-12)


def test_best_of_k_band_holds_its_curve_and_falls() -> None:
    values = np.random.default_rng(1).normal(size=80)

    band = best_of_k_band(values, [1, 5, 20], resampling=FAST)

    assert (np.diff(band.curve) < 0).all()
    assert ((band.low <= band.curve) & (band.curve <= band.high)).all()
    # The band of k = 1 is the interval of the mean.
    assert band.high[0] - band.low[0] == pytest.approx(2 * 1.96 * values.std() / 80**0.5, rel=0.15)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="weights of an EDF must be >= 0"):
        edf([1.0], [-1.0])
    with pytest.raises(ValueError, match=r"k = .*0.* population of 2; 1 <= k <= 2"):
        expected_best([1.0, 2.0], [0])
    with pytest.raises(ValueError, match="DKW band of 0 values"):
        dkw_epsilon(0)

"""Two populations: tests, differences, Holm."""

import numpy as np
import pytest
from scipy import stats

from sentei.spaces.stats_base import Resampling
from sentei.spaces.stats_compare import compare, compare_all, holm

FAST = Resampling(draws=400, seed=1)
RNG = np.random.default_rng(0)
GOOD, BAD = RNG.normal(0, 1, 120), RNG.normal(0.8, 1, 90)


def test_two_small_populations_by_hand() -> None:
    found = compare([1.0, 2.0, 3.0], [2.5, 4.0], resampling=FAST)

    # F(first) - F(second) is largest at 2: 2/3 - 0.
    assert found.ks == pytest.approx(2 / 3)
    # Of 6 pairs the first is smaller in 5.
    assert found.cliffs_delta == pytest.approx((5 - 1) / 6)
    assert found.mean.estimate == pytest.approx(2 - 3.25)
    assert found.quantile.estimate == pytest.approx(1.1 - 2.575)


def test_p_values_are_those_of_scipy() -> None:
    found = compare(GOOD, BAD, resampling=FAST)

    assert found.ks_p == stats.ks_2samp(GOOD, BAD).pvalue
    assert found.ks_better_p == stats.ks_2samp(GOOD, BAD, alternative="greater").pvalue
    assert found.mann_whitney_p == stats.mannwhitneyu(GOOD, BAD).pvalue


def test_only_the_better_population_dominates() -> None:
    assert compare(GOOD, BAD, resampling=FAST).ks_better_p < 1e-4
    assert compare(BAD, GOOD, resampling=FAST).ks_better_p > 0.5


def test_interval_of_the_mean_is_near_welch() -> None:
    found = compare(GOOD, BAD, resampling=FAST).mean

    welch = stats.ttest_ind(GOOD, BAD, equal_var=False).confidence_interval()
    assert found.interval.method == "BCa bootstrap"
    assert found.interval.low == pytest.approx(welch.low, abs=0.05)
    assert found.interval.high == pytest.approx(welch.high, abs=0.05)


def test_constant_populations_get_a_named_percentile_interval() -> None:
    found = compare([1.0, 1.0], [3.0, 3.0], resampling=FAST).mean

    assert (found.interval.low, found.interval.high) == (-2, -2)
    assert found.interval.method == "percentile bootstrap, BCa does not exist"


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .04 .3: times 4 3 2 1 = .04 .06 .08 .3.
    np.testing.assert_allclose(holm([0.3, 0.01, 0.04, 0.02]), [0.3, 0.04, 0.08, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_all_pairs_are_corrected_together() -> None:
    found = compare_all({"a": GOOD, "b": BAD, "c": GOOD + 0.1}, resampling=FAST)

    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    adjusted = [c.ks_adjusted_p for c in found.values()]
    np.testing.assert_allclose(adjusted, holm([c.ks_p for c in found.values()]))
    assert found["a", "b"].ks_adjusted_p == pytest.approx(3 * found["a", "b"].ks_p)


def test_power_of_ks_at_half_a_standard_deviation_is_as_tabulated() -> None:
    rng = np.random.default_rng(0)

    p = [stats.ks_2samp(rng.normal(size=100), rng.normal(0.5, 1, 100)).pvalue for _ in range(200)]

    assert np.mean(np.array(p) < 0.05) > 0.7


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="first holds 1 values; at least 2"):
        compare([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="quantile_level is 0"):
        compare([1.0, 2.0], [1.0, 2.0], quantile_level=0)
    with pytest.raises(ValueError, match="1 populations were given"):
        compare_all({"a": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"p-values \[2.0\] were given"):
        holm([2.0])

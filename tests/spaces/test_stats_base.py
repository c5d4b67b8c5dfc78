"""Checked arrays, intervals and seeded resampling."""

import math

import numpy as np
import pytest

from sentei.spaces.stats_base import (
    Interval,
    Observations,
    Resampling,
    check_bounds,
    checked,
    generator,
    permutation_p,
    resampling_counts,
    same_length,
)


def test_permutation_p_counts_the_observed_arrangement() -> None:
    found = permutation_p(np.array([0.0, 1.0, 2.0, 3.0]), 2.0)

    assert found.value == 3 / 5
    assert found.draws == 5
    assert found.mc_error == pytest.approx(math.sqrt(0.6 * 0.4 / 5))


def test_an_interval_on_the_bound_is_not_within() -> None:
    interval = Interval(low=0.5, high=1.0, level=0.95, method="")

    assert 0.7 in interval
    assert interval.within(0.4, 1.1)
    assert not interval.within(0.5, 1.1)


def test_streams_depend_on_seed_and_name_only() -> None:
    first, again = generator(1, "a").random(3), generator(1, "a").random(3)

    assert (first == again).all()
    assert (first != generator(1, "b").random(3)).all()
    assert (first != generator(2, "a").random(3)).all()


def test_resamples_have_the_size_of_the_population() -> None:
    counts_BN = resampling_counts(7, 50, rng=np.random.default_rng(0))

    assert counts_BN.shape == (50, 7)
    assert (counts_BN.sum(1) == 7).all()


def test_replicates_of_a_recipe_are_drawn_together() -> None:
    counts_BN = resampling_counts(
        5, 50, rng=np.random.default_rng(0), clusters=["a", "b", "a", "c", "b"]
    )

    assert (counts_BN[:, 0] == counts_BN[:, 2]).all()
    assert (counts_BN[:, 1] == counts_BN[:, 4]).all()
    assert (counts_BN[:, [0, 1, 3]].sum(1) == 3).all()


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ([[1.0]], r"drop has shape \(1, 1\)"),
        ([], "drop holds 0 values; at least 1"),
        ([1.0, math.nan], r"drop\[1\] is nan; leave out the recipes"),
    ],
)
def test_bad_vectors_are_named(values: list[float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        checked("drop", values)


def test_observations_check_every_vector() -> None:
    drop, ratio = np.ones(2), np.ones(2)

    with pytest.raises(ValueError, match=r"the lengths differ: .*'std': 3"):
        Observations(drop=drop, ratio=ratio, covariates={"std": np.ones(3)})
    with pytest.raises(ValueError, match=r"smallest value of ratio is 0\.0; all must be > 0"):
        Observations(drop=drop, ratio=np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"smallest value of weights is -1\.0"):
        Observations(drop=drop, ratio=ratio, weights=np.array([1.0, -1.0]))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"level is 1; a number between 0 and 1"):
        Resampling(level=1)
    with pytest.raises(ValueError, match="draws is 0"):
        Resampling(draws=0)
    with pytest.raises(ValueError, match="0 bootstrap draws"):
        resampling_counts(3, 0, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="2 cluster labels for 3 observations"):
        resampling_counts(3, 1, rng=np.random.default_rng(0), clusters=[0, 1])
    with pytest.raises(ValueError, match=r"attainable bounds are \(2, 1\)"):
        check_bounds((2, 1))
    with pytest.raises(ValueError, match="the lengths differ"):
        same_length(a=np.ones(1), b=np.ones(2))

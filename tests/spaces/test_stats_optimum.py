"""The optimal ratio and its interval."""

import math

import numpy as np
import pytest

from sentei.spaces.stats_base import Observations, Resampling
from sentei.spaces.stats_optimum import (
    extra_drop,
    optimal_ratio,
    optimal_ratio_spline,
    optimum_shift,
)
from tests.support.populations import BOUNDS, KAPPA, LOG_BOUNDS, population

FAST = Resampling(draws=300, seed=5)


def test_exact_parabola_gives_its_vertex_and_curvature() -> None:
    ratio = np.array([0.6, 0.8, 1.0, 1.5, 2.0, 2.4, 0.7, 1.2])
    drop = 2 + 3.1 * np.log(ratio / 0.85) ** 2

    found = optimal_ratio(Observations(drop=drop, ratio=ratio), bounds=BOUNDS, resampling=FAST)

    assert found.ratio == pytest.approx(0.85, rel=1e-9)
    assert found.curvature == pytest.approx(3.1, rel=1e-9)
    assert found.drop == pytest.approx(2, rel=1e-9)
    assert found.interval.high - found.interval.low < 1e-6
    assert found.interior


def test_half_a_point_at_a_factor_of_one_and_a_half_is_kappa_three() -> None:
    assert extra_drop(KAPPA, 1.5) == pytest.approx(0.51, abs=0.005)
    assert extra_drop(KAPPA, 1 / 1.5) == pytest.approx(extra_drop(KAPPA, 1.5))


def test_a_covariate_that_moves_the_vertex_is_taken_out() -> None:
    rng = np.random.default_rng(0)
    log_N = rng.uniform(-0.5, 0.9, 200)
    std = 0.2 + 0.3 * log_N + rng.normal(0, 0.05, 200)
    drop = 3 * log_N**2 + 10 * std + rng.normal(0, 0.05, 200)

    without = optimal_ratio(
        Observations(drop=drop, ratio=np.exp(log_N)), bounds=BOUNDS, resampling=FAST
    )
    given = optimal_ratio(
        Observations(drop=drop, ratio=np.exp(log_N), covariates={"std": std}),
        bounds=BOUNDS,
        resampling=FAST,
    )

    assert without.ratio < 0.65
    assert given.ratio == pytest.approx(1.0, abs=0.03)
    assert 1.0 in given.interval


def test_a_falling_curve_has_its_optimum_on_the_bound() -> None:
    rng = np.random.default_rng(0)
    log_N = rng.uniform(*LOG_BOUNDS, 100)
    observations = Observations(drop=5 - 2 * log_N + rng.normal(0, 0.1, 100), ratio=np.exp(log_N))

    found = optimal_ratio(observations, bounds=BOUNDS, resampling=FAST)

    assert found.ratio == pytest.approx(BOUNDS[1])
    assert found.at_bound > 0.9
    assert not found.interior


def test_the_interval_holds_the_true_optimum_in_most_stratified_populations() -> None:
    found = [
        optimal_ratio(
            population(100, seed, kappa=KAPPA),
            bounds=BOUNDS,
            resampling=Resampling(draws=200, seed=seed),
        )
        for seed in range(150)
    ]

    assert np.mean([0.85 in one.interval for one in found]) >= 0.9
    assert np.median([one.interval.high / one.interval.low for one in found]) < 1.18


def test_without_an_effect_the_interval_reaches_both_bounds() -> None:
    found = optimal_ratio(population(200, 1, kappa=0), bounds=BOUNDS, resampling=FAST)

    assert not found.interior
    assert found.interval.high / found.interval.low > 1.5


def test_the_same_seed_gives_the_same_interval() -> None:
    observations = population(60, 0, kappa=KAPPA)

    first = optimal_ratio(observations, bounds=BOUNDS, resampling=FAST)

    assert first == optimal_ratio(observations, bounds=BOUNDS, resampling=FAST)


def test_weights_count_like_repeated_recipes() -> None:
    observations = population(40, 3, kappa=KAPPA)
    counts = np.arange(40) % 3 + 1
    rows = np.repeat(np.arange(40), counts)

    weighted = optimal_ratio(
        Observations(
            drop=observations.drop, ratio=observations.ratio, weights=counts.astype(np.float64)
        ),
        bounds=BOUNDS,
        resampling=FAST,
    )
    repeated = optimal_ratio(
        Observations(drop=observations.drop[rows], ratio=observations.ratio[rows]),
        bounds=BOUNDS,
        resampling=FAST,
    )

    assert weighted.ratio == pytest.approx(repeated.ratio, rel=1e-9)


def test_the_spline_finds_a_minimum_that_no_quadratic_has() -> None:
    rng = np.random.default_rng(0)
    log_N = rng.uniform(*LOG_BOUNDS, 300)
    drop = np.where(log_N < -0.2, 12 * (log_N + 0.2) ** 2, 0.5 * (log_N + 0.2))
    observations = Observations(drop=drop + rng.normal(0, 0.03, 300), ratio=np.exp(log_N))

    found = optimal_ratio_spline(observations, bounds=BOUNDS, resampling=FAST)

    assert found.ratio == pytest.approx(math.exp(-0.2), rel=0.1)
    assert found.interior
    assert found.curvature is None


def test_spline_and_quadratic_agree_on_a_parabola() -> None:
    observations = population(200, 2, kappa=KAPPA)

    spline = optimal_ratio_spline(observations, bounds=BOUNDS, resampling=FAST)

    assert spline.ratio == pytest.approx(0.85, rel=0.12)
    assert 0.85 in spline.interval


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="a spline through 19 recipes means nothing"):
        optimal_ratio_spline(population(19, 0, kappa=1), bounds=BOUNDS)
    with pytest.raises(ValueError, match=r"do not overlap the bounds \(7, 9\)"):
        optimal_ratio_spline(population(20, 0, kappa=1), bounds=(7, 9))


def test_a_shifted_parabola_is_shifted_by_its_factor() -> None:
    observations = population(100, 0, kappa=KAPPA)
    twice = Observations(
        drop=2 + 3.1 * np.log(observations.ratio / 1.5) ** 2, ratio=observations.ratio
    )
    once = Observations(
        drop=2 + 3.1 * np.log(observations.ratio / 0.75) ** 2, ratio=observations.ratio
    )

    found = optimum_shift(twice, once, bounds=BOUNDS, paired=True, resampling=FAST)

    assert found.factor == pytest.approx(2)
    assert found.error < 1e-6


def test_pairing_takes_out_the_shared_noise() -> None:
    first = population(100, 0, kappa=KAPPA)
    second = Observations(drop=first.drop + 0.01 * np.cos(9 * first.drop), ratio=first.ratio)

    paired, apart = (
        optimum_shift(first, second, bounds=BOUNDS, paired=paired, resampling=FAST)
        for paired in (True, False)
    )

    assert paired.factor == apart.factor
    assert paired.error < 0.2 * apart.error
    assert 1 in paired.interval
    assert 1 in apart.interval


def test_different_recipes_are_not_paired() -> None:
    with pytest.raises(ValueError, match="have different ratios; pair the same recipes"):
        optimum_shift(
            population(50, 0, kappa=1), population(50, 1, kappa=1), bounds=BOUNDS, paired=True
        )

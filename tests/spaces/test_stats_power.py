"""Power of designs, and the smallest effect they detect."""

import math

import numpy as np
import pytest
from scipy import stats

from sentei.spaces.simulate import Effect, simulate, simulated_drops
from sentei.spaces.stats_base import Observations, Resampling
from sentei.spaces.stats_existence import lind_mehlum, two_lines
from sentei.spaces.stats_power import (
    detectable_effect,
    mean_power,
    normal_power,
    optimum_power,
)
from tests.support.populations import BOUNDS, KAPPA, design, population

HALF_A_POINT = Effect(curvature=KAPPA, optimum=0.85)


@pytest.mark.parametrize("stratified", [True, False])
def test_size_of_the_test_is_at_most_seven_percent(stratified: bool) -> None:
    drawn = population(200, 0, kappa=0, stratified=stratified)

    assert optimum_power(drawn, Effect(), bounds=BOUNDS).value <= 0.07


def test_stratified_200_has_power_for_half_a_point_and_natural_200_has_not() -> None:
    stratified = optimum_power(population(200, 0, kappa=0), HALF_A_POINT, bounds=BOUNDS)
    natural = optimum_power(
        population(200, 0, kappa=0, stratified=False), HALF_A_POINT, bounds=BOUNDS
    )

    assert stratified.value >= 0.95
    assert natural.value <= 0.5


def test_power_of_both_tests_is_that_of_simulating_them() -> None:
    drawn, effect = population(60, 0, kappa=0), Effect(curvature=1.5, optimum=0.85)
    rng = np.random.default_rng(1)
    found = []
    for _ in range(300):
        drop = simulated_drops(drawn.log_ratio, effect, rng=rng, rounds=1)[:, 0]
        one = Observations(drop=drop, ratio=drawn.ratio)
        p = max(lind_mehlum(one, bounds=BOUNDS).p_value, two_lines(one).p_value)
        found.append(p < 0.05)

    power = optimum_power(drawn, effect, bounds=BOUNDS, both=True, simulation=Resampling(draws=300))

    # Two samples of 300.
    assert power.value == pytest.approx(np.mean(found), abs=0.1)
    assert power.value < optimum_power(drawn, effect, bounds=BOUNDS).value


def test_the_detectable_effect_is_found_with_the_wanted_power() -> None:
    drawn, simulation = population(100, 0, kappa=0), Resampling(draws=400)

    found = detectable_effect(
        drawn, Effect(optimum=0.85), bounds=BOUNDS, power=0.8, simulation=simulation
    )

    weaker = Effect(curvature=0.9 * found.curvature, optimum=0.85)
    assert found.power.value >= 0.8
    assert optimum_power(drawn, weaker, bounds=BOUNDS, simulation=simulation).value < 0.8
    assert found.loss == pytest.approx(found.curvature * math.log(1.5) ** 2)


def test_twice_the_noise_doubles_the_detectable_effect() -> None:
    drawn, simulation = population(100, 0, kappa=0), Resampling(draws=200)

    small, large = (
        detectable_effect(
            drawn, Effect(structure=noise, seed=0), bounds=BOUNDS, simulation=simulation
        ).curvature
        for noise in (0.2, 0.4)
    )

    assert large / small == pytest.approx(2, rel=0.03)


def test_an_optimum_outside_the_bounds_is_never_detected() -> None:
    with pytest.raises(ValueError, match=r"no curvature gives a power of .* for an optimum at 5"):
        detectable_effect(
            population(50, 0, kappa=0),
            Effect(optimum=5),
            bounds=BOUNDS,
            simulation=Resampling(draws=20),
        )


def test_power_of_a_z_test_is_that_of_drawing() -> None:
    draws = np.random.default_rng(0).normal(0.5, 0.2, 200_000)

    assert normal_power(0.5, 0.2) == pytest.approx(np.mean(draws > 1.96 * 0.2), abs=0.003)
    assert normal_power(0.5, 0.2, sides=1) == pytest.approx(np.mean(draws > 1.645 * 0.2), abs=0.003)
    assert normal_power(-0.5, 0.2) == normal_power(0.5, 0.2)
    assert (normal_power(1, 0), normal_power(0, 0)) == (1, 0)
    # The t of two degrees of freedom asks 4.303 instead of 1.96 standard errors.
    assert normal_power(4.303, 1, dof=2) == pytest.approx(0.5, abs=1e-3)


def test_power_of_a_t_test_is_that_of_drawing() -> None:
    draws = np.random.default_rng(0).normal(0.4, 0.3, (20_000, 5))

    p = stats.ttest_1samp(draws, 0, axis=1).pvalue

    assert mean_power(0.4, 0.3, 5) == pytest.approx(np.mean(p < 0.05), abs=0.012)


def test_power_does_not_depend_on_the_drops_that_were_measured() -> None:
    first, second = simulate(design(60), Effect(), seed=3), population(60, 3, kappa=9)
    np.testing.assert_array_equal(first.ratio, second.ratio)

    powers = [optimum_power(one, HALF_A_POINT, bounds=BOUNDS) for one in (first, second)]

    assert powers[0] == powers[1]


def test_a_level_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="alpha is 1"):
        normal_power(1, 1, alpha=1)
    with pytest.raises(ValueError, match="power is 1"):
        detectable_effect(population(9, 0, kappa=0), Effect(), bounds=BOUNDS, power=1)

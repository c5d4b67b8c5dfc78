"""Tests of an interior optimum, and of their size and power."""

import numpy as np
import pytest

from sentei.spaces.stats_base import FloatArray, Observations
from sentei.spaces.stats_existence import (
    flatness,
    lind_mehlum,
    monotone_or_quadratic,
    two_lines,
    valley_p,
)
from sentei.spaces.stats_regression import curve
from tests.support.populations import BOUNDS, KAPPA, LOG_BOUNDS, drops, log_ratios, population


def rejections(num: int, *, kappa: float, stratified: bool, rounds: int = 1000) -> float:
    """Return the share of simulated populations in which an interior optimum is found."""
    rng = np.random.default_rng(num)
    log_N = log_ratios(num, rng, stratified=stratified)
    fit = curve(Observations(drop=np.zeros(num), ratio=np.exp(log_N)))
    drops_NR = np.column_stack([drops(log_N, rng, kappa=kappa) for _ in range(rounds)])
    return float(np.mean(valley_p(fit, drops_NR, LOG_BOUNDS) < 0.05))


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize("num", [50, 200])
def test_no_effect_gives_few_false_optima(num: int, stratified: bool) -> None:
    assert rejections(num, kappa=0, stratified=stratified) <= 0.07


def test_stratified_200_finds_half_a_point() -> None:
    assert rejections(200, kappa=KAPPA, stratified=True) >= 0.95


def test_natural_200_mostly_misses_half_a_point() -> None:
    assert rejections(200, kappa=KAPPA, stratified=False) <= 0.5


def test_a_monotone_drop_is_no_valley() -> None:
    rng = np.random.default_rng(0)
    log_N = log_ratios(200, rng, stratified=True)
    # Saturating: a quadratic fits it well, yet it never rises.
    observations = Observations(
        drop=3 * np.exp(-2 * log_N) + rng.normal(0, 0.3, 200), ratio=np.exp(log_N)
    )

    assert two_lines(observations).p_value > 0.05
    assert two_lines(observations).slope_low < 0


def test_lind_mehlum_slopes_are_the_derivatives_of_polyfit() -> None:
    observations = population(60, 0, kappa=KAPPA)

    found = lind_mehlum(observations, bounds=BOUNDS)

    slope = np.polynomial.Polynomial.fit(observations.log_ratio, observations.drop, 2).deriv()
    assert found.slope_low == pytest.approx(slope(LOG_BOUNDS[0]))
    assert found.slope_high == pytest.approx(slope(LOG_BOUNDS[1]))
    assert found.turn == pytest.approx(np.exp(slope.roots()[0]))


def test_one_and_many_populations_give_the_same_p_value() -> None:
    observations = population(50, 1, kappa=0.5)

    many = valley_p(curve(observations), observations.drop[:, None], LOG_BOUNDS)

    assert lind_mehlum(observations, bounds=BOUNDS).p_value == pytest.approx(many[0], rel=1e-9)


def test_two_lines_recover_a_tent() -> None:
    log_N = np.linspace(*LOG_BOUNDS, 60)
    tent = np.where(log_N < 0, -2 * log_N, log_N)

    found = two_lines(Observations(drop=tent + 1e-3 * np.cos(9 * log_N), ratio=np.exp(log_N)))

    assert found.p_value < 1e-6
    assert found.slope_low < -1
    assert found.slope_high == pytest.approx(1, abs=0.2)


def test_two_lines_find_the_effect_and_not_chance() -> None:
    effect = [
        two_lines(population(200, s, kappa=KAPPA, optimum=1)).p_value < 0.05 for s in range(40)
    ]
    chance = [two_lines(population(100, s, kappa=0)).p_value < 0.05 for s in range(200)]

    assert np.mean(effect) >= 0.95
    assert np.mean(chance) <= 0.07


@pytest.mark.parametrize(
    ("coefficients", "preferred"),
    [((0.0, 0.0), "flat"), ((-2.0, 0.0), "monotone"), ((0.3, 2.0), "quadratic")],
)
def test_the_generating_model_is_preferred(
    coefficients: tuple[float, float], preferred: str
) -> None:
    rng = np.random.default_rng(4)
    log_N = log_ratios(200, rng, stratified=True)
    drop = coefficients[0] * log_N + coefficients[1] * log_N**2 + rng.normal(0, 0.3, 200)

    found = monotone_or_quadratic(Observations(drop=drop, ratio=np.exp(log_N)), bounds=BOUNDS)

    assert found.preferred == preferred


def test_a_curved_monotone_drop_is_called_monotone_though_the_line_is_rejected() -> None:
    rng = np.random.default_rng(0)
    log_N = log_ratios(200, rng, stratified=True)
    observations = Observations(
        drop=(log_N - 1.2) ** 2 * 3 + rng.normal(0, 0.2, 200), ratio=np.exp(log_N)
    )

    found = monotone_or_quadratic(observations, bounds=BOUNDS)

    assert found.lrt_p < 1e-6
    assert found.preferred == "monotone"


def test_likelihood_ratio_is_that_of_two_ordinary_fits() -> None:
    observations = population(50, 2, kappa=0.3)

    found = monotone_or_quadratic(observations, bounds=BOUNDS)

    def deviance(degree: int) -> float:
        fit = np.polynomial.Polynomial.fit(observations.log_ratio, observations.drop, degree)
        errors: FloatArray = observations.drop - fit(observations.log_ratio)
        return float(50 * np.log(errors @ errors / 50))

    assert found.aic_linear == pytest.approx(deviance(1) + 6)
    assert found.aic_quadratic == pytest.approx(deviance(2) + 8)
    assert found.aic_flat == pytest.approx(deviance(0) + 4)
    assert found.aic_monotone >= found.aic_quadratic - 1e-9


def test_flatness_is_shown_only_where_there_is_none_or_much_data() -> None:
    flat = flatness(population(2000, 0, kappa=0), bounds=BOUNDS, margin=0.15)
    curved = flatness(population(2000, 0, kappa=KAPPA), bounds=BOUNDS, margin=0.15)
    few = flatness(population(20, 0, kappa=0), bounds=BOUNDS, margin=0.15)

    assert flat.p_value < 0.05
    assert flat.swing < 0.15
    assert curved.p_value > 0.99
    assert few.p_value > 0.05


def test_swing_is_the_largest_distance_from_the_mean_height() -> None:
    ratio = np.exp(np.linspace(-1, 1, 30))

    found = flatness(
        Observations(drop=np.log(ratio) ** 2, ratio=ratio), bounds=(1 / np.e, np.e), margin=1
    )

    # The mean of z^2 over [-1, 1] is 1/3; the ends lie 2/3 above it.
    assert found.swing == pytest.approx(2 / 3, abs=1e-3)
    assert found.p_value < 1e-6


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="two lines through 9 recipes mean nothing"):
        two_lines(population(9, 0, kappa=1))
    with pytest.raises(ValueError, match="margin of flatness is 0"):
        flatness(population(9, 0, kappa=1), bounds=BOUNDS, margin=0)

"""Least squares against slower ways."""

import numpy as np
import pytest

from sentei.spaces.stats_base import Observations
from sentei.spaces.stats_regression import (
    curve,
    least_squares,
    lowest,
    resampled_coefficients,
)
from tests.support.populations import population

RNG = np.random.default_rng(0)
COLUMNS = np.column_stack([np.ones(12), RNG.normal(size=12), RNG.normal(size=12)])
RESPONSE = RNG.normal(size=12)


def test_weighted_coefficients_equal_those_of_repeated_rows() -> None:
    counts = np.arange(1, 13)

    found = least_squares(COLUMNS, counts.astype(float)).coefficients(RESPONSE)

    rows = np.repeat(np.arange(12), counts)
    slow = np.linalg.lstsq(COLUMNS[rows], RESPONSE[rows], rcond=None)[0]
    np.testing.assert_allclose(found, slow, rtol=1e-10)


def test_hc3_is_the_sandwich_written_out() -> None:
    problem = least_squares(COLUMNS)

    estimate, error = problem.contrast(RESPONSE, np.array([0.0, 1.0, 0.0]))

    inverse = np.linalg.inv(COLUMNS.T @ COLUMNS)
    hat = np.diag(COLUMNS @ inverse @ COLUMNS.T)
    beta = inverse @ COLUMNS.T @ RESPONSE
    scaled = (RESPONSE - COLUMNS @ beta) / (1 - hat)
    covariance = inverse @ COLUMNS.T @ np.diag(scaled**2) @ COLUMNS @ inverse
    assert estimate == pytest.approx(beta[1])
    assert error == pytest.approx(np.sqrt(covariance[1, 1]))


def test_many_responses_are_fitted_as_one_at_a_time() -> None:
    problem = least_squares(COLUMNS, np.arange(1.0, 13))
    both = np.column_stack([RESPONSE, RESPONSE**2])

    estimate_CR, error_CR = problem.contrast(both, np.eye(3))

    for r in range(2):
        one, error = problem.contrast(both[:, r], np.eye(3))
        np.testing.assert_allclose(estimate_CR[:, r], one, rtol=1e-10)
        np.testing.assert_allclose(error_CR[:, r], error, rtol=1e-10)


def test_resampled_coefficients_are_those_of_the_resampled_rows() -> None:
    rows = np.array([0, 0, 1, 2, 3, 5, 5, 6, 8, 9, 10, 11])

    found = resampled_coefficients(
        COLUMNS, RESPONSE, np.bincount(rows, minlength=12)[None].astype(np.float64)
    )

    slow = np.linalg.lstsq(COLUMNS[rows], RESPONSE[rows], rcond=None)[0]
    np.testing.assert_allclose(found[0], slow, rtol=1e-8)


@pytest.mark.parametrize(
    ("linear", "square", "expected"),
    [(-2.0, 1.0, 1.0), (-9.0, 1.0, 2.0), (0.5, -1.0, 2.0), (3.0, 0.0, -1.0), (0.1, -0.001, -1.0)],
)
def test_lowest_point_is_that_of_a_fine_grid(linear: float, square: float, expected: float) -> None:
    log_N = np.array([-1.0, 0.0, 1.0, 2.0, -2.0])
    fit = curve(Observations(drop=np.zeros(5), ratio=np.exp(log_N)))

    found = lowest(np.array([0.0, linear, square]), fit, (-1.0, 2.0))

    grid = np.linspace(-1, 2, 3001)
    assert fit.centre == pytest.approx(0)
    assert found == pytest.approx(grid[np.argmin(linear * grid + square * grid**2)], abs=2e-3)
    assert found == pytest.approx(expected)


def test_slope_contrast_is_the_derivative_of_the_value_contrast() -> None:
    fit = curve(population(30, 0, kappa=1))
    step = 1e-5

    values = fit.value_weights(np.array([0.3 - step, 0.3 + step]))

    np.testing.assert_allclose(
        fit.slope_weights(0.3), (values[1] - values[0]) / (2 * step), atol=1e-9
    )


def test_singular_designs_are_refused_with_a_cure() -> None:
    ratio = np.exp(RNG.normal(size=12))

    with pytest.raises(ValueError, match="3 recipes cannot determine 3 coefficients"):
        curve(Observations(drop=np.zeros(3), ratio=np.array([1.0, 2.0, 3.0])))
    with pytest.raises(ValueError, match="a covariate is constant or repeats another"):
        curve(Observations(drop=RESPONSE, ratio=ratio, covariates={"std": np.ones(12)}))
    with pytest.raises(ValueError, match="too few different ratios"):
        curve(Observations(drop=RESPONSE, ratio=np.tile([1.0, 2.0], 6)))


def test_the_unit_of_a_covariate_does_not_matter() -> None:
    ratio, macs = np.exp(RNG.normal(size=12)), RNG.normal(1, 0.01, 12)

    small = curve(Observations(drop=RESPONSE, ratio=ratio, covariates={"macs": macs}))
    large = curve(Observations(drop=RESPONSE, ratio=ratio, covariates={"macs": macs * 1e9}))

    np.testing.assert_allclose(
        small.problem.coefficients(RESPONSE), large.problem.coefficients(RESPONSE), rtol=1e-6
    )

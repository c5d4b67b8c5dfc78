"""Estimates taken together."""

import math

import numpy as np
import pytest

from sentei.spaces.stats_base import Interval
from sentei.spaces.stats_meta import meta_regression, standard_error


def test_mean_of_three_estimates_by_hand() -> None:
    found = meta_regression([0.0, 3.0, 6.0], [1.0, 1.0, 1.0])

    # Q = 9 + 9 = 18 on 2 degrees; the trace is 3 - 1 = 2: variance (18 - 2) / 2 = 8.
    assert (found.q, found.variance, found.dof) == pytest.approx((18, 8, 2))
    assert found.coefficients[0] == pytest.approx(3)
    # Every weight is 1 / 9, their sum 1 / 3; the scale 18 / 9 / 2 is 1.
    assert found.errors[0] == pytest.approx(math.sqrt(3))
    # chi2 of 2 degrees: exp(-Q / 2).
    assert found.q_p == pytest.approx(math.exp(-9))


def test_precise_estimates_weigh_more() -> None:
    # They agree within their errors: weights 1 and 1 / 4.
    found = meta_regression([0.0, 1.0], [1.0, 2.0])

    assert found.variance == 0
    assert found.coefficients[0] == pytest.approx(0.2)
    # Sum of weights 1.25; the scale is below 1 and does not shrink the error.
    assert found.errors[0] == pytest.approx(1 / math.sqrt(1.25))


def test_slope_of_exact_estimates_is_that_of_polyfit() -> None:
    x = np.array([1.0, 2.0, 4.0, 7.0])
    values = np.array([1.0, 2.5, 3.0, 7.0])

    found = meta_regression(values, np.ones(4), np.column_stack([np.ones(4), x]))

    assert found.coefficients[::-1] == pytest.approx(np.polyfit(x, values, 1))


def test_intervals_hold_the_truth_in_most_studies() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(400):
        errors = rng.uniform(0.05, 0.3, 6)
        values = 1 + rng.normal(0, 0.2, 6) + rng.normal(0, errors)
        held.append(1 in meta_regression(values, errors).interval(0))

    assert np.mean(held) >= 0.93


def test_agreeing_estimates_seldom_have_a_large_q() -> None:
    rng = np.random.default_rng(0)
    p = [meta_regression(rng.normal(0, 0.1, 5), np.full(5, 0.1)).q_p for _ in range(400)]

    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.025)


def test_error_of_a_log_interval() -> None:
    interval = Interval(low=math.exp(-0.196), high=math.exp(0.196), level=0.95, method="test")

    assert standard_error(interval, log=True) == pytest.approx(0.1, rel=1e-3)
    assert standard_error(interval) == pytest.approx(math.sinh(0.196) / 1.96, rel=1e-3)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="smallest standard error is 0"):
        meta_regression([1.0, 2.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="1 estimates cannot determine 1 coefficients"):
        meta_regression([1.0], [1.0])
    with pytest.raises(ValueError, match="3 estimates cannot determine 2 coefficients"):
        meta_regression([1.0, 2, 3], [1.0, 1, 1], np.ones((3, 2)))

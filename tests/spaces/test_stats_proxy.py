"""Rank agreement of a proxy and the full score."""

import math

import numpy as np
import pytest
from scipy import stats

from sentei.spaces.stats_base import Interval, Observations, Resampling
from sentei.spaces.stats_proxy import (
    Agreement,
    Gate,
    proxy_check,
    rank_agreement,
)
from tests.support.populations import BOUNDS, KAPPA, population

FAST = Resampling(draws=400)


def normals(tau: float, num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rho = math.sin(math.pi * tau / 2)
    first, other = rng.standard_normal((2, num))
    return first, rho * first + math.sqrt(1 - rho**2) * other


def test_tau_is_that_of_scipy_with_ties() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 6, 40), rng.integers(0, 4, 40)

    found = rank_agreement(first, second, resampling=FAST)

    assert found.tau == pytest.approx(stats.kendalltau(first, second).statistic)
    assert found.num == 40


def test_the_interval_is_that_of_resampling_the_recipes() -> None:
    first, second = normals(0.5, 30)
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(1000):
        index = rng.integers(30, size=30)
        drawn.append(stats.kendalltau(first[index], second[index]).statistic)

    found = rank_agreement(first, second).interval

    # Both bootstraps: 1000 and 2000 draws, about .01 of Monte-Carlo error at the ends.
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.03)


def test_the_interval_holds_the_truth_in_most_samples() -> None:
    found = [rank_agreement(*normals(0.6, 40, seed), resampling=FAST) for seed in range(100)]

    assert np.mean([0.6 in one.interval for one in found]) >= 0.9


def test_partial_tau_is_kendalls_formula() -> None:
    rng = np.random.default_rng(2)
    z = rng.standard_normal(50)
    x, y = z + rng.standard_normal(50), z + rng.standard_normal(50)
    xy, xz, yz = (stats.kendalltau(*pair).statistic for pair in ((x, y), (x, z), (y, z)))

    found = rank_agreement(x, y, given={"z": z}, resampling=FAST)

    assert found.tau == pytest.approx((xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2)))


def test_partial_tau_of_two_given_variables_takes_out_one_after_the_other() -> None:
    rng = np.random.default_rng(3)
    variables = rng.standard_normal((4, 60)) + rng.standard_normal(60)

    def tau(i: int, j: int, *given: int) -> float:
        if not given:
            return float(stats.kendalltau(variables[i], variables[j]).statistic)
        last, rest = given[-1], given[:-1]
        ij, il, jl = tau(i, j, *rest), tau(i, last, *rest), tau(j, last, *rest)
        return (ij - il * jl) / math.sqrt((1 - il**2) * (1 - jl**2))

    found = rank_agreement(
        variables[0], variables[1], given={"a": variables[2], "b": variables[3]}, resampling=FAST
    )

    assert found.tau == pytest.approx(tau(0, 1, 2, 3))


def test_a_proxy_that_only_counts_parameters_has_no_partial_agreement() -> None:
    observations = population(60, 0, kappa=KAPPA)

    found = rank_agreement(
        -observations.ratio,
        observations.drop,
        given={"log m": observations.log_ratio},
        resampling=FAST,
    )

    assert (found.tau, found.interval.low, found.interval.high) == (0, 0, 0)


def test_within_strata_only_their_pairs_count() -> None:
    # Falls within each stratum, rises between them.
    first, second = [1, 2, 3, 11, 12, 13.0], [3, 2, 1, 13, 12, 11.0]

    within = rank_agreement(first, second, strata=[0, 0, 0, 1, 1, 1], resampling=FAST)

    assert within.tau == -1
    # 9 pairs agree, 6 do not.
    assert rank_agreement(first, second, resampling=FAST).tau == pytest.approx(3 / 15)


@pytest.mark.parametrize(
    ("low", "use"), [(0.75, "substitute"), (0.7, "substitute"), (0.69, "screen"), (0.4, "train")]
)
def test_the_gate_reads_the_lower_end(low: float, use: str) -> None:
    interval = Interval(low=low, high=0.9, level=0.95, method="test")

    assert Gate().use(Agreement(tau=0.8, interval=interval, num=40)) == use


def test_check_of_a_proxy_that_is_the_full_score_with_another_optimum() -> None:
    full = population(100, 0, kappa=KAPPA, optimum=0.85)
    full = Observations(drop=full.drop, ratio=full.ratio, covariates={"std": full.drop % 0.1})
    moved = full.drop + KAPPA * (np.log(full.ratio / 1.2) ** 2 - np.log(full.ratio / 0.85) ** 2)

    same = proxy_check(full.drop, full, bounds=BOUNDS, strata=np.arange(100) % 8)
    other = proxy_check(moved, Observations(drop=full.drop, ratio=full.ratio), bounds=BOUNDS)

    assert (same.agreement.tau, same.recall, same.shift.factor) == pytest.approx((1, 1, 1))
    assert same.use == "substitute"
    assert same.within is not None
    assert same.within.tau == pytest.approx(1)
    # The vertex of the fitted parabola moves by KAPPA / its own curvature of what it should.
    curvature = np.polyfit(full.log_ratio, full.drop, 2)[0]
    assert other.shift.factor == pytest.approx((1.2 / 0.85) ** (KAPPA / curvature), rel=1e-6)
    assert other.agreement.tau < 0.9
    assert other.within is None


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="second is the same for all recipes that are compared"):
        rank_agreement([1.0, 2, 3, 4, 5], [1.0] * 5)
    with pytest.raises(ValueError, match="first holds 4 values; at least 5"):
        rank_agreement([1.0, 2, 3, 4], [1.0, 2, 3, 4])
    with pytest.raises(ValueError, match=r"substitute is 0\.4; more than screen = 0\.5"):
        Gate(substitute=0.4)

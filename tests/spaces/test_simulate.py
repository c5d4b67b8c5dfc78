"""Simulated populations follow their design and effect."""

import math

import numpy as np
import pytest

from sentei.spaces.simulate import Design, Effect, simulate, simulate_replicates, simulated_drops
from tests.support.populations import BOUNDS, LOG_BOUNDS, design


def test_every_stratum_has_as_many_recipes() -> None:
    log_N = design(80).log_ratios(np.random.default_rng(0))

    counts, _ = np.histogram(log_N, bins=8, range=LOG_BOUNDS)

    assert counts.tolist() == [10] * 8


def test_a_natural_population_is_log_normal_around_one() -> None:
    log_N = design(20_000, stratified=False).log_ratios(np.random.default_rng(0))

    assert log_N.mean() == pytest.approx(0, abs=0.003)
    assert log_N.std() == pytest.approx(0.105, abs=0.002)


def test_expected_drop_by_hand() -> None:
    effect = Effect(curvature=3.0, optimum=0.5, level=1.0)

    # One unit of log m above the optimum costs kappa.
    assert effect.expected(np.array([math.log(0.5), math.log(0.5) + 1])).tolist() == [1.0, 4.0]


def test_noise_of_recipes_and_seeds_adds_in_squares() -> None:
    effect = Effect(structure=0.3, seed=0.4)

    drops = simulated_drops(np.zeros(100), effect, rng=np.random.default_rng(0), rounds=200)

    assert drops.shape == (100, 200)
    assert drops.std() == pytest.approx(0.5, rel=0.02)


def test_replicates_share_the_structure_of_their_recipe() -> None:
    drop, recipe = simulate_replicates(
        np.zeros(3), Effect(structure=1.0, seed=0.0), replicates=np.array([1, 2, 3]), seed=0
    )

    assert recipe.tolist() == [0, 1, 1, 2, 2, 2]
    assert np.unique(drop).size == 3


def test_the_same_seed_gives_the_same_population() -> None:
    first, again, other = (simulate(design(9), Effect(), seed=seed) for seed in (1, 1, 2))

    np.testing.assert_array_equal(first.drop, again.drop)
    assert not np.array_equal(first.drop, other.drop)


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="seed is -1"):
        Effect(seed=-1)
    with pytest.raises(ValueError, match="optimum is 0"):
        Effect(optimum=0)
    with pytest.raises(ValueError, match="num is 0; at least 1"):
        Design(num=0, bounds=BOUNDS)
    with pytest.raises(ValueError, match="strata is -1; at least 0"):
        Design(num=1, bounds=BOUNDS, strata=-1)
    with pytest.raises(ValueError, match="log_spread is 0"):
        Design(num=1, bounds=BOUNDS, log_spread=0)

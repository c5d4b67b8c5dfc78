"""Noise between trainings and structure between recipes."""

import math

import numpy as np
import pytest
from scipy import stats

from sentei.spaces.simulate import Effect, simulate_replicates
from sentei.spaces.stats_noise import noise


def test_components_by_hand() -> None:
    # Means 2 and 6, each with two replicates one point away.
    found = noise([1.0, 3.0, 5.0, 7.0], ["a", "a", "b", "b"])

    # Within: 4 * 1 / (4 - 2) = 2. Between: 2 * (4 + 4) / 1 = 16. n0 = 2: (16 - 2) / 2 = 7.
    assert found.seed_sd == pytest.approx(math.sqrt(2))
    assert found.structure_sd == pytest.approx(math.sqrt(7))
    assert found.reliability == pytest.approx(7 / 9)
    assert found.f == pytest.approx(8)
    assert (found.recipes, found.evaluations) == (2, 4)


def test_components_of_unequal_replicates_by_hand() -> None:
    found = noise([0.0, 2.0, 4.0, 6.0, 9.0], [0, 0, 1, 1, 2])

    # Within: (2 + 2) / 2 = 2. Mean 4.2; between: (2*10.24 + 2*.64 + 23.04) / 2 = 22.4.
    # n0 = (5 - 9/5) / 2 = 1.6: structure (22.4 - 2) / 1.6 = 12.75.
    assert found.seed_sd**2 == pytest.approx(2)
    assert found.structure_sd**2 == pytest.approx(12.75)


def test_f_test_is_that_of_scipy() -> None:
    drop, recipe = simulate_replicates(np.zeros(12), Effect(), replicates=np.full(12, 3), seed=0)

    found = noise(drop, recipe)

    reference = stats.f_oneway(*(drop[recipe == k] for k in range(12)))
    assert found.f == pytest.approx(reference.statistic)
    assert found.p_value == pytest.approx(reference.pvalue)


def test_recipes_that_agree_better_than_seeds_have_no_structure() -> None:
    found = noise([0.0, 2.0, 0.0, 2.0], [0, 0, 1, 1])

    assert (found.reliability, found.structure_sd, found.reliability_interval.low) == (0, 0, 0)
    assert found.p_value == 1


@pytest.mark.parametrize("replicates", [np.full(20, 3), np.repeat([1, 3], [60, 15])])
def test_intervals_hold_the_truth_in_most_populations(replicates: np.ndarray) -> None:
    effect = Effect(structure=0.30, seed=0.15)  # lambda = .8
    found = []
    for seed in range(300):
        drop, recipe = simulate_replicates(
            np.zeros(replicates.size), effect, replicates=replicates, seed=seed
        )
        found.append(noise(drop, recipe))

    assert np.mean([one.reliability for one in found]) == pytest.approx(0.8, abs=0.03)
    assert np.mean([0.8 in one.reliability_interval for one in found]) >= 0.92
    assert np.mean([0.15 in one.seed_interval for one in found]) >= 0.92


def test_populations_that_cannot_tell_are_refused() -> None:
    with pytest.raises(ValueError, match="3 evaluations of 3 recipes cannot tell"):
        noise([1.0, 2.0, 3.0], [0, 1, 2])
    with pytest.raises(ValueError, match="2 evaluations of 1 recipes cannot tell"):
        noise([1.0, 2.0], [0, 0])
    with pytest.raises(ValueError, match="all replicates of a recipe agree exactly"):
        noise([1.0, 1.0, 2.0, 2.0], [0, 0, 1, 1])

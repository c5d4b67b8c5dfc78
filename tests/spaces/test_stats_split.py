"""Winners of one half against m* of the other."""

import numpy as np
import pytest
from scipy import stats

from sentei.spaces.stats_base import Observations, Resampling
from sentei.spaces.stats_split import split_concentration
from tests.support.populations import BOUNDS, KAPPA, population

FEW = Resampling(draws=99)


def test_without_noise_the_winners_are_the_nearest() -> None:
    ratio = np.exp(np.linspace(-0.5, 0.9, 40))
    observations = Observations(drop=np.log(ratio / 0.9) ** 2, ratio=ratio)

    found = split_concentration(observations, bounds=BOUNDS, splits=10, resampling=FEW)

    assert found.auc == pytest.approx(1)
    assert found.p_value.value == pytest.approx(0.01)


def test_the_statistic_of_each_split_is_mann_whitneys() -> None:
    observations = population(30, 0, kappa=KAPPA)
    rng = np.random.default_rng(5)
    slow = []
    for _ in range(300):
        order = rng.permutation(30)
        half, other = order[:15], order[15:]
        square, linear, _ = np.polyfit(observations.log_ratio[half], observations.drop[half], 2)
        vertex = -linear / (2 * square)
        distance = np.abs(observations.log_ratio[other] - vertex)
        wins = observations.drop[other] <= np.sort(observations.drop[other])[2]
        larger = stats.mannwhitneyu(distance[~wins], distance[wins]).statistic
        slow.append(larger / (3 * 12))

    found = split_concentration(
        observations, bounds=BOUNDS, share=0.2, splits=300, resampling=Resampling(draws=1)
    )

    # Two samples of 300 splits each.
    assert found.auc == pytest.approx(np.mean(slow), abs=4 * np.std(slow) / np.sqrt(150))


@pytest.mark.slow
def test_chance_is_seldom_called_concentration() -> None:
    found = [
        split_concentration(
            population(100, seed, kappa=0), bounds=BOUNDS, splits=10, resampling=FEW
        )
        for seed in range(200)
    ]

    p = np.array([one.p_value.value for one in found])
    assert np.mean(p <= 0.05) <= 0.08  # 5 % and two standard errors of 200 rounds
    assert np.mean(p) == pytest.approx(0.5, abs=0.07)
    assert np.mean([one.interval.low > 0.5 for one in found]) <= 0.05


def test_an_effect_concentrates_the_winners() -> None:
    found = split_concentration(
        population(200, 0, kappa=KAPPA), bounds=BOUNDS, splits=50, resampling=FEW
    )

    assert found.interval.low > 0.5
    assert found.p_value.value <= 0.01


def test_drops_that_are_all_the_same_say_nothing() -> None:
    observations = population(40, 0, kappa=0)
    same = Observations(drop=np.ones(40), ratio=observations.ratio)

    found = split_concentration(same, bounds=BOUNDS, splits=5, resampling=FEW)

    assert (found.auc, found.p_value.value) == (0.5, 1)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="19 recipes in 200 splits"):
        split_concentration(population(19, 0, kappa=0), bounds=BOUNDS)
    with pytest.raises(ValueError, match="share is 0"):
        split_concentration(population(30, 0, kappa=0), bounds=BOUNDS, share=0)

"""What the ratio, stages and whole recipes explain."""

from dataclasses import replace

import numpy as np
import pytest

from sentei.spaces.stats_base import Resampling
from sentei.spaces.stats_variance import explained_variance
from tests.support.populations import KAPPA, measured

FAST = Resampling(draws=200)


def test_the_share_explained_is_that_of_the_variances() -> None:
    table = measured(400, 0, kappa=KAPPA, optimum=1.0)
    effect = KAPPA * np.log(table.ratio) ** 2

    found = explained_variance(table, trees=10, resampling=FAST)

    # Noise of .1125 = .3^2 + .15^2; held out, three coefficients cost a little.
    truth = effect.var() / (effect.var() + 0.1125)
    assert found.ratio == pytest.approx(truth, abs=0.06)
    assert found.stages == pytest.approx(found.ratio, abs=0.03)
    assert truth in found.ratio_interval


def test_an_effect_of_stages_is_seen_by_stages_and_not_by_the_ratio() -> None:
    table = measured(200, 0, kappa=0)
    staged = replace(table, drop=table.drop + 3 * table.stage_means[:, 0])

    found = explained_variance(staged, trees=10, resampling=FAST)

    assert found.ratio < 0.05
    assert found.stages > 0.5
    assert found.gain_interval.low > 0


def test_an_effect_of_one_group_is_seen_by_the_trees() -> None:
    table = measured(200, 0, kappa=0)
    single = replace(table, drop=table.drop + 2.0 * (table.keep[:, 1] < 0.4))

    found = explained_variance(single, trees=50, resampling=FAST)

    assert found.recipe > 0.8
    assert found.recipe > found.stages + 0.1


def test_noise_is_not_explained() -> None:
    found = explained_variance(measured(100, 0, kappa=0), trees=10, resampling=FAST)

    assert found.ratio < 0.1
    assert found.stages < 0.1
    assert found.recipe < 0.1


def test_replicates_do_not_leak_between_folds() -> None:
    table = measured(60, 0, kappa=0)
    once = explained_variance(table, trees=10, resampling=FAST)
    doubled = explained_variance(
        table.where(np.repeat(np.arange(60), 2)), trees=10, resampling=FAST
    )

    assert doubled.recipe == pytest.approx(once.recipe)


def test_bad_input_is_named() -> None:
    table = measured(20, 0, kappa=0)
    with pytest.raises(ValueError, match="20 recipes in 5 folds"):
        explained_variance(table)
    with pytest.raises(ValueError, match="all drops are the same"):
        explained_variance(replace(table, drop=np.ones(20)), folds=4)

"""Refined spaces and their placebos."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sentei.spaces.conjectures import Setting, Thresholds
from sentei.spaces.refine import Refinement, halves, placebo, refine, winners_slabs
from sentei.spaces.space import Slab
from sentei.spaces.stats_base import Resampling
from sentei.spaces.stats_winners import TopShare
from tests.support.populations import BOUNDS, KAPPA, measured

SETTING = Setting(bounds=BOUNDS, covariates=(), resampling=Resampling(draws=200))
QUARTER = Refinement(low=0.9, high=1.1, optimum=1.0, factor=1.1, loss=0.1, mass=0.25)


def test_the_edge_of_the_slab_loses_the_smallest_effect() -> None:
    table = measured(100, 0, kappa=0)
    exact = replace(table, drop=2.0 * np.log(table.ratio / 1.1) ** 2)

    found = refine(exact, replace(SETTING, thresholds=Thresholds(smallest_drop=0.08)))

    # sqrt(.08 / 2) = .2
    assert found.factor == pytest.approx(math.exp(0.2))
    assert (found.low, found.high) == pytest.approx((1.1 / math.exp(0.2), 1.1 * math.exp(0.2)))
    assert found.loss == pytest.approx(0.08)
    # Strata are uniform in log m: .4 of the whole range.
    assert found.mass == pytest.approx(0.4 / math.log(BOUNDS[1] / BOUNDS[0]), abs=0.03)


def test_a_refinement_constrains_the_ratio() -> None:
    assert QUARTER.slab == Slab(quantity="ratio", low=0.9, high=1.1)


def test_the_slab_is_not_smaller_than_the_interval() -> None:
    tight = replace(SETTING, thresholds=Thresholds(smallest_drop=1e-6))

    found = refine(measured(100, 0, kappa=KAPPA), tight)

    assert found.factor > 1.03
    assert found.loss > 1e-4


def test_the_slab_is_cut_at_the_attainable_bounds() -> None:
    found = refine(measured(200, 0, kappa=1.0, optimum=0.65), SETTING)

    assert found.low == BOUNDS[0]
    assert found.high < BOUNDS[1]


def test_without_a_valley_there_is_nothing_to_refine() -> None:
    table = measured(100, 0, kappa=0)

    with pytest.raises(ValueError, match="no valley in the ratio"):
        refine(replace(table, drop=-(np.log(table.ratio) ** 2)), SETTING)


def test_a_placebo_holds_as_large_a_share_and_shares_at_most_half_of_the_slab() -> None:
    table = measured(400, 0, kappa=0)
    inside = (table.ratio >= QUARTER.low) & (table.ratio <= QUARTER.high)
    slab = replace(QUARTER, mass=float(inside.mean()))

    for seed in range(50):
        found = placebo(table, slab, seed=seed)
        sham = (table.ratio >= found.low) & (table.ratio <= found.high)
        assert sham.mean() == pytest.approx(slab.mass, abs=2 / 400)
        assert found.mass == pytest.approx(sham.mean())
        assert (sham & inside).mean() <= 0.5 * slab.mass + 2 / 400


def test_placebos_lie_on_both_sides() -> None:
    table = measured(400, 0, kappa=0)
    slab = replace(QUARTER, mass=0.14)

    centres = np.array([placebo(table, slab, seed=seed).optimum for seed in range(40)])

    assert (centres < 0.95).any()
    assert (centres > 1.05).any()
    assert np.unique(centres).size > 20


def test_a_placebo_counts_sampling_weights() -> None:
    table = measured(400, 0, kappa=0)
    heavy = np.where(table.ratio > 1.5, 10.0, 1.0)
    weighted = replace(table, weight=heavy)
    inside = (table.ratio >= QUARTER.low) & (table.ratio <= QUARTER.high)
    slab = replace(QUARTER, mass=float(heavy @ inside / heavy.sum()))

    found = placebo(weighted, slab, seed=0)

    sham = (table.ratio >= found.low) & (table.ratio <= found.high)
    assert heavy @ sham / heavy.sum() == pytest.approx(slab.mass, abs=0.02)


def test_a_refinement_of_nearly_all_has_no_placebo() -> None:
    table = measured(100, 0, kappa=0)

    with pytest.raises(ValueError, match="holds 90% of the population; no other slab"):
        placebo(table, replace(QUARTER, low=BOUNDS[0], mass=0.9), seed=0)
    with pytest.raises(ValueError, match="overlap is 1"):
        placebo(table, QUARTER, seed=0, overlap=1)


def test_only_statistics_whose_winners_are_close_give_slabs() -> None:
    table = measured(400, 0, kappa=0)
    caused = replace(table, drop=table.drop + 40 * (table.std - 0.1) ** 2)

    found = winners_slabs(caused, SETTING, rule=TopShare(), quantities=("std", "mean", "stage:one"))

    assert [one.quantity for one in found] == ["std"]
    assert found[0].slab == Slab(quantity="std", low=found[0].low, high=found[0].high)
    assert found[0].low <= 0.1 <= found[0].high
    assert found[0].high - found[0].low < found[0].null_high - found[0].null_low
    with pytest.raises(
        ValueError, match="'depth' is no quantity of the population; choose from ratio, std, mean"
    ):
        winners_slabs(table, SETTING, rule=TopShare(), quantities=("depth",))


def test_halves_share_no_recipe_and_keep_replicates_together() -> None:
    table = measured(11, 0, kappa=0).where(np.repeat(np.arange(11), 2))

    first, second = halves(table, seed=0)

    assert (len(first), len(second)) == (10, 12)
    assert not set(first.recipe) & set(second.recipe)
    np.testing.assert_array_equal(halves(table, seed=0)[0].recipe, first.recipe)

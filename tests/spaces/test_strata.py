"""Strata: recipes everywhere in the attainable range, and weights that give the space back."""

from dataclasses import replace

import numpy as np
import pytest

from sentei.errors import SpaceError
from sentei.methods.base_network import BaseConfig
from sentei.spaces.config import StudyConfig
from sentei.spaces.sampling.exact import Exact
from sentei.spaces.sampling.hit_and_run import HitAndRun
from sentei.spaces.scene import Scene
from sentei.spaces.space import Slab, regime
from sentei.spaces.strata import Stratification, sample_strata, strata_of, stratify
from tests.support.terrains import basic_resnet, terrain_of


def test_strata_have_equal_factors_over_what_is_attainable() -> None:
    terrain = basic_resnet("resnet20")

    edges = stratify(terrain, [regime(0.5)], num=5).edges

    low, high = terrain.attainable("ratio", level=0.5)
    np.testing.assert_allclose(edges, [low * (high / low) ** (i / 5) for i in range(6)], rtol=1e-9)


def test_a_slab_of_the_quantity_cuts_the_strata() -> None:
    slabs = [regime(0.5), Slab(quantity="ratio", low=0.8, high=1.25)]

    assert stratify(basic_resnet("resnet20"), slabs, num=2).edges == pytest.approx((0.8, 1.0, 1.25))


def test_every_stratum_holds_as_many_recipes_and_weights_give_the_space_back() -> None:
    terrain, slabs = basic_resnet("resnet20"), [regime(0.5)]
    strata = stratify(terrain, slabs, num=4)

    found = sample_strata(HitAndRun(), terrain, slabs, stratification=strata, num_each=10, seed=0)

    ratio_N = terrain.quantities(found.widths)["ratio"]
    np.testing.assert_array_equal(np.searchsorted(strata.edges, ratio_N) - 1, found.strata)
    assert np.bincount(found.strata).tolist() == [10] * 4
    natural = terrain.quantities(Exact().sample(terrain, slabs, num=4000, seed=1))["ratio"]
    shares = np.histogram(natural, strata.edges)[0] / 4000
    np.testing.assert_allclose(found.shares, shares, atol=0.08)
    assert found.weights.mean() == pytest.approx(1)
    # The mean of a statistic over the space, from a population in which 3 of 4 are unusual.
    assert np.average(ratio_N, weights=found.weights) == pytest.approx(natural.mean(), abs=0.05)
    assert abs(ratio_N.mean() - natural.mean()) > 0.2


def test_a_range_that_begins_at_zero_is_refused() -> None:
    """A stage may stay whole at half the MACs."""
    with pytest.raises(
        SpaceError, match=r"stage:8x8 goes from .* to 0.\d+; strata need a range above"
    ):
        stratify(terrain_of("resnet20"), [regime(0.5)], quantity="stage:8x8")


def test_strata_are_refused_where_there_are_none() -> None:
    with pytest.raises(ValueError, match="0 strata; expected at least 1"):
        stratify(basic_resnet("resnet20"), [regime(0.5)], num=0)
    with pytest.raises(
        ValueError, match=r"strata of ratio have edges \(1.0, 1.0\); expected two or"
    ):
        Stratification(quantity="ratio", edges=(1.0, 1.0))


def test_slabs_of_other_quantities_cut_the_range_of_the_strata() -> None:
    """At half the MACs, 0.2 to 0.4 of the parameters are an m of 0.5 / 0.4 to 0.5 / 0.2."""
    terrain = terrain_of("resnet20")
    slabs = (Slab(quantity="params", low=0.2, high=0.4),)

    edges = stratify(terrain, [regime(0.5), *slabs], num=2).edges

    assert edges == pytest.approx((1.25, (1.25 * 2.5) ** 0.5, 2.5), rel=1e-4)
    config = StudyConfig(
        base=BaseConfig(model="resnet20", data="none"),
        regimes=(0.5,),
        space=replace(terrain.config, slabs=slabs),
    )
    scene = Scene(config=config, graph=terrain.graph, terrain=terrain)
    assert scene.bounds[0.5] == (edges[0], edges[-1])


def test_two_slabs_of_one_cost_have_one_middle() -> None:
    terrain = basic_resnet("resnet20")
    upper = Slab(quantity="macs", low=0.503, high=0.6)

    edges = stratify(terrain, [regime(0.5), upper], num=2).edges

    # From 0.503 to 0.505.
    assert edges == stratify(terrain, [regime(0.504)], num=2).edges


def test_the_outer_strata_of_a_space_of_small_spread_hold_recipes() -> None:
    terrain = terrain_of("resnet20")
    space = [regime(0.5), Slab(quantity="std", low=0.0, high=0.3)]

    strata = stratify(terrain, space).slabs()

    wide = stratify(terrain, [regime(0.5)]).slabs()
    assert wide[0].low < strata[0].low
    assert strata[-1].high < wide[-1].high
    for own in (strata[0], strata[-1]):
        found = HitAndRun().sample(terrain, [*space, own], num=2, seed=0)
        assert terrain.inside(found, [*space, own]).all()


def test_a_space_that_is_empty_says_what_conflicts() -> None:
    space = [regime(0.5), Slab(quantity="params", low=0.0, high=0.05)]

    with pytest.raises(
        SpaceError, match=r"no recipe has macs in .* and params in \[0, 0.05\] together; nearest"
    ):
        stratify(terrain_of("resnet20"), space)


def test_a_stratum_that_no_whole_widths_reach_is_named_with_what_to_do() -> None:
    terrain = terrain_of("resnet20")
    beyond = strata_of((2.0, 40.0), num=2)

    with pytest.raises(
        SpaceError,
        match=r"stratum 2 of 2, ratio in \[8.94.*no recipe has .*; or give fewer strata, or a slab of",
    ):
        sample_strata(
            HitAndRun(), terrain, [regime(0.5)], stratification=beyond, num_each=2, seed=0
        )

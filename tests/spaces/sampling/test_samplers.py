"""All samplers: recipes inside their space, from streams of their own, and errors that say why."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp
from torch import nn

from sentei.cost import CostModel
from sentei.errors import SpaceError, UnknownNameError
from sentei.graph import trace
from sentei.seeding import derive_seed
from sentei.spaces.sampling import SAMPLERS
from sentei.spaces.sampling.exact import Exact
from sentei.spaces.sampling.hit_and_run import HitAndRun
from sentei.spaces.sampling.milp import Milp
from sentei.spaces.sampling.shares import Shares
from sentei.spaces.space import Slab, SpaceConfig, regime
from sentei.spaces.terrain import Terrain
from tests.support.nets import PlainNet
from tests.support.terrains import basic_resnet, terrain_of

AIMING = ("bisection", "hit-and-run", "milp", "projection", "shares")
RATIO = Slab(quantity="ratio", low=1.2, high=1.4)
SPREAD = Slab(quantity="std", low=0.1, high=0.15)


def small_terrain(model: nn.Module, size: int = 8, **options: object) -> Terrain:
    graph = trace(model.eval(), torch.zeros(1, 3, size, size))
    config = SpaceConfig.from_json({"name": "small", "slabs": [], "floor": 0.0, **options})
    return Terrain(graph=graph, costs=CostModel.of(graph), config=config)


def every_recipe(terrain: Terrain, slabs: Sequence[Slab]) -> np.ndarray:
    """Return all widths inside slabs, one after another, without any form or lattice."""
    ranges = [
        range(group.num_rows, group.width + 1, group.num_rows) for group in terrain.graph.groups
    ]
    widths_NG = np.array(np.meshgrid(*ranges, indexing="ij")).reshape(len(ranges), -1).T
    dense = terrain.costs.costs(terrain.graph.widths)
    found = terrain.costs.costs(widths_NG)
    macs, params = found["macs"] / dense["macs"], found["num_parameters"] / dense["num_parameters"]
    spread = (1 - widths_NG / terrain.graph.widths).std(axis=1)
    values = {"macs": macs, "params": params, "ratio": macs / params, "std": spread}
    inside = [(values[s.quantity] >= s.low) & (values[s.quantity] <= s.high) for s in slabs]
    return widths_NG[np.all(inside, axis=0)]


def chi_square_p(widths_NG: np.ndarray, known_NG: np.ndarray) -> float:
    """Return the p-value of "each of the known recipes is equally likely"."""
    number = {tuple(row): index for index, row in enumerate(known_NG.tolist())}
    counts = np.bincount([number[tuple(row)] for row in widths_NG.tolist()], minlength=len(number))
    return float(chisquare(counts).pvalue)


@pytest.mark.parametrize("name", [*AIMING, "rejection"])
def test_a_regime_may_be_a_share_of_the_parameters(name: str) -> None:
    terrain = terrain_of("resnet20")

    widths_NG = SAMPLERS[name]().sample(terrain, [regime(0.5, by="params")], num=20, seed=0)

    costs, whole_G = terrain.costs, terrain.graph.widths
    left_N = costs.num_parameters(widths_NG) / costs.num_parameters(whole_G)
    assert (np.abs(left_N - 0.5) <= 0.005).all()
    assert (costs.macs(widths_NG) / costs.macs(whole_G)).std() > 0.02


def test_shares_of_the_macs_are_drawn_around_those_of_the_dense_network() -> None:
    """Channels of block-internal groups multiply what is kept: their MACs are linear in them."""
    terrain = basic_resnet("resnet20")
    whole_G, inner = terrain.graph.widths, [own[0] for own in terrain.units.owners]
    each = [terrain.costs.group_saving("macs", whole_G)[index] for index in inner]

    widths_NG = Shares(concentration=50.0).sample(terrain, [regime(0.5)], num=200, seed=0)

    cost_NU = widths_NG[:, inner] * np.array(each)
    shares_NU = cost_NU / cost_NU.sum(axis=1, keepdims=True)
    usual_U = whole_G[inner] * np.array(each) / (whole_G[inner] @ np.array(each))
    np.testing.assert_allclose(shares_NU.mean(axis=0), usual_U, rtol=0.05)
    # A Dirichlet share p of 450 in all has the variance p (1 - p) / 451.
    expected_U = np.sqrt(usual_U * (1 - usual_U) / 451)
    np.testing.assert_allclose(shares_NU.std(axis=0), expected_U, rtol=0.3)


def test_units_of_a_stage_keep_the_same_share_where_stages_have_shares() -> None:
    terrain = terrain_of("resnet20")

    widths_NG = Shares(per="stage", concentration=2.0).sample(
        terrain, [regime(0.5)], num=30, seed=0
    )

    kept_NG = widths_NG / terrain.graph.widths
    for stage in ("32x32", "16x16", "8x8"):
        own = [i for i, name in enumerate(terrain.units.stages) if name == stage]
        # Rounding moves a sixteenth of a channel group at most; repair moves a few groups further.
        middle_N1 = np.median(kept_NG[:, own], axis=1, keepdims=True)
        assert np.mean(np.abs(kept_NG[:, own] - middle_N1) <= 0.07) > 0.9
    early_N, late_N = kept_NG[:, 1], kept_NG[:, -1]
    assert ((early_N - early_N.mean()) * (late_N - late_N.mean())).sum() < 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concentration": 0.0}, "concentration=0.0; expected a number above 0"),
        ({"per": "layer"}, "per='layer'; expected 'unit' or 'stage'"),
    ],
)
def test_what_shares_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Shares(**options)


def test_a_box_of_groups_is_kept_to() -> None:
    terrain = terrain_of("resnet20")
    box = [Slab(quantity=f"group:layer{i}.0.conv1", low=0.25, high=0.5) for i in (1, 2, 3)]

    widths_NG = HitAndRun().sample(terrain, [regime(0.5), *box], num=20, seed=0)

    for i, width in ((1, 16), (2, 32), (3, 64)):
        own_N = widths_NG[:, terrain.graph[f"layer{i}.0.conv1"].index]
        assert ((own_N >= width / 2) & (own_N <= 3 * width / 4)).all()
        assert own_N.std() > 0


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("macs", [0.7, 0.5])
def test_every_recipe_is_inside_its_space(name: str, macs: float) -> None:
    terrain, slabs = basic_resnet("resnet20"), [regime(macs)]

    widths_NG = SAMPLERS[name]().sample(terrain, slabs, num=30, seed=0)

    costs, whole_G = terrain.costs, terrain.graph.widths
    assert (np.abs(costs.macs(widths_NG) / costs.macs(whole_G) - macs) <= 0.005).all()
    assert (widths_NG >= np.ceil(0.1 * whole_G)).all()
    assert (widths_NG[:, list(terrain.units.kept)] == whole_G[list(terrain.units.kept)]).all()
    assert len(np.unique(widths_NG, axis=0)) == 30


@pytest.mark.parametrize("name", AIMING)
@settings(max_examples=10)
@given(
    spec=st.sampled_from(["resnet20", "vgg16_bn", "timm:mobilenetv1_100"]),
    macs=st.floats(0.3, 0.8),
    round_to=st.sampled_from([1, 4, 8]),
    unit=st.sampled_from(["group", "block", "layer"]),
    rounding=st.sampled_from(["nearest", "floor_removed"]),
)
def test_recipes_keep_the_rules_of_their_space(
    name: str, spec: str, macs: float, round_to: int, unit: str, rounding: str
) -> None:
    terrain = terrain_of(spec, round_to=round_to, unit=unit, rounding=rounding)
    slabs = [regime(macs, delta=0.02)]

    widths_NG = SAMPLERS[name](attempts=20).sample(terrain, slabs, num=4, seed=1)

    found = terrain.costs.macs(widths_NG) / terrain.costs.macs(terrain.graph.widths)
    assert (np.abs(found - macs) <= 0.02).all()
    assert ((widths_NG % round_to == 0) | (widths_NG == terrain.graph.widths)).all()
    assert (widths_NG >= 0.1 * terrain.graph.widths).all()


@pytest.mark.parametrize("name", AIMING)
def test_a_tight_regime_is_met_by_repair(name: str) -> None:
    terrain = terrain_of("torchvision:resnet50")

    widths_NG = SAMPLERS[name]().sample(terrain, [regime(0.5, delta=5e-4)], num=8, seed=0)

    assert np.abs(terrain.quantities(widths_NG)["macs"] - 0.5).max() <= 5e-4


@pytest.mark.parametrize("name", ["hit-and-run", "milp", "projection"])
def test_slabs_hold_together(name: str) -> None:
    terrain = basic_resnet("resnet20")

    widths_NG = SAMPLERS[name](attempts=400).sample(
        terrain, [regime(0.5), RATIO, SPREAD], num=5, seed=0
    )

    found = terrain.quantities(widths_NG)
    assert ((found["ratio"] >= 1.2) & (found["ratio"] <= 1.4)).all()
    assert ((found["std"] >= 0.1) & (found["std"] <= 0.15)).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_grouped_convolutions_keep_equal_rows(name: str) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1),
        nn.Conv2d(24, 24, 3, padding=1, groups=4),
        nn.Conv2d(24, 5, 1),
    )
    terrain = small_terrain(model)

    widths_NG = SAMPLERS[name]().sample(terrain, [regime(0.5, delta=0.1)], num=10, seed=0)

    rows_G = terrain.graph.num_rows
    assert rows_G.max() == 4
    assert (widths_NG % rows_G == 0).all()
    terrain.costs.macs(widths_NG)  # refuses widths that rows do not allow


@pytest.mark.parametrize("name", SAMPLERS)
def test_recipes_do_not_depend_on_who_draws_them(name: str) -> None:
    terrain, slabs, sampler = basic_resnet("resnet20"), [regime(0.6)], SAMPLERS[name]()

    whole_NG = sampler.sample(terrain, slabs, num=9, seed=3)
    shares = [
        sampler.sample(terrain, slabs, num=n, seed=3, first=f) for f, n in ((0, 4), (4, 1), (5, 4))
    ]

    np.testing.assert_array_equal(whole_NG, np.concatenate(shares))
    assert (whole_NG != sampler.sample(terrain, slabs, num=9, seed=4)).any()


def test_walks_inside_several_slabs_do_not_depend_on_who_draws_them() -> None:
    terrain, slabs = basic_resnet("resnet20"), [regime(0.5), RATIO, SPREAD]

    whole_NG = HitAndRun().sample(terrain, slabs, num=3, seed=3)

    alone = [HitAndRun().sample(terrain, slabs, num=1, seed=3, first=i) for i in range(3)]
    np.testing.assert_array_equal(whole_NG, np.concatenate(alone))


# Whole numbers ---------------------------------------------------------------------------------


class Branches(nn.Module):
    """Three convolutions of one input, concatenated: what their channels cost is a plain sum."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {9: 1, 11: 3, 7: 5}
        self.branches = nn.ModuleList(
            nn.Conv2d(3, width, kernel, padding=kernel // 2) for width, kernel in sizes.items()
        )
        self.out = nn.Conv2d(27, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.cat([branch(x) for branch in self.branches], dim=1))


def test_programs_find_the_nearest_of_all_where_costs_add_up() -> None:
    terrain, slabs = small_terrain(Branches()), [regime(0.5, delta=0.02)]
    known_NG = every_recipe(terrain, slabs)

    found_NG = Milp(gap=0.0).sample(terrain, slabs, num=25, seed=3)

    assert len(known_NG) > 20
    assert terrain.graph.widths.tolist() == [9, 11, 7]
    for number, found_G in enumerate(found_NG):
        share_G = np.random.default_rng(derive_seed(3, "small", str(number))).random(3)
        target_G = 0.5 + share_G * np.array([9, 11, 7])
        far_N, far = (
            (np.abs(widths - target_G) / np.array([8, 10, 6])).sum(axis=-1)
            for widths in (known_NG, found_G)
        )
        assert far == pytest.approx(far_N.min())


def test_programs_are_made_linear_anew_until_whole_widths_are_inside() -> None:
    terrain, slabs = terrain_of("resnet20"), [regime(0.5, delta=5e-4)]

    widths_NG = Milp(attempts=1).sample(terrain, slabs, num=12, seed=0)

    left_N = terrain.costs.macs(widths_NG) / terrain.costs.macs(terrain.graph.widths)
    assert (np.abs(left_N - 0.5) <= 5e-4).all()


def test_programs_reach_equalities_of_wide_steps() -> None:
    """Widths in steps of 4 that multiply, and exactly so many parameters and multiply-adds."""
    whole = small_terrain(PlainNet(first=40, second=48), round_to=4)
    dense = whole.costs.costs(whole.graph.widths)
    wanted = whole.costs.costs(np.array([[20, 28]]))
    slabs = [
        Slab(quantity=quantity, low=share, high=share)
        for quantity, name in (("macs", "macs"), ("params", "num_parameters"))
        for share in [float(wanted[name][0] / dense[name])]
    ]
    known_NG = every_recipe(whole, slabs)

    found_NG = Milp().sample(whole, slabs, num=5, seed=0)

    assert {tuple(row) for row in found_NG.tolist()} <= {tuple(row) for row in known_NG.tolist()}
    assert found_NG.tolist() == [[20, 28]] * 5


def test_programs_reach_a_number_of_macs_to_the_unit() -> None:
    terrain = basic_resnet("resnet20")
    some = HitAndRun().sample(terrain, [regime(0.5)], num=1, seed=0)
    macs = terrain.costs.macs(some)[0]
    share = float(macs / terrain.costs.macs(terrain.graph.widths))

    found_NG = Milp().sample(terrain, [Slab(quantity="macs", low=share, high=share)], num=5, seed=0)

    assert terrain.costs.macs(found_NG).tolist() == [macs] * 5
    assert len(np.unique(found_NG, axis=0)) == 5


# Uniformity ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("macs", "count"), [(0.7, 2.81e11), (0.5, 1.40e12), (0.3, 9.45e10)])
def test_recipes_of_resnet20_are_as_many_as_known(macs: float, count: float) -> None:
    found = Exact().count(basic_resnet("resnet20", floor=0.0), [regime(macs)])

    assert found == pytest.approx(count, rel=0.004)


def test_a_count_is_that_of_all_recipes_one_by_one() -> None:
    terrain, slabs = small_terrain(PlainNet(first=9, second=11)), [regime(0.5, delta=0.06)]

    assert Exact().count(terrain, slabs) == len(every_recipe(terrain, slabs)) > 5


@pytest.mark.parametrize("most_cells", [16_000, 100])
def test_exact_recipes_are_uniform(most_cells: int) -> None:
    """Also where cells are coarse and recipes are drawn anew: 9 x 11 widths that multiply."""
    terrain, slabs = small_terrain(PlainNet(first=9, second=11)), [regime(0.5, delta=0.06)]
    known_NG = every_recipe(terrain, slabs)

    widths_NG = Exact(most_cells=most_cells).sample(terrain, slabs, num=2000, seed=0)

    assert chi_square_p(widths_NG, known_NG) > 0.01


@pytest.mark.parametrize(
    "slabs",
    [
        [regime(0.5, delta=0.06)],
        [regime(0.5, delta=0.2), Slab(quantity="ratio", low=0.9, high=1.05)],
        [regime(0.5, delta=0.2), Slab(quantity="std", low=0.1, high=0.2)],
    ],
    ids=["macs", "macs and ratio", "macs and std"],
)
def test_hit_and_run_is_uniform(slabs: list[Slab]) -> None:
    """Where widths multiply and up to two slabs hold, against all recipes one by one."""
    terrain = small_terrain(PlainNet(first=9, second=11))
    known_NG = every_recipe(terrain, slabs)

    widths_NG = HitAndRun().sample(terrain, slabs, num=1500, seed=0)

    assert len(known_NG) > 5
    assert chi_square_p(widths_NG, known_NG) > 0.01


def test_hit_and_run_draws_what_counting_draws() -> None:
    terrain, slabs = basic_resnet("resnet20", floor=0.0), [regime(0.5)]

    exact = terrain.quantities(Exact().sample(terrain, slabs, num=4000, seed=1))
    walked = terrain.quantities(HitAndRun().sample(terrain, slabs, num=1000, seed=2))

    for name in ("std", "params", "macs", "mean"):
        assert ks_2samp(exact[name], walked[name]).pvalue > 0.01, name


@pytest.mark.slow
@pytest.mark.parametrize("macs", [0.7, 0.5, 0.3])
def test_hit_and_run_draws_what_counting_draws_of_resnet56(macs: float) -> None:
    terrain, slabs = basic_resnet("resnet56", floor=0.0), [regime(macs)]

    exact = terrain.quantities(Exact().sample(terrain, slabs, num=4000, seed=1))
    walked = terrain.quantities(HitAndRun().sample(terrain, slabs, num=600, seed=2))

    for name in ("std", "params", "macs", "mean"):
        assert ks_2samp(exact[name], walked[name]).pvalue > 0.01, name


def test_a_large_concentration_gives_recipes_of_little_spread() -> None:
    terrain, slabs = terrain_of("resnet56"), [regime(0.5)]

    spread = [
        np.median(terrain.quantities(
            SAMPLERS["bisection"](alpha=alpha).sample(terrain, slabs, num=40, seed=0)
        )["std"])
        for alpha in (100.0, 10.0, 1.0)
    ]  # fmt: skip

    assert spread[0] < 0.06 < spread[1] < spread[2]


# Errors ----------------------------------------------------------------------------------------


def test_slabs_in_conflict_are_named_with_the_nearest_values() -> None:
    terrain = basic_resnet("resnet20")
    high = Slab(quantity="ratio", low=2.5, high=2.6)
    slabs = [regime(0.7), Slab(quantity="mean", low=0.0, high=0.9), high]

    with pytest.raises(SpaceError, match=(
        r"space 'test' is empty: no recipe has macs in \[0.695, 0.705\] and ratio in \[2.5, 2.6\] "
        r"together; nearest: macs 0.6\d+, mean 0.\d+, ratio 2.\d+"
    )):  # fmt: skip
        HitAndRun().sample(terrain, slabs, num=2, seed=0)


def test_one_slab_out_of_reach_is_named_alone() -> None:
    slabs = [regime(0.05), Slab(quantity="std", low=0, high=0.4)]

    with pytest.raises(
        SpaceError, match=r"empty: no recipe has macs in \[0.045, 0.055\]; nearest: macs 0.1"
    ):
        HitAndRun().sample(basic_resnet("resnet20"), slabs, num=2, seed=0)


def test_a_slab_between_whole_channels_is_explained() -> None:
    slabs = [regime(0.5, delta=1e-7)]
    terrain = small_terrain(PlainNet(first=9, second=11))

    with pytest.raises(SpaceError, match=(
        "2 of 2 recipes were not found in 3 attempts; real widths meet macs in .*, rounded to channels "
        r"they have macs 0.\d+; widen the narrowest slab, raise attempts"
    )):  # fmt: skip
        SAMPLERS["bisection"](attempts=3).sample(terrain, slabs, num=2, seed=0)
    with pytest.raises(
        SpaceError, match=r"empty: no widths have between \d+ and \d+ multiply-adds"
    ):
        Exact().sample(terrain, slabs, num=2, seed=0)


def test_macs_slabs_that_do_not_meet_are_refused() -> None:
    with pytest.raises(
        SpaceError,
        match=r"is empty: no recipe has macs in \[0.695.* and macs in \[0.295.* together",
    ):
        Exact().sample(basic_resnet("resnet20"), [regime(0.7), regime(0.3)], num=1, seed=0)


@pytest.mark.parametrize(
    ("name", "costs"),
    [
        ("exact", "macs"),
        ("bisection", "macs or params or activations or latency"),
        ("shares", "macs or params or activations or latency"),
    ],
)
def test_samplers_that_aim_at_a_cost_need_its_slab(name: str, costs: str) -> None:
    with pytest.raises(SpaceError, match=f"no slab of {costs}, which sampler '{name}' needs"):
        SAMPLERS[name]().sample(terrain_of("resnet20"), [RATIO], num=1, seed=0)


def test_a_space_without_slabs_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"space 'test' has no slab; give one, such as regime"):
        HitAndRun().sample(terrain_of("resnet20"), [], num=1, seed=0)


def test_counting_refuses_widths_that_all_multiply() -> None:
    with pytest.raises(SpaceError, match=r"the MACs of 12 units \(conv1, .*multiply each other"):
        Exact().sample(terrain_of("resnet20"), [regime(0.5)], num=1, seed=0)


def test_only_macs_are_counted_and_in_enough_cells() -> None:
    terrain = basic_resnet("resnet20")

    with pytest.raises(SpaceError, match=r"only slabs of macs can be counted, not ratio in \[1.2"):
        Exact().count(terrain, [regime(0.5), RATIO])
    with pytest.raises(SpaceError, match="more than 100 cells to count exactly; raise most_cells"):
        Exact(most_cells=100).count(terrain, [regime(0.5)])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bisection", {"alpha": 0.0}, "alpha=0.0; expected a concentration above 0"),
        ("rejection", {"largest": 1.5}, "largest=1.5; expected a pruning ratio"),
        ("hit-and-run", {"thin": 0}, "thin=0; expected at least 1"),
        ("exact", {"most_cells": 5}, "most_cells=5; expected at least 100"),
        ("milp", {"gap": -0.1}, "gap=-0.1; expected a share of the distance"),
        ("projection", {"attempts": 0}, "attempts=0; expected at least 1"),
    ],
)
def test_a_sampler_refuses(name: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SAMPLERS[name](**options)


def test_an_unknown_sampler_is_answered() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown sampler 'hit_and_run'. Did you mean"):
        SAMPLERS["hit_and_run"]

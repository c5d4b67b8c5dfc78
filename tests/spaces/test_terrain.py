"""Quantities of recipes: known values, other ways to count them, and their extremes."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from sentei.cost import CostModel
from sentei.errors import SpaceError
from sentei.graph import trace
from sentei.spaces.space import Slab, SpaceConfig
from sentei.spaces.terrain import Terrain
from tests.support.terrains import EAGLEEYE_RESNET50_HALF, basic_resnet, graph_of, terrain_of

CIFAR = ("resnet20", "resnet56", "resnet110", "vgg16_bn")
IMAGENET = ("torchvision:resnet50", "timm:mobilenetv1_100")


def random_widths(terrain: Terrain, num: int) -> np.ndarray:
    lattice, rng = terrain.lattice, np.random.default_rng(0)
    return lattice.widths(rng.integers(0, lattice.count[:, None], (len(lattice.count), num)))


@pytest.mark.parametrize(
    ("spec", "macs_m", "params_m", "mcb"),
    [
        ("resnet20", 40.55, 0.270, 150.3),
        ("resnet56", 125.49, 0.853, 147.1),
        ("resnet110", 252.89, 1.728, 146.3),
        ("vgg16_bn", 313.20, 14.724, 21.3),
        ("torchvision:resnet50", 4089.18, 25.557, 160.0),
        ("timm:mobilenetv1_100", 568.74, 4.232, 134.4),
    ],
)
def test_dense_costs_are_the_known_ones(
    spec: str, macs_m: float, params_m: float, mcb: float
) -> None:
    dense = terrain_of(spec).dense

    assert dense["macs"] / 1e6 == pytest.approx(macs_m, abs=0.006)
    assert dense["params"] / 1e6 == pytest.approx(params_m, abs=0.0006)
    assert dense["mcb"] == pytest.approx(mcb, abs=0.06)


@pytest.mark.parametrize("spec", [*CIFAR, *IMAGENET])
def test_forms_agree_with_the_cost_model_to_the_unit(spec: str) -> None:
    terrain = terrain_of(spec)
    costs, widths_NG = terrain.costs, random_widths(terrain, 20)

    found = terrain.quantities(widths_NG)

    macs, params = terrain.dense["macs"], terrain.dense["params"]
    np.testing.assert_array_equal(np.rint(found["macs"] * macs), costs.macs(widths_NG))
    np.testing.assert_array_equal(
        np.rint(found["params"] * params), costs.num_parameters(widths_NG)
    )
    np.testing.assert_array_equal(
        np.rint(found["activations"] * terrain.dense["activations"]),
        costs.activation_bytes(widths_NG),
    )
    np.testing.assert_allclose(
        found["mcb"], costs.macs(widths_NG) / costs.num_parameters(widths_NG)
    )


def test_eagleeyes_published_resnet50_costs_what_its_readme_says() -> None:
    """2.057 G multiply-adds and 14.37 M parameters, those of batch norm left out."""
    graph, _ = graph_of("torchvision:resnet50")
    ratios = iter(EAGLEEYE_RESNET50_HALF)
    order = ["conv1"]
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        order += [f"layer{stage}.{b}.conv{i}" for b in range(blocks) for i in (1, 2)]
        order += [f"layer{stage}.0.conv3"]
    widths = {name: graph[name].width for name in order}
    kept = {name: width - int(next(ratios) * width) for name, width in widths.items()}
    terrain = terrain_of("torchvision:resnet50", count_bn=False)

    found = terrain.quantities(np.array([[kept[group.name] for group in graph.groups]]))

    assert found["macs"][0] * terrain.dense["macs"] == pytest.approx(2.0565e9, abs=5e4)
    assert found["params"][0] * terrain.dense["params"] == pytest.approx(14.370e6, abs=5e2)
    assert found["std"][0] == pytest.approx(np.std(EAGLEEYE_RESNET50_HALF), abs=0.005)


@pytest.mark.parametrize(
    ("spec", "macs", "low", "high"),
    [
        ("vgg16_bn", 0.7, 0.71, 2.87),
        ("vgg16_bn", 0.5, 0.55, 5.59),
        ("vgg16_bn", 0.3, 0.40, 10.9),
        ("torchvision:resnet50", 0.75, 0.76, 2.44),
        ("timm:mobilenetv1_100", 0.75, 0.76, 2.26),
        pytest.param("torchvision:resnet50", 0.5, 0.55, 5.01, marks=pytest.mark.slow),
        pytest.param("torchvision:resnet50", 0.25, 0.36, 7.69, marks=pytest.mark.slow),
        pytest.param("timm:mobilenetv1_100", 0.5, 0.58, 3.14, marks=pytest.mark.slow),
        pytest.param("timm:mobilenetv1_100", 0.25, 0.36, 5.56, marks=pytest.mark.slow),
    ],
)
def test_attainable_ratios_are_the_known_ones(
    spec: str, macs: float, low: float, high: float
) -> None:
    """Where every group keeps a tenth; ours keep whole channels of it, a little more."""
    found = terrain_of(spec).attainable("ratio", level=macs)

    assert found == pytest.approx((low, high), rel=0.015)


@pytest.mark.parametrize(
    ("macs", "known"), [(0.7, (0.73, 2.22)), (0.5, (0.59, 2.49)), (0.3, (0.54, 2.28))]
)
def test_attainable_ratios_of_resnet56_are_those_of_a_linear_program(
    macs: float, known: tuple[float, float]
) -> None:
    """Its MACs and parameters are linear once residual channels are kept."""
    terrain = basic_resnet("resnet56")
    costs, whole_G = terrain.costs, terrain.graph.widths
    inner = [g.index for g in terrain.graph.groups if g.name.endswith("conv1") and "." in g.name]
    least_G = np.ones(len(inner))
    dense = (costs.macs(whole_G), costs.num_parameters(whole_G))
    slopes = [costs.group_saving(name, whole_G)[inner] for name in ("macs", "num_parameters")]
    left_out = np.array(whole_G[inner], dtype=float)

    def range_of(floors_G: np.ndarray) -> list[float]:
        ends = []
        for sign in (1, -1):
            program = linprog(
                sign * slopes[1], A_eq=[slopes[0]], b_eq=[macs * dense[0] - dense[0] + slopes[0] @ left_out],
                bounds=list(zip(floors_G, left_out, strict=True)),
            )  # fmt: skip
            params = dense[1] - slopes[1] @ (left_out - program.x)
            ends.append(macs / (params / dense[1]))
        return sorted(ends)

    assert least_G.size == 27
    assert range_of(0.1 * left_out) == pytest.approx(known, abs=0.006)
    whole_channels = range_of(np.ceil(0.1 * left_out))
    assert terrain.attainable("ratio", level=macs) == pytest.approx(whole_channels, rel=1e-4)


def test_attainable_ratios_inside_a_slab_are_those_of_a_linear_program() -> None:
    """The mean pruning ratio of a stage is linear in its widths, as are MACs and parameters here."""
    terrain = basic_resnet("resnet20")
    costs, groups, whole_G = terrain.costs, terrain.graph.groups, terrain.graph.widths
    inner = [g.index for g in groups if g.name.endswith("conv1") and "." in g.name]
    own = np.array([groups[i].width == 64 for i in inner])  # the stage of 8 x 8 pixels
    left_out = np.array(whole_G[inner], dtype=float)
    dense = (costs.macs(whole_G), costs.num_parameters(whole_G))
    slopes = [costs.group_saving(name, whole_G)[inner] for name in ("macs", "num_parameters")]
    kept = own / left_out / own.sum()  # mean share of the channels kept there
    ends = []
    for sign in (1, -1):
        program = linprog(
            sign * slopes[1], A_eq=[slopes[0]], b_eq=[slopes[0] @ left_out - 0.5 * dense[0]],
            A_ub=[-kept, kept], b_ub=[-0.6, 0.8], bounds=list(zip(np.ceil(0.1 * left_out), left_out, strict=True)),
        )  # fmt: skip
        ends.append(0.5 / (1 - slopes[1] @ (left_out - program.x) / dense[1]))

    slab = Slab(quantity="stage:8x8", low=0.2, high=0.4)
    found = terrain.attainable("ratio", level=0.5, slabs=[slab])

    assert own.sum() == 3
    assert found == pytest.approx(sorted(ends), rel=1e-4)
    low, high = terrain.attainable("ratio", level=0.5)
    assert low < 0.95 * found[0]
    assert found[1] < 0.95 * high


def test_a_slab_that_holds_nothing_of_a_regime_is_named() -> None:
    slab = Slab(quantity="params", low=0.0, high=0.05)

    with pytest.raises(
        SpaceError,
        match=r"no recipe with this share of the MACs was found in params in \[0, 0.05\]; widen",
    ):
        terrain_of("resnet20").attainable("ratio", level=0.5, slabs=[slab])


def test_macs_out_of_reach_are_refused_with_what_is_in_reach() -> None:
    with pytest.raises(
        SpaceError, match=r"no recipe has 0.05 of the MACs; they reach from 0.1\d\d to 1.000"
    ):
        basic_resnet("resnet20").attainable("ratio", level=0.05)


def test_quantities_of_pruning_ratios_are_their_moments() -> None:
    terrain = terrain_of("resnet20")
    widths_NG = random_widths(terrain, 5)
    ratios_NG = 1 - widths_NG / terrain.graph.widths

    found = terrain.quantities(widths_NG)

    np.testing.assert_allclose(found["std"], ratios_NG.std(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found["mean"], ratios_NG.mean(axis=1), rtol=1e-12)
    last = [
        g.index for g in terrain.graph.groups if g.name.startswith("layer3.") and "conv1" in g.name
    ]
    last += [terrain.graph["layer3.0.conv2"].index]
    np.testing.assert_allclose(found["stage:8x8"], ratios_NG[:, last].mean(axis=1), rtol=1e-12)


def test_layers_count_a_coupled_group_once_for_each() -> None:
    terrain = terrain_of("resnet20", unit="layer")
    widths_NG = random_widths(terrain, 3)
    ratios_NG = 1 - widths_NG / terrain.graph.widths
    # The stem and the last convolutions of all nine blocks write to the residual channels.
    counts_G = np.array([sum(m.dim == 0 and m.tensor.endswith("weight") and "conv" in m.tensor
                             for m in g.members) for g in terrain.graph.groups])  # fmt: skip

    mean_N = (ratios_NG * counts_G).sum(axis=1) / counts_G.sum()

    np.testing.assert_allclose(terrain.quantities(widths_NG)["mean"], mean_N, rtol=1e-12)
    assert counts_G.sum() > len(counts_G)


@pytest.mark.parametrize(("unit", "count"), [("group", 9), ("block", 9), ("stage", 3)])
def test_units_of_resnet20(unit: str, count: int) -> None:
    terrain = basic_resnet("resnet20", unit=unit)
    widths_NG = random_widths(terrain, 20)

    ratios_NU = terrain.pruning_ratios(widths_NG)

    assert ratios_NU.shape == (20, count)
    np.testing.assert_allclose(
        terrain.quantities(widths_NG)["std"], ratios_NU.std(axis=1), rtol=1e-9
    )


def test_groups_of_a_stage_share_their_ratio() -> None:
    terrain = terrain_of("torchvision:resnet50", unit="stage", residual_groups="keep")
    widths_NG = random_widths(terrain, 10)

    shares = widths_NG / terrain.graph.widths

    first = [
        g.index for g in terrain.graph.groups if g.name in ("layer4.1.conv1", "layer4.2.conv2")
    ]
    np.testing.assert_array_equal(shares[:, first[0]], shares[:, first[1]])


def test_ends_are_kept_where_asked() -> None:
    terrain = terrain_of("vgg16_bn", first_conv="keep", last_conv="keep")

    widths_NG = random_widths(terrain, 10)

    assert (widths_NG[:, [0, -1]] == terrain.graph.widths[[0, -1]]).all()
    assert (widths_NG[:, 1] < 64).any()


def test_residual_channels_are_those_that_several_layers_make() -> None:
    kept = terrain_of("torchvision:resnet50", residual_groups="keep").units.kept
    depthwise = terrain_of("timm:mobilenetv1_100", residual_groups="keep").units.kept

    names = [terrain_of("torchvision:resnet50").graph.groups[i].name for i in kept]
    assert names == [f"layer{stage}.0.conv3" for stage in (1, 2, 3, 4)]
    assert depthwise == ()


def test_scopes_count_parameters_of_convolutions() -> None:
    """VGG-16: 14.72 M parameters, 5,130 of the classifier; the stem is 3 x 64 x 9."""
    whole = terrain_of("vgg16_bn").dense["params"]
    conv = terrain_of("vgg16_bn", param_scope="conv").dense["params"]
    rest = terrain_of("vgg16_bn", param_scope="conv_no_stem_fc").dense["params"]
    filters = terrain_of("vgg16_bn", param_scope="filters").dense["params"]
    no_norm = terrain_of("vgg16_bn", count_bn=False).dense["params"]

    assert (whole - no_norm, no_norm - conv) == (2 * 4224, 5130)
    assert conv - rest == 3 * 64 * 9
    assert filters == 4224


def test_other_ratios_follow_their_definition() -> None:
    removed, stored = (terrain_of("resnet20", ratio=r) for r in ("removed", "activations"))
    widths_NG = random_widths(removed, 4)
    costs, whole_G = removed.costs, removed.graph.widths
    lost = 1 - costs.macs(widths_NG) / costs.macs(whole_G)
    lost_params = 1 - costs.num_parameters(widths_NG) / costs.num_parameters(whole_G)
    macs = costs.macs(widths_NG) / costs.macs(whole_G)
    memory = costs.activation_bytes(widths_NG) / costs.activation_bytes(whole_G)

    np.testing.assert_allclose(removed.quantities(widths_NG)["ratio"], lost / lost_params)
    np.testing.assert_allclose(stored.quantities(widths_NG)["ratio"], macs / memory)


def test_a_ratio_of_convolutions_leaves_the_classifier_out() -> None:
    """A classifier's MACs are its weights: one a channel and class, 10 of them on CIFAR."""
    whole = terrain_of("vgg16_bn", param_scope="conv")
    conv = terrain_of("vgg16_bn", param_scope="conv", mac_scope="conv")
    widths_NG = random_widths(conv, 3)
    last_N = widths_NG[:, conv.graph["features.40"].index]

    found = [
        t.quantities(widths_NG)["mcb"] * t.quantities(widths_NG)["params"] for t in (whole, conv)
    ]

    params = conv.dense["params"]
    np.testing.assert_allclose((found[0] - found[1]) * params, 10 * last_N, rtol=1e-6)
    np.testing.assert_array_equal(
        whole.quantities(widths_NG)["macs"], conv.quantities(widths_NG)["macs"]
    )


def test_the_ratio_of_a_group_is_what_goes_of_it() -> None:
    terrain = terrain_of("resnet20")
    widths_NG = random_widths(terrain, 3)

    found = terrain.quantities(widths_NG)["group:layer2.1.conv1"]

    np.testing.assert_allclose(found, 1 - widths_NG[:, terrain.graph["layer2.1.conv1"].index] / 32)


def test_ranges_and_the_uniform_recipe_at_a_share_of_the_parameters() -> None:
    terrain = terrain_of("vgg16_bn")
    found = terrain.quantities(terrain.uniform(0.3, by="params")[None])

    low, high = terrain.attainable("ratio", level=0.3, by="params")

    assert found["params"][0] == pytest.approx(0.3, abs=0.005)
    assert found["std"][0] < 0.02
    macs = terrain.attainable("macs", level=0.3, by="params")
    assert (low, high) == pytest.approx([value / 0.3 for value in macs], rel=0.01)


def test_the_uniform_recipe_keeps_equal_shares() -> None:
    terrain = terrain_of("torchvision:resnet50")

    found = terrain.quantities(terrain.uniform(0.5)[None])

    assert found["macs"][0] == pytest.approx(0.5, abs=0.002)
    assert found["params"][0] == pytest.approx(0.51, abs=0.002)
    assert found["std"][0] < 0.002


SLABS = (
    Slab(quantity="macs", low=0.3, high=0.6),
    Slab(quantity="ratio", low=0.9, high=1.2),
    Slab(quantity="mcb", low=120, high=170),
    Slab(quantity="std", low=0.15, high=0.25),
    Slab(quantity="params", low=0.3, high=0.5),
    Slab(quantity="activations", low=0.5, high=0.6),
    Slab(quantity="stage:16x16", low=0.2, high=0.4),
    Slab(quantity="group:layer2.1.conv1", low=0.2, high=0.6),
)


@pytest.mark.parametrize("slab", SLABS, ids=str)
@pytest.mark.parametrize("options", [{}, {"ratio": "removed"}, {"unit": "layer"}], ids=str)
def test_a_region_holds_what_its_slab_holds(slab: Slab, options: dict[str, object]) -> None:
    terrain = terrain_of("resnet20", **options)
    widths_NG = random_widths(terrain, 400)
    values_N = terrain.quantities(widths_NG)[slab.quantity]
    expected_N = (slab.low <= values_N) & (values_N <= slab.high)

    region = terrain.region([slab])

    np.testing.assert_array_equal(region.inside(widths_NG.T.astype(float)), expected_N)
    np.testing.assert_array_equal(terrain.inside(widths_NG, [slab]), expected_N)
    assert 0 < expected_N.sum() < 400 or slab.quantity == "mcb"


def test_a_region_on_a_line_is_a_parabola() -> None:
    terrain = terrain_of("resnet20")
    region, rng = terrain.region(SLABS), np.random.default_rng(0)
    widths_GN = random_widths(terrain, 4).T.astype(float)
    moves_GN = rng.standard_normal(widths_GN.shape)

    a, b, c = region.line(widths_GN, moves_GN)

    for t in (-1.3, 0.0, 0.7):
        expected = region.values(widths_GN + t * moves_GN)
        np.testing.assert_allclose(a * t**2 + b * t + c, expected, rtol=1e-9, atol=1e-12)


def test_gradients_of_a_region_are_its_slopes() -> None:
    terrain = terrain_of("resnet20")
    region, step = terrain.region(SLABS), 1e-4
    widths_G1 = random_widths(terrain, 1).T.astype(float)

    found_JG = region.gradients(widths_G1)[:, :, 0]

    for index in range(widths_G1.size):
        move_G1 = step * np.eye(widths_G1.size)[:, [index]]
        rise = region.values(widths_G1 + move_G1) - region.values(widths_G1 - move_G1)
        np.testing.assert_allclose(found_JG[:, index], rise[:, 0] / (2 * step), atol=1e-9)


@pytest.mark.parametrize("num", [1, 2, 7])
def test_values_do_not_depend_on_how_many_are_asked(num: int) -> None:
    """Bit by bit, so that a population does not depend on how it was split among workers."""
    terrain = terrain_of("resnet56")
    region = terrain.region(SLABS)
    widths_GN = random_widths(terrain, 64).T.astype(float) + 0.123

    np.testing.assert_array_equal(
        region.values(widths_GN)[:, :num], region.values(widths_GN[:, :num])
    )


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"no quantity 'stage:16x15'. Did you mean 'stage:16x16'"):
        terrain_of("resnet20").region([Slab(quantity="stage:16x15", low=0, high=1)])


def test_a_space_that_keeps_everything_is_refused() -> None:
    with pytest.raises(SpaceError, match="no group has more than one width; lower floor=1"):
        _ = terrain_of("resnet20", floor=1.0).lattice


def test_a_space_whose_options_keep_every_group_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 4))
    graph = trace(model.eval(), torch.zeros(1, 3, 8, 8))
    config = SpaceConfig(name="ends", slabs=(), first_conv="keep")

    with pytest.raises(SpaceError, match="space 'ends' keeps all 1 groups; prune residual_groups"):
        Terrain(graph=graph, costs=CostModel.of(graph), config=config)

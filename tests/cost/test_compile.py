"""Costs of recipes against formulas written by hand and against the shrunk module as it runs."""

import itertools
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from sentei.cost import COSTS, CostModel, measure
from sentei.errors import TraceError, UnknownNameError
from sentei.graph import Graph, trace
from sentei.models import load_model
from sentei.surgery import Plan, apply, plan_removal

IntArray = npt.NDArray[np.int64]


class Residual(nn.Module):
    """Stem of s channels, bottleneck of m, skip; at 6x6."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.mid = nn.Conv2d(8, 6, 1, bias=False)
        self.out = nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head((x + self.out(self.mid(x))).mean((2, 3)))


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.second = nn.Conv2d(8, 12, 3, padding=1, groups=2)
        self.third = nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(self.first(x)))


class Concat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1)
        self.merge = nn.Conv2d(10, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.merge(torch.cat([self.left(x), self.right(x)], dim=1))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads, self.size = 3, 4
        self.query, self.key, self.value = (nn.Linear(6, 12) for _ in range(3))
        self.out = nn.Linear(12, 6)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (
            layer(x).view(b, n, self.heads, self.size).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.out(mixed.reshape(b, n, self.heads * self.size))


def depthwise() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 5, 1, bias=False),
    )


def all_recipes(graph: Graph) -> IntArray:
    """Return every recipe, shape [recipes, groups]."""
    ranges = [range(g.smallest, g.width + 1, g.num_rows) for g in graph.groups]
    return np.array(list(itertools.product(*ranges)), dtype=np.int64)


def random_plan(graph: Graph, *, seed: int) -> Plan:
    """Return a plan that removes a random half of the channels or less of every group."""
    rng = np.random.default_rng(seed)
    removed = {}
    for group in graph.groups:
        rows = np.zeros(group.width, np.int64) if group.rows is None else group.rows
        gone = int(rng.integers(group.width // group.num_rows // 2 + 1))
        chosen = [rng.permutation(np.flatnonzero(rows == r))[:gone] for r in np.unique(rows)]
        removed[group.name] = np.concatenate(chosen).tolist()
    return plan_removal(graph, removed)


def test_costs_of_all_recipes_of_a_residual_network_follow_the_formulas() -> None:
    graph = trace(Residual(), torch.zeros(1, 3, 6, 6))
    recipes = all_recipes(graph)
    s, m = recipes[:, graph["stem"].index], recipes[:, graph["mid"].index]

    costs = CostModel.of(graph).costs(recipes)

    assert len(recipes) == 8 * 6
    parameters = 27 * s + s * m + 9 * m * s + 5 * s + 5
    np.testing.assert_array_equal(costs["macs"], 36 * (27 * s + s * m + 9 * m * s) + 5 * s)
    np.testing.assert_array_equal(costs["num_parameters"], parameters)
    np.testing.assert_array_equal(costs["weight_bytes"], 4 * parameters)
    np.testing.assert_array_equal(costs["activation_bytes"], 4 * (36 * (3 * s + m) + s + 5))
    # Alive: image and stem; stem, mid and out; stem, out and sum. Mean and head never matter.
    at_once = np.maximum.reduce([3 + s, s + m + s, s + s + s])
    np.testing.assert_array_equal(costs["peak_activation_bytes"], 4 * 36 * at_once)


def test_macs_of_a_depthwise_convolution_are_linear_in_its_width() -> None:
    graph = trace(depthwise(), torch.zeros(1, 3, 5, 5))
    w = np.arange(1, 5)

    found = CostModel.of(graph).macs(w[:, None])

    np.testing.assert_array_equal(found, 25 * (27 * w + 9 * w + 5 * w))


def test_macs_of_a_grouped_convolution_use_the_inputs_of_one_group() -> None:
    graph = trace(Grouped(), torch.zeros(1, 3, 5, 5))
    recipes = all_recipes(graph)
    first, second = recipes[:, graph["first"].index], recipes[:, graph["second"].index]

    costs = CostModel.of(graph).costs(recipes)

    assert len(recipes) == 4 * 6
    weights = 3 * first + second * (first // 2) * 9 + second * 5
    np.testing.assert_array_equal(costs["macs"], 25 * weights)
    np.testing.assert_array_equal(costs["num_parameters"], weights + first + second + 5)


def test_macs_of_a_concatenation_add_up() -> None:
    graph = trace(Concat(), torch.zeros(2, 3, 2, 2))
    recipes = all_recipes(graph)
    left, right = recipes[:, graph["left"].index], recipes[:, graph["right"].index]

    found = CostModel.of(graph).macs(recipes)

    np.testing.assert_array_equal(found, 4 * (3 * left + 3 * right + 5 * (left + right)))


@pytest.mark.parametrize("batch", [1, 2])
def test_macs_of_attention_follow_the_formula(batch: int) -> None:
    graph = trace(Attention(), torch.zeros(batch, 7, 6))
    model = CostModel.of(graph)
    plan = plan_removal(graph, {g.name: [0] if g.width == 3 else [0, 4] for g in graph.groups})

    small = apply(plan, graph.model)
    assert isinstance(small, Attention)
    heads, size = small.heads, small.size
    values = small.value.out_features // heads  # values may keep another size than keys

    tokens = 7
    projections = tokens * 6 * heads * (2 * size + 2 * values)
    assert (heads, size, values) != (3, 4, 4)
    assert model.macs(plan.widths) == projections + heads * tokens * tokens * (size + values)


NETWORKS = [("digits_cnn", 1), ("resnet20", 2), ("vgg16_bn", 1), ("densenet40", 1),
            ("mobilenetv2_cifar", 2), ("torchvision:shufflenet_v2_x0_5", 1), ("timm:test_vit", 2),
            ("timm:test_convnext", 1), ("timm:test_efficientnet", 1)]  # fmt: skip
MORE_NETWORKS = [
    *((spec, 3 - batch) for spec, batch in NETWORKS),
    *itertools.product(
        ["googlenet_cifar", "torchvision:resnet50", "timm:test_vit2", "timm:test_resnet",
         "timm:seresnext26d_32x4d", "timm:xcit_nano_12_p16_224", "timm:botnet26t_256",
         "timm:lambda_resnet26t", "timm:maxvit_pico_rw_256", "timm:nf_regnet_b0"],
        [1, 2],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "batch"),
    [*NETWORKS, *(pytest.param(*each, marks=pytest.mark.slow) for each in MORE_NETWORKS)],
)
def test_costs_of_a_recipe_are_those_of_the_shrunk_module(spec: str, batch: int) -> None:
    with torch.device("meta"):
        loaded = load_model(spec)
        assert loaded.input_shape is not None
        images = torch.empty(batch, *loaded.input_shape)
    graph = trace(loaded.model.eval(), images)
    model = CostModel.of(graph)
    plan = random_plan(graph, seed=0)

    found = model.costs(np.stack([graph.widths, plan.widths]))

    dense, shrunk = measure(graph.model, images), measure(apply(plan, graph.model), images)
    assert {name: int(values[0]) for name, values in found.items()} == asdict(dense)
    assert {name: int(values[1]) for name, values in found.items()} == asdict(shrunk)


def test_a_recipe_costs_the_same_alone_and_among_many() -> None:
    graph = trace(Residual(), torch.zeros(1, 3, 6, 6))
    model = CostModel.of(graph)
    recipes = np.tile(all_recipes(graph), (50, 1))  # more than are evaluated at a time

    together = model.costs(recipes)

    for name in COSTS:
        assert together[name].dtype == np.int64
        assert together[name].shape == (2400,)
        alone = [model.costs(recipe)[name] for recipe in recipes[:48]]
        assert together[name].tolist() == alone * 50


def test_every_method_returns_its_cost() -> None:
    graph = trace(Residual(), torch.zeros(1, 3, 6, 6))
    model = CostModel.of(graph)

    found = {name: getattr(model, name)(graph.widths) for name in COSTS}

    assert found == asdict(measure(graph.model, graph.inputs))
    assert all(type(value) is int for value in found.values())


def test_a_model_without_groups_has_constant_costs() -> None:
    graph = trace(nn.Linear(4, 3), torch.zeros(1, 4))

    assert graph.groups == ()
    assert CostModel.of(graph).macs(np.zeros((5, 0), np.int64)).tolist() == [12] * 5


def test_costs_beyond_the_range_of_float64_are_exact() -> None:
    side = 2**26 + 1
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Conv2d(3, 1, 1))
        graph = trace(model, torch.empty(1, 1, side, side))

    found = CostModel.of(graph).macs(np.array([[1], [3]]))

    # side**2 is odd and larger than 2**52, so three times the double of it fits no float64.
    assert found.tolist() == [2 * side**2, 6 * side**2]
    assert int(float(6 * side**2)) != 6 * side**2


def test_saving_of_a_channel_is_what_its_removal_saves() -> None:
    graph = trace(Residual(), torch.zeros(1, 3, 6, 6))
    widths = np.zeros(2, np.int64)
    widths[graph["stem"].index], widths[graph["mid"].index] = 7, 4

    saving = CostModel.of(graph).group_saving("macs", widths)

    assert saving[graph["stem"].index] == 36 * (27 + 4 + 36) + 5
    assert saving[graph["mid"].index] == 36 * (7 + 9 * 7)


def test_saving_of_a_channel_is_shared_by_the_rows_that_lose_one_each() -> None:
    graph = trace(Grouped(), torch.zeros(1, 3, 5, 5))
    widths = np.zeros(2, np.int64)
    widths[graph["first"].index], widths[graph["second"].index] = 6, 8

    saving = CostModel.of(graph).group_saving("num_parameters", widths)

    # Two of `first` go (one a row): 2 * 3 weights, 2 biases, 8 rows of 9 in `second`.
    assert saving[graph["first"].index] == (2 * 3 + 2 + 8 * 9) / 2
    assert saving[graph["second"].index] == 3 * 9 + 1 + 5


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        (np.ones((3, 5), np.int64), r"int64 of shape \[3, 5\]; expected integers of shape"),
        (np.ones(2), r"float64 of shape \[2\]; expected integers"),
        (np.array([8, 13]), "second: width 13 is not possible; choose one from 2 to 12"),
        (np.array([0, 12]), "first: width 0 is not possible; choose one from 2 to 8"),
        (np.array([[8, 12], [5, 12]]), "first: width 5 is not possible; .* a multiple of 2"),
    ],
    ids=["shape", "float", "large", "small", "row"],
)
def test_impossible_widths_are_refused(widths: npt.NDArray[Any], message: str) -> None:
    graph = trace(Grouped(), torch.zeros(1, 3, 5, 5))
    assert [g.name for g in graph.groups] == ["first", "second"]

    with pytest.raises(ValueError, match=message):
        CostModel.of(graph).macs(widths)


def test_an_unknown_cost_is_refused() -> None:
    graph = trace(Concat(), torch.zeros(1, 3, 2, 2))

    with pytest.raises(UnknownNameError, match=r"unknown cost 'mac'\. Did you mean 'macs'\?"):
        CostModel.of(graph).group_saving("mac", graph.widths)


def test_a_model_changed_since_its_trace_is_refused() -> None:
    graph = trace(Concat(), torch.zeros(2, 3, 2, 2))
    apply(plan_removal(graph, {"left": [0]}), graph.model, in_place=True)

    with pytest.raises(TraceError, match="or it was changed since"):
        CostModel.of(graph)


def test_channels_of_unequal_size_in_one_group_are_our_mistake() -> None:
    graph = trace(Concat(), torch.zeros(1, 3, 2, 2))
    value = graph.recording.ops[0].outputs[0]
    channels = graph.values[value][1]
    assert channels is not None
    torn = {**graph.values, value: (None, np.where(channels == 0, 1, channels), None, None)}

    with pytest.raises(AssertionError, match="own different numbers of positions"):
        CostModel.of(replace(graph, values=torn))

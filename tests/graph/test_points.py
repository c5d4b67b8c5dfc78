"""Where readers see channels: written out for every structure."""

import numpy as np
import pytest

from sentei.graph import Graph, trace
from sentei.graph.points import Point, activations, points
from tests.support import nets


def graph_of(name: str) -> Graph:
    case = nets.case(name)
    return trace(case.model, case.inputs)


def seen(graph: Graph, found: tuple[Point, ...]) -> list[tuple[str, str, list[str]]]:
    """Function, weight and groups of every point."""
    names = np.concatenate([[g.name] * g.width for g in graph.groups])
    return [(p.function, p.weight, sorted(set(names[p.owned].tolist()))) for p in found]


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        ("plain", [("conv2d", "conv2.weight", ["conv1"]), ("linear", "linear.weight", ["conv2"])]),
        (
            "residual",
            [
                ("conv2d", "conv1.weight", ["stem"]),
                ("conv2d", "conv2.weight", ["conv1"]),
                ("linear", "linear.weight", ["stem"]),
            ],
        ),
        (
            "dense",
            [
                ("conv2d", "layer1.weight", ["stem"]),
                ("conv2d", "layer2.weight", ["layer1", "stem"]),
                ("linear", "linear.weight", ["layer1", "layer2", "stem"]),
            ],
        ),
        (
            "grouped",
            [("conv2d", "grouped.weight", ["enter"]), ("conv2d", "leave.weight", ["grouped"])],
        ),
        ("transposed 2d", [("conv_transpose2d", "up2.weight", ["up1"])]),
        ("functional", [("matmul", "matrix", ["kernel"])]),
        (
            "multihead",
            [
                ("multi_head_attention_forward", "", ["linear1"]),
                ("linear", "linear2.weight", ["attention.out_proj"]),
                ("linear", "linear3.weight", ["linear2"]),
            ],
        ),
    ],
)
def test_points_are_what_convolutions_and_products_read(
    net: str, expected: list[tuple[str, str, list[str]]]
) -> None:
    graph = graph_of(net)

    assert seen(graph, points(graph)) == expected


def test_depthwise_convolution_is_no_reader() -> None:
    graph = graph_of("depthwise")

    assert seen(graph, points(graph)) == [("conv2d", "project.weight", ["expand"])]


def test_weight_computed_from_a_parameter_is_named_after_it() -> None:
    (point,) = points(graph_of("standardized"))

    assert point.weight == "conv2.weight"


def test_flattened_map_gives_its_positions_to_its_channels() -> None:
    (point,) = points(graph_of("flatten"))

    np.testing.assert_array_equal(point.places, np.arange(20).reshape(5, 4))


def test_concatenation_numbers_channels_of_all_its_groups() -> None:
    graph = graph_of("dense")
    stem, layer1, layer2 = (graph[name].first for name in ("stem", "layer1", "layer2"))

    last = points(graph)[-1]

    expected = [*range(layer2, layer2 + 4), *range(stem, stem + 5), *range(layer1, layer1 + 3)]
    np.testing.assert_array_equal(last.channels, expected)


@pytest.mark.parametrize(
    ("net", "calls"),
    [
        ("plain", ["conv2d", "mean"]),
        ("residual", ["conv2d", "conv2d", "adaptive_avg_pool2d"]),
        ("flatten", ["flatten"]),
        ("squeeze-excite", ["mean", "conv2d", "conv2d"]),
        ("gated", ["linear"]),
    ],
)
def test_activations_are_read_before_pixels_are_pooled(net: str, calls: list[str]) -> None:
    assert [p.function for p in activations(graph_of(net))] == calls


def test_tensor_with_several_readers_is_one_activation() -> None:
    graph = graph_of("nested outputs")

    assert (len(points(graph)), len(activations(graph))) == (4, 1)


@pytest.mark.parametrize("net", nets.NAMES)
def test_every_group_of_a_network_has_a_point(net: str) -> None:
    graph = graph_of(net)

    owned = np.concatenate([p.owned for p in points(graph)])

    assert set(owned.tolist()) == set(range(graph.num_channels))

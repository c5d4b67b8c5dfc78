"""Which channels remain once grids, rows and the sizes of the user's code are settled."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sentei.graph import Graph, trace
from sentei.surgery import apply, plan_removal, verify
from tests.support.nets import example, fill


class Between(nn.Module):
    """A function of the user's between two linear layers; ``sizes`` become attributes."""

    def __init__(
        self,
        function: Callable[[Any, Tensor], Tensor],
        width: int,
        out: int,
        **sizes: Any,  # noqa: ANN401 - integers, lists or tuples
    ) -> None:
        super().__init__()
        self.function = function
        self.first = nn.Linear(3, width)
        self.last = nn.Linear(out, 2)
        for name, value in sizes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self, self.first(x)))


def traced(
    function: Callable[[Any, Tensor], Tensor],
    width: int,
    out: int,
    **sizes: Any,  # noqa: ANN401 - integers, lists or tuples
) -> Graph:
    return trace(fill(Between(function, width, out, **sizes)), example(2, 3))


def rows_of_first(graph: Graph) -> list[int]:
    """Return the channel of every row of the first layer, -1 where it stays."""
    layout = graph.layouts.get("first.weight")
    dims = None if layout is None else layout.dims[0]
    return [-1] * graph.model.first.out_features if dims is None else dims.tolist()  # type: ignore[operator, union-attr]


def prune(graph: Graph, removed: dict[str, list[int]]) -> nn.Module:
    """Apply and verify a plan, and return the smaller model."""
    plan = plan_removal(graph, removed)
    small = apply(plan, graph.model)
    verify(graph.model, small, plan, graph.inputs)
    return small


# Grids ---------------------------------------------------------------------------------------


def test_a_grid_with_written_rows_loses_columns() -> None:
    graph = traced(lambda _, x: x.view(-1, 2, 3).sum(1), 6, 3)

    # Six channels in two written rows of three written columns: nothing can go.
    assert rows_of_first(graph) == [-1] * 6
    assert "the grid 2 x 3 must stay rectangular" in graph.why("first.bias")[0]

    graph = traced(lambda _, x: x.unflatten(1, (2, -1)).sum(1), 6, 3)
    assert rows_of_first(graph) == [0, 1, 2, 0, 1, 2]


def test_a_grid_with_rows_from_an_attribute_loses_rows() -> None:
    graph = traced(lambda m, x: x.unflatten(1, (m.heads, -1)).sum(2), 6, 2, heads=2)

    assert rows_of_first(graph) == [0, 0, 0, 1, 1, 1]
    small = prune(graph, {"first": [0]})
    assert small.heads == 1
    assert small.first.out_features == 3  # type: ignore[union-attr]


def test_a_frozen_axis_leaves_the_other() -> None:
    # A constant of three columns is added, so that rows must go.
    def add(m: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        return (x.unflatten(1, (m.heads, -1)) + torch.ones(3)).sum(1)

    graph = traced(add, 6, 3, heads=2)

    assert rows_of_first(graph) == [0, 0, 0, 1, 1, 1]


# Partitions ----------------------------------------------------------------------------------


def test_rows_that_only_count_may_lose_different_channels() -> None:
    class Grouped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv1d(3, 6, 1)
            self.norm = nn.GroupNorm(2, 6)
            self.last = nn.Conv1d(6, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.norm(self.first(x)))

    graph = trace(fill(Grouped()), example(2, 3, 5))

    rows = graph["first"].rows
    assert rows is not None
    assert rows.tolist() == [0, 0, 0, 1, 1, 1]
    prune(graph, {"first": [0, 5]})


def test_halves_that_are_multiplied_lose_the_same_channels() -> None:
    def gate(_: Between, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return a * b

    graph = traced(gate, 6, 3)

    assert rows_of_first(graph) == [0, 1, 2, 0, 1, 2]
    prune(graph, {"first": [1]})


# Sizes the code states -----------------------------------------------------------------------


def test_pieces_sized_by_attributes_shrink_one_by_one() -> None:
    def cut(m: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        a, b = x.split([m.small, m.large], 1)
        return torch.cat([b, a], 1)

    graph = traced(cut, 6, 6, small=2, large=4)

    assert sorted(rows_of_first(graph)) == list(range(6))
    name_of_small = next(g.name for g in graph.groups if g.width == 2)
    small = prune(graph, {name_of_small: [0]})
    assert [small.small, small.large] == [1, 4]


def test_items_of_a_list_are_set_one_by_one() -> None:
    graph = traced(lambda m, x: torch.cat(x.split(m.sizes, 1)[::-1], 1), 5, 5, sizes=[2, 3])

    name = next(g.name for g in graph.groups if g.width == 3)
    small = prune(graph, {name: [0, 2]})

    assert small.sizes == [2, 1]
    assert graph.model.sizes == [2, 3]


def test_a_written_size_stays_and_names_its_line() -> None:
    def cut(_: Between, x: Tensor) -> Tensor:
        return x.narrow(1, 0, 4)

    graph = traced(cut, 6, 4)

    line = cut.__code__.co_firstlineno + 1
    reason = (
        f"its outputs: the size 4 is written in the code in the model (graph/test_settle.py:{line})"
    )
    assert reason in graph.why("first")
    assert rows_of_first(graph) == [-1, -1, -1, -1, 0, 1]


def test_a_narrow_of_attributes_sets_the_length() -> None:
    """Its end may coincide with the end of the tensor: the length must still follow."""
    graph = traced(lambda m, x: x.narrow(1, m.start, m.length), 6, 4, start=2, length=4)

    small = prune(graph, {g.name: [0] for g in graph.groups})

    assert small.length == 3


def test_computed_sizes_follow_by_themselves() -> None:
    graph = traced(lambda _, x: x.view(x.shape[0], 1, x.shape[1]).flatten(1), 6, 6)

    assert rows_of_first(graph) == list(range(6))
    prune(graph, {"first": [0, 3]})


def test_a_size_used_as_a_number_stays() -> None:
    def scaled(_: Between, x: Tensor) -> Tensor:
        return x / math.sqrt(x.shape[1])

    graph = traced(scaled, 4, 4)

    assert rows_of_first(graph) == [-1] * 4
    line = scaled.__code__.co_firstlineno + 1
    reason = f"its outputs: its size is used as a number in graph/test_settle.py:{line}"
    assert reason in graph.why("first")


@pytest.mark.parametrize(
    ("function", "removable"),
    [
        pytest.param(lambda _, x: x if x.shape[1] == 4 else x * 2, False, id="a written number"),
        pytest.param(
            lambda m, x: x if x.shape[1] == m.expected else x * 2, True, id="an attribute"
        ),
        pytest.param(lambda _, x: x if x.shape[1] > 0 else x * 2, True, id="always true"),
        pytest.param(lambda _, x: x if x.shape[1] % 2 == 0 else x * 2, False, id="parity"),
    ],
)
def test_a_branch_on_a_size_must_come_out_as_before(
    function: Callable[[Any, Tensor], Tensor], *, removable: bool
) -> None:
    graph = traced(function, 4, 4, expected=4)

    assert rows_of_first(graph) == ([0, 1, 2, 3] if removable else [-1] * 4)
    assert removable or any("the code branches on this size" in w for w in graph.why("first"))


def test_a_branch_on_an_attribute_that_counts_channels_ends() -> None:
    def branch(m: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        x = x.unflatten(1, (m.heads, -1)).sum(2)
        return x if m.heads == 4 else x * 2

    graph = traced(branch, 8, 4, heads=4)

    assert rows_of_first(graph) == [-1] * 8
    assert any("the code branches on this size" in why for why in graph.why("first"))


@pytest.mark.parametrize("samples", [2, 4])
def test_a_size_that_equals_the_number_of_samples_is_not_taken_for_it(samples: int) -> None:
    def padded(m: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        return torch.cat([x, x.new_zeros(x.shape[0], m.extra)], 1)

    model = fill(Between(padded, 4, 4 + samples, extra=samples))
    graph = trace(model, example(samples, 3))

    prune(graph, {group.name: [0] for group in graph.groups})


@pytest.mark.parametrize(
    ("groups", "channels", "removed"),
    [
        # Two or four rows: each holds whole groups of the convolution, so columns go.
        (2, [row % 8 for row in range(32)], [0]),
        (4, [row % 8 for row in range(32)], [0]),
        # Eight rows: two lie in each group of the convolution, and one of the two may go.
        (8, [row // 4 for row in range(32)], [0, 3, 4, 7]),
    ],
)
def test_a_shuffle_behind_a_grouped_convolution_empties_no_group(
    groups: int, channels: list[int], removed: list[int]
) -> None:
    layers: list[nn.Module] = [
        nn.Conv2d(16, 32, 1, groups=4),
        nn.BatchNorm2d(32),
        nn.ChannelShuffle(groups),
        nn.Conv2d(32, 32, 3, groups=32),
        nn.Conv2d(32, 8, 1),
    ]

    graph = trace(fill(nn.Sequential(*layers)).eval(), example(2, 16, 4, 4))

    dim = graph.layouts["0.weight"].dims[0]
    assert dim is not None
    assert dim.tolist() == channels
    assert graph.frozen.keys() == {"4.weight", "4.bias"}
    prune(graph, {"0": removed})


def test_grids_that_share_channels_are_decided_one_after_the_other() -> None:
    layers = [nn.Conv2d(3, 32, 1), nn.ChannelShuffle(8), nn.Conv2d(32, 2, 1)]

    graph = trace(fill(nn.Sequential(*layers)).eval(), example(2, 3, 4, 4))

    # The shuffle reads eight rows of four and writes four rows of eight.
    assert [g.width for g in graph.groups] == [8]

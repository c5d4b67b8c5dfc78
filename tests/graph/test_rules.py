"""What operators do to channels, worked out by hand on tensors of a few positions.

The channels of the parameters of a network are numbered through, dimension by dimension, in the
order in which they can be removed: a parameter [3, 4] owns channels 0 1 2 and 3 4 5 6. None is a
dimension of which every position stays, -1 a position that stays.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from sentei.graph import trace

Expected = list[list[int] | None]


class Computed(nn.Module):
    """A function of parameters of the given shapes."""

    def __init__(self, function: Callable[..., Any], shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.function = function
        self.given = nn.ParameterList(torch.randn(shape) for shape in shapes)

    def forward(self, _: Tensor) -> Any:  # noqa: ANN401 - whatever the function returns
        return self.function(*self.given)


def layouts(function: Callable[..., Any], *shapes: tuple[int, ...]) -> list[Expected]:
    """Return the channels along every dimension of every tensor that ``function`` returns."""
    graph = trace(Computed(function, shapes), torch.zeros(1), shrink_outputs=True)
    result: list[Expected] = []
    for value in graph.recording.outputs:
        nothing = (None,) * len(graph.recording.values[value].shape)
        dims = graph.values.get(value, nothing)
        result.append([None if d is None else d.tolist() for d in dims])
    return result


_ONE: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]], Expected]] = {
    # Moving
    "flip": (lambda w: w.flip(0), [(4,)], [[3, 2, 1, 0]]),
    "roll": (lambda w: w.roll(1, 0), [(4,)], [[-1, 0, 1, 2]]),
    "roll back": (lambda w: w.roll(-1, 0), [(4,)], [[0, 1, 2, -1]]),
    "transpose": (lambda w: w.transpose(0, 1), [(3, 4)], [[3, 4, 5, 6], [0, 1, 2]]),
    "t": (lambda w: w.t(), [(3, 4)], [[3, 4, 5, 6], [0, 1, 2]]),
    "permute": (lambda w: w.permute(2, 0, 1), [(2, 3, 2)], [[5, 6], [0, 1], [2, 3, 4]]),
    "unsqueeze": (lambda w: w[:, None], [(3,)], [[0, 1, 2], None]),
    "squeeze": (lambda w: w.squeeze(1), [(3, 1)], [[0, 1, 2]]),
    # Reshaping
    "merge, the first dimension may go": (
        lambda w: w.flatten(), [(2, 3)], [[0, 0, 0, 1, 1, 1]],
    ),
    "split off columns": (lambda w: w.view(2, -1), [(4,)], [None, [0, 1]]),
    "split off rows": (lambda w: w.view(-1, 2), [(4,)], [[0, 1], None]),
    "split and merge in another order": (
        lambda w: w.view(-1, 2).t().reshape(-1), [(4,)], [[0, 1, 0, 1]],
    ),
    "written sizes": (lambda w: w.view(2, 2), [(4,)], [None, None]),
    "unflatten": (lambda w: w.unflatten(1, (-1, 2)), [(3, 4)], [[0, 1, 2], [3, 4], None]),
    # Joining
    "cat": (lambda v, w: torch.cat([v, w]), [(2,), (3,)], [[0, 1, 2, 3, 4]]),
    "cat of one twice": (lambda w: torch.cat([w, w.flip(0)]), [(3,)], [[0, 1, 2, 2, 1, 0]]),
    "cat with a constant": (
        lambda w: torch.cat([torch.zeros(1), w]), [(3,)], [[-1, 0, 1, 2]],
    ),
    "cat the other way": (
        lambda v, w: torch.cat([v, w], 1), [(2, 1), (2, 2)], [[0, 1], [-1, 2, 3]],
    ),
    "stack": (lambda v, w: torch.stack([v, w], 1), [(3,), (3,)], [[0, 1, 2], None]),
    "repeat": (lambda w: w.repeat(2), [(3,)], [[0, 1, 2, 0, 1, 2]]),
    "expand": (lambda w: w.expand(5, -1), [(3,)], [None, [0, 1, 2]]),
    "pad": (lambda w: F.pad(w, (1, 2)), [(3,)], [[-1, 0, 1, 2, -1, -1]]),
    # Cutting
    "select": (lambda w: w[1], [(4, 3)], [[2, 3, 4]]),
    "a range from the end on": (lambda w: w[1:], [(4,)], [[0, 1, 2]]),
    "a range up to a number": (lambda w: w[:2], [(4,)], [None]),
    "narrow": (lambda w: w.narrow(0, 0, 2), [(4,)], [None]),
    "every second": (lambda w: w[::2], [(4,)], [None]),
    "gated": (lambda w: F.glu(w, 0), [(4,)], [[0, 1]]),
    "index": (lambda w: w[torch.tensor([0, 2])], [(3, 2)], [None, [0, 1]]),
    "embedding": (lambda w: F.embedding(torch.tensor([1, 0, 1]), w), [(3, 2)], [None, [0, 1]]),
    # Computing
    "relu": (lambda w: w.relu(), [(3,)], [[0, 1, 2]]),
    "broadcast": (lambda v, w: v + w, [(4,), (3, 4)], [[4, 5, 6], [0, 1, 2, 3]]),
    "with a constant": (lambda w: w + torch.ones(3), [(3,)], [None]),
    "with a number": (lambda w: w + 1, [(3,)], [[0, 1, 2]]),
    "where": (lambda v, w: torch.where(v > 0, v, w), [(3,), (3,)], [[0, 1, 2]]),
    "sum": (lambda w: w.sum(1), [(3, 4)], [[0, 1, 2]]),
    "mean, kept": (lambda w: w.mean(0, keepdim=True), [(3, 2)], [None, [3, 4]]),
    "softmax": (lambda w: w.softmax(0), [(3,)], [[0, 1, 2]]),
    "largest": (lambda w: w.max(1).values, [(3, 2)], [[0, 1, 2]]),
    "running sum": (lambda w: w.cumsum(0), [(3, 2)], [None, [0, 1]]),
    "prelu": (F.prelu, [(2, 3), (3,)], [[0, 1], [2, 3, 4]]),
    # Products
    "matmul": (lambda v, w: v @ w, [(3, 4), (4, 2)], [[0, 1, 2], [7, 8]]),
    "linear": (F.linear, [(2, 3), (4, 3), (4,)], [[0, 1], [5, 6, 7, 8]]),
    "einsum": (
        lambda v, w: torch.einsum("ab,cb->ca", v, w), [(3, 4), (2, 4)], [[7, 8], [0, 1, 2]],
    ),
    "bmm": (torch.bmm, [(2, 3, 2), (2, 2, 3)], [[0, 1], [2, 3, 4], [7, 8, 9]]),
    "baddbmm": (
        torch.baddbmm, [(2, 3, 3), (2, 3, 2), (2, 2, 3)], [[0, 1], [2, 3, 4], [5, 6, 7]],
    ),
    # Convolutions
    "conv": (F.conv1d, [(2, 3, 4), (4, 3, 3)], [[0, 1], [5, 6, 7, 8], None]),
    "conv of kernel size 1": (
        F.conv1d, [(2, 3, 4), (2, 3, 1)], [[0, 1], [9, 10], [5, 6, 7, 8]],
    ),
    "transposed conv": (F.conv_transpose1d, [(2, 3, 4), (3, 2, 3)], [[0, 1], [5, 6], None]),
    "depthwise conv": (
        lambda x, w: F.conv1d(x, w, groups=x.shape[1]), [(2, 3, 4), (3, 1, 3)],
        [[0, 1], [2, 3, 4], None],
    ),
    "pool": (lambda w: F.max_pool1d(w, 2), [(2, 3, 4)], [[0, 1], [2, 3, 4], None]),
    "pixel shuffle": (
        lambda w: F.pixel_shuffle(w, 2), [(1, 8, 2, 2)], [None, [0, 1], None, None],
    ),
    "pixel unshuffle": (
        lambda w: F.pixel_unshuffle(w, 2), [(1, 2, 2, 2)],
        [None, [0, 0, 0, 0, 1, 1, 1, 1], None, None],
    ),
    "unfold": (
        lambda w: F.unfold(w, 2), [(1, 2, 3, 3)], [None, [0, 0, 0, 0, 1, 1, 1, 1], None],
    ),
    # Norms
    "batch norm": (
        lambda x, w: F.batch_norm(x, torch.zeros(3), torch.ones(3), w), [(2, 3), (3,)],
        [[0, 1], None],
    ),
    "group norm": (lambda x, w: F.group_norm(x, 1, w), [(2, 3), (3,)], [[0, 1], [2, 3, 4]]),
}  # fmt: skip


@pytest.mark.parametrize("name", _ONE)
def test_layout_worked_out_by_hand(name: str) -> None:
    function, shapes, expected = _ONE[name]

    assert layouts(function, *shapes) == [expected]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        pytest.param(lambda w: w.chunk(2), [[[0, 1]], [[0, 1]]], id="chunk"),
        pytest.param(lambda w: w.tensor_split(2), [[[0, 1]], [[0, 1]]], id="tensor_split"),
        pytest.param(lambda w: w.split(2), [[None], [None]], id="a written size"),
        pytest.param(lambda w: w.split([1, 3]), [[None], [None]], id="written sizes"),
        pytest.param(
            lambda w: w.split(w.shape[0] // 2), [[[0, 1]], [[0, 1]]], id="a computed size"
        ),
        pytest.param(lambda w: w.unbind(), [[], [], [], []], id="unbind"),
    ],
)
def test_pieces_of_four_positions(
    function: Callable[[Tensor], tuple[Tensor, ...]], expected: list[Expected]
) -> None:
    assert layouts(function, (4,)) == expected


def test_a_grouped_convolution_keeps_its_groups_equal() -> None:
    def grouped(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv1d(x, weight, groups=2)

    model = Computed(grouped, [(2, 4, 3), (6, 2, 1)])
    graph = trace(model, torch.zeros(1), shrink_outputs=True)
    inputs, outputs = (g for g in graph.groups if g.rows is not None)

    assert [None if g.rows is None else g.rows.tolist() for g in (inputs, outputs)] == [
        [0, 0, 1, 1],
        [0, 0, 0, 1, 1, 1],
    ]
    inner = graph.layouts["given.1"].inner
    assert inner is not None
    assert (inner - inputs.first).tolist() == [[0, 1]] * 3 + [[2, 3]] * 3


def test_attention_shares_heads_and_contracts_the_size_of_keys() -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, scale=0.5)

    shapes = [(1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 3)]

    # Heads 0 1, queries 2 3 4, size of queries 5 6 7 8, keys 9..13, size of values 14 15 16.
    assert layouts(attend, *shapes) == [[None, [0, 1], [2, 3, 4], [14, 15, 16]]]


def test_writing_into_a_part_keeps_the_positions_before_it() -> None:
    def write(v: Tensor, w: Tensor) -> Tensor:
        out = v * 1
        out[2:] = w
        return out

    # The cut at position 2 is written: 0 and 1 stay; v 2 3 and w 0 1 go together.
    assert layouts(write, (4,), (2,)) == [[[-1, -1, 0, 1]]]

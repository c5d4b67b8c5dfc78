"""The check that knows neither tool: what survives is found by value."""

from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.zoolib.build import Built
from benchmarks.zoolib.rival import difference, halves, unique
from sentei.graph import trace
from sentei.surgery import apply, plan_removal


def normed() -> Built:
    network = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 2)).eval()
    return unique(Built(model=network, inputs=(torch.randn(3, 4),)))


def pruned_by_hand(built: Built, keep: list[int]) -> nn.Module:
    parts: Any = built.model
    first, norm, act, last = parts
    small: Any = nn.Sequential(
        nn.Linear(4, len(keep)), nn.LayerNorm(len(keep)), act, nn.Linear(len(keep), 2)
    )
    small.double()
    with torch.no_grad():
        small[0].weight.copy_(first.weight[keep])
        small[0].bias.copy_(first.bias[keep])
        small[1].weight.copy_(norm.weight[keep])
        small[1].bias.copy_(norm.bias[keep])
        small[3].weight.copy_(last.weight[:, keep])
        small[3].bias.copy_(last.bias)
    return small


def test_a_network_pruned_by_hand_is_right() -> None:
    built = normed()
    small = pruned_by_hand(built, [0, 2, 5])
    assert difference(built.model, small, built.inputs) < 1e-12


def test_swapped_channels_are_found() -> None:
    built = normed()
    small: Any = pruned_by_hand(built, [0, 2, 5])
    with torch.no_grad():
        small[3].weight.copy_(small[3].weight[:, [1, 0, 2]])
    assert difference(built.model, small, built.inputs) > 1e-3


def test_sentei_agrees_with_a_network_pruned_by_hand() -> None:
    built = normed()
    graph = trace(built.model, built.inputs)
    small = apply(plan_removal(graph, {graph.groups[0].name: [1, 3, 4]}), built.model)
    expected = pruned_by_hand(built, [0, 2, 5])(*built.inputs)
    assert torch.allclose(small(*built.inputs), expected, rtol=1e-12)


def test_every_weight_occurs_once() -> None:
    values = torch.cat([p.flatten() for p in normed().model.parameters()])
    assert values.unique().numel() == values.numel()


@pytest.mark.parametrize(("width", "half"), [(6, 3), (5, 2), (2, 1)])
def test_half_of_a_group_is_kept_but_never_none(width: int, half: int) -> None:
    network = nn.Sequential(nn.Linear(4, width), nn.Linear(width, 2))
    assert halves(trace(network, torch.zeros(1, 4))).tolist() == [half]

"""Buffers of indices: followed, renumbered when channels go, and frozen where they cannot be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sentei.errors import PlanError
from sentei.graph import trace
from sentei.surgery import apply, plan_removal, verify
from sentei.surgery.checkpoint import load_pretrained, save_pretrained
from tests.support.compare import assert_same, some_removal
from tests.support.nets import IndexNet, example, fill

INPUTS = example(2, 3, 5, 5)


class Picking(nn.Module):
    """Six channels, some of them picked by ``function``, which may read the buffers."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.first, self.second = nn.Conv2d(3, 6, 1), nn.LazyConv2d(4, 1)
        self.register_buffer("order", torch.tensor([3, 0, 5, 1]))
        self.register_buffer("mask", torch.tensor([True, False, True, True, False, True]))
        self.plain = torch.tensor([3, 0, 5, 1])

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.function(self, self.first(x)))


def picking(function: Callable[[Any, Tensor], Tensor]) -> nn.Module:
    model = Picking(function)
    with torch.no_grad():
        model(INPUTS.float())
    return fill(model)


def test_indices_are_renumbered_by_hand() -> None:
    # Source channels 1 and 4 go: 0 2 3 5 become 0 1 2 3, and the order 4 0 2 5 1 3 is left with
    # 0 2 5 3. The chosen positions 5 0 1 1 of that order were channels 3 4 0 0: 4 is gone.
    model = fill(IndexNet())
    graph = trace(model, INPUTS)
    groups = {int(c): (g.name, int(k)) for g in graph.groups for k, c in enumerate(of_first(g))}
    removed: dict[str, list[int]] = {}
    for channel in (1, 4):
        name, index = groups[channel]
        removed.setdefault(name, []).append(index)

    small = apply(plan_removal(graph, removed), model)
    by_hand = IndexNet(4, order=(0, 1, 3, 2), chosen=(3, 0, 0)).double().eval()
    cuts = {"conv1.weight": (0, [0, 2, 3, 5]), "conv1.bias": (0, [0, 2, 3, 5]),
            "conv2.weight": (1, [1, 2, 3, 5]), "conv3.weight": (1, [0, 2, 3])}  # fmt: skip
    for name, parameter in by_hand.named_parameters():
        dim, stay = cuts.get(name, (0, list(range(4))))
        parameter.data = model.get_parameter(name).data.index_select(dim, torch.tensor(stay))

    assert small.get_buffer("order").tolist() == [0, 1, 3, 2]
    assert [i % 4 for i in small.get_buffer("chosen").tolist()] == [3, 0, 0]
    assert small.get_buffer("chosen").dtype is torch.int32
    assert_same(small, by_hand, INPUTS)


def of_first(group: Any) -> list[int]:  # noqa: ANN401 - a Group
    """Return which channels of the first convolution a group owns, in its order."""
    (member,) = [m for m in group.members if m.tensor == "conv1.weight"]
    return [member.channels.tolist().index(k) for k in range(group.width)]


FOLLOWED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "brackets": lambda m, x: x[:, m.order],
    "index_select": lambda m, x: torch.index_select(x, 1, m.order),
    "a copy elsewhere": lambda m, x: x[:, m.order.to(x.device).int()],
    "twice": lambda m, x: x[:, m.order] + x.relu()[:, m.order],
    "with its own length": lambda m, x: x[:, m.order] * torch.ones(m.order.shape[0], 1, 1),
    "a mask": lambda m, x: x[:, m.mask],
    "a mask twice": lambda m, x: x[:, m.mask] + x.relu()[:, m.mask],
}


@pytest.mark.parametrize("form", FOLLOWED)
@pytest.mark.parametrize("in_place", [False, True])
def test_picked_channels_can_go(form: str, in_place: bool) -> None:
    model = picking(FOLLOWED[form])
    graph = trace(model, INPUTS)
    plan = plan_removal(graph, some_removal(graph))
    dense = picking(FOLLOWED[form])

    small = apply(plan, model, in_place=in_place)

    assert small.get_parameter("first.bias").shape[0] < 6
    assert small.get_parameter("second.weight").shape[1] < 4
    assert verify(dense, small, plan, INPUTS).output_error < 1e-12


def test_a_removal_beside_the_picked_channels_renumbers_alone() -> None:
    model = picking(lambda m, x: x[:, m.order])
    graph = trace(model, INPUTS)
    # Channels 2 and 4 are picked by nobody; without 2, positions 3 and 5 are 2 and 4.
    plan = plan_removal(graph, {"first#2": [0]})

    small = apply(plan, model)

    assert small.get_buffer("order").tolist() == [2, 0, 4, 1]


KEPT: dict[str, tuple[Callable[[Any, Tensor], Tensor], str]] = {
    "a list in the code": (lambda _, x: x[:, [3, 0, 5, 1]], "register_buffer"),
    "a tensor made in forward": (
        lambda _, x: x[:, torch.arange(3, device=x.device).repeat(2)], "register_buffer",
    ),
    "a tensor that is no buffer": (lambda m, x: x[:, m.plain], "register_buffer"),
    "an index from the data": (
        lambda m, x: x[:, m.order + (x.amax() < 0).long()], "picked by an index tensor in",
    ),
    "a buffer also computed with": (
        lambda m, x: x[:, m.order] * m.order[0], "order picks its positions and is read as numbers",
    ),
    "a buffer also taken out of torch": (
        lambda m, x: x[:, m.order] * m.order.tolist()[0], "is read as numbers too in",
    ),
    "a buffer of two dimensions": (
        lambda m, x: x[:, m.order] + x.flatten(2).repeat(1, 2, 1)[:, m.order].unflatten(2, (5, 5)),
        "one buffer of indices counts two different dimensions",
    ),
    "gather": (
        lambda m, x: x.gather(1, m.order[None, :, None, None].expand(2, -1, 5, 5)),
        "picked by an index tensor in",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", KEPT)
def test_what_an_index_picks_stays_if_the_index_cannot_follow(form: str) -> None:
    function, reason = KEPT[form]
    model = picking(function)

    graph = trace(model, INPUTS)

    assert graph.groups == ()
    assert reason in " ".join(graph.why("first.bias"))


def test_a_buffer_that_the_model_returns_keeps_its_numbers() -> None:
    class Net(IndexNet):
        def forward(self, x: Tensor) -> Any:  # noqa: ANN401
            return super().forward(x), self.order

    assert "read as numbers too in the outputs" in " ".join(
        trace(fill(Net()), INPUTS).why("conv1.bias")
    )


def test_indices_that_changed_since_the_trace_are_refused() -> None:
    model = fill(IndexNet())
    graph = trace(model, INPUTS)
    plan = plan_removal(graph, some_removal(graph))
    model.order.copy_(model.order.flip(0))

    with pytest.raises(PlanError, match="order: this buffer of indices holds other numbers"):
        apply(plan, model)

    assert model.conv1.out_channels == 6


def test_renumbered_indices_survive_saving(tmp_path: Path) -> None:
    model = fill(IndexNet())
    graph = trace(model, INPUTS)
    small = apply(plan_removal(graph, some_removal(graph)), model)

    loaded = load_pretrained(save_pretrained(small, tmp_path, source=None), factory=IndexNet)

    assert torch.equal(loaded.get_buffer("order"), small.get_buffer("order"))
    assert torch.equal(loaded.get_buffer("chosen"), small.get_buffer("chosen"))
    assert_same(loaded, small, INPUTS, rtol=0, atol=0)


def test_a_pruned_network_can_be_pruned_again() -> None:
    model: nn.Module = fill(IndexNet(8, order=(7, 3, 5, 1, 0, 2, 4, 6), chosen=(0, 1, 2, 3)))
    for seed in range(2):
        graph = trace(model, INPUTS)
        plan = plan_removal(graph, some_removal(graph, ratio=0.3, seed=seed))
        small = apply(plan, model)
        assert verify(model, small, plan, INPUTS).output_error < 1e-12
        model = small

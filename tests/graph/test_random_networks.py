"""Random networks against brute force: what the graph offers can be removed, and is worth it."""

import copy

import numpy as np
import torch
from hypothesis import HealthCheck, event, given, settings
from torch import nn

from sentei.graph import Graph, Group, trace
from sentei.graph.capture import named_tensors
from sentei.surgery import apply, plan_removal, verify
from tests.graph.strategies import RandomNet, networks
from tests.support.compare import run, some_removal

# Building a network takes milliseconds, so the number of examples is the same in every profile.
_SLOW_TO_DRAW = [HealthCheck.too_slow, HealthCheck.data_too_large]
_few = settings(max_examples=60, suppress_health_check=_SLOW_TO_DRAW)


def zeroed(graph: Graph, model: nn.Module, removed: dict[str, list[int]]) -> nn.Module:
    """Return a copy of full size in which every slice of a removed channel is zero.

    A channel whose producer and consumers are zero contributes nothing, as long as channels
    only ever meet in weights.
    """
    result = copy.deepcopy(model)
    tensors = {name: tensor for name, tensor, _ in named_tensors(result)}
    with torch.no_grad():
        for member, indices in ((m, i) for n, i in removed.items() for m in graph[n].members):
            gone = torch.from_numpy(np.isin(member.channels, indices))
            tensor = tensors[member.tensor]
            if member.is_inner:
                tensor[gone] = 0
            else:
                tensor.index_fill_(member.dim, gone.nonzero()[:, 0], 0)
    return result


def singles(group: Group) -> list[list[int]]:
    """Return the smallest removals of a group: every channel by itself, or one of every row."""
    if group.rows is None:
        return [[channel] for channel in range(group.width)] if group.width > 1 else []
    rows = [np.flatnonzero(group.rows == row) for row in range(group.num_rows)]
    each = [[int(row[k]) for row in rows] for k in range(len(rows[0]))]
    return each if len(each) > 1 else []


def producers(graph: Graph) -> tuple[int, int]:
    """Return how many rows of weights can be removed, and how many there are."""
    rows = free = 0
    for value in graph.recording.values:
        if value.kind != "param" or len(value.shape) < 2:
            continue
        rows += value.shape[0]
        layout = graph.layouts.get(value.name)
        own = layout.dims[0] if layout is not None else None
        free += 0 if own is None else int((own >= 0).sum())
    return free, rows


@_few
@given(networks())
def test_pruned_network_equals_masked_network(net: RandomNet) -> None:
    graph = trace(net.model, net.inputs)
    plan = plan_removal(graph, some_removal(graph, seed=len(net.operators)))

    small = apply(plan, net.model)

    verify(net.model, small, plan, net.inputs)


@_few
@given(networks().filter(lambda net: not net.mixes))
def test_pruned_network_equals_network_with_zeroed_weights(net: RandomNet) -> None:
    graph = trace(net.model, net.inputs)
    removed = some_removal(graph, seed=len(net.operators))

    small = apply(plan_removal(graph, removed), net.model)

    torch.testing.assert_close(
        run(small, net.inputs),
        run(zeroed(graph, net.model, removed), net.inputs),
        rtol=1e-9,
        atol=1e-9,
    )


@_few
@given(networks(most=5))
def test_every_single_channel_can_go_and_the_output_keeps_its_shape(net: RandomNet) -> None:
    graph = trace(net.model, net.inputs)
    expected = [tuple(out.shape) for out in net.model(net.inputs)]
    free, rows = producers(graph)
    event(f"rows of weights that can be removed: {10 * free // max(rows, 1)}0 %")

    for group in graph.groups:
        for removed in singles(group):
            small = apply(plan_removal(graph, {group.name: removed}), net.model)
            assert [tuple(out.shape) for out in small(net.inputs)] == expected


@_few
@given(networks(most=5))
def test_tracing_changes_neither_the_network_nor_its_random_state(net: RandomNet) -> None:
    before = {name: tensor.clone() for name, tensor, _ in named_tensors(net.model)}
    numbers = {id(m): dict(vars(m)) for m in net.model.modules()}
    state = torch.get_rng_state()

    trace(net.model, net.inputs)

    torch.testing.assert_close(dict(net.model.state_dict()), before, rtol=0, atol=0)
    assert all(vars(m) == numbers[id(m)] for m in net.model.modules())
    assert torch.equal(torch.get_rng_state(), state)


@_few
@given(networks(most=5))
def test_tracing_twice_gives_the_same_graph(net: RandomNet) -> None:
    first, second = (trace(net.model, net.inputs) for _ in range(2))

    assert str(first) == str(second)
    assert first.frozen == second.frozen

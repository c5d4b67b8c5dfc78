"""Watching points: against hooks, explicit gates, and any split into batches."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sentei.criteria import Evidence
from sentei.criteria.watch import (
    Reading,
    mean_over_points,
    sum_over_images,
    watch,
    watch_gates,
)
from sentei.errors import PruningError, TraceError
from sentei.graph import Graph, trace
from sentei.graph.points import points
from tests.support import nets
from tests.support.compare import tensors

NETS = (
    "plain", "flatten", "depthwise", "grouped", "residual", "dense", "squeeze-excite", "pad",
    "transposed 2d", "shuffle", "attention", "multihead", "layer norm", "twice", "lstm",
)  # fmt: skip


def mean_squares(reading: Reading) -> Tensor:
    return reading.rows.square().sum(2) / reading.num_elements


def loss_of(outputs: Tensor) -> Tensor:
    """A sum over images whose gradient is neither uniform nor zero."""
    weights = torch.linspace(-1, 2, outputs[0].numel(), dtype=torch.float64)
    return outputs.flatten(1).square() @ weights


@dataclass(frozen=True, kw_only=True)
class Traced:
    graph: Graph
    model: nn.Module
    images: Tensor


def traced(name: str, count: int = 5) -> Traced:
    case = nets.case(name)
    images = nets.example(count, *case.inputs.shape[1:], seed=4)
    return Traced(graph=trace(case.model, case.inputs), model=case.model, images=images)


def activity(net: Traced, batches: Iterable[Tensor]) -> Tensor:
    with sum_over_images(net.graph, net.model, points(net.graph), mean_squares) as sums:
        for batch in batches:
            net.model(batch)
    return sums["total"]


def gates(net: Traced, batches: Iterable[Tensor]) -> Tensor:
    found: list[Tensor] = []
    with watch_gates(net.graph, net.model, points(net.graph), found.append):
        for batch in batches:
            loss_of(net.model(batch)).sum().backward()
    return torch.cat(found)


@pytest.mark.parametrize("look", [activity, gates])
@pytest.mark.parametrize("name", NETS)
@settings(max_examples=3, deadline=None)
@given(cuts=st.sets(st.integers(1, 4)))
def test_any_split_into_batches_gives_the_same(
    name: str, look: Callable[[Traced, Iterable[Tensor]], Tensor], cuts: set[int]
) -> None:
    net = traced(name)

    split = look(net, net.images.tensor_split(sorted(cuts)))

    torch.testing.assert_close(split, look(net, [net.images]), rtol=1e-10, atol=1e-12)


def test_points_hold_what_pre_hooks_of_their_modules_see() -> None:
    net = traced("residual")
    inputs: dict[str, Tensor] = {}
    handles = [
        net.model.get_submodule(name).register_forward_pre_hook(
            lambda _, x, n=name: inputs.update({n: x[0].clone()})
        )
        for name in ("conv1", "conv2", "linear")
    ]
    net.model(net.images)
    for handle in handles:
        handle.remove()
    found: dict[str, Reading] = {}

    with watch(
        net.graph,
        net.model,
        points(net.graph),
        read=lambda r: found.update({r.point.module: r}),
    ):
        net.model(net.images)

    assert found.keys() == inputs.keys()
    for name, reading in found.items():
        expected = inputs[name].flatten(2) if name != "linear" else inputs[name][:, :, None]
        torch.testing.assert_close(reading.rows, expected, rtol=0, atol=0)
        assert torch.equal(reading.output, net.model.get_submodule(name)(inputs[name]))


def test_mean_over_points_of_a_stream_counts_every_reader_once() -> None:
    net = traced("residual")
    total = activity(net, [net.images])
    evidence = Evidence(
        graph=net.graph, parameters={}, sums={"total": total}, num_images=len(net.images)
    )

    found = mean_over_points(evidence, points(net.graph), "no reader")

    model = net.model
    first = torch.relu(model.get_submodule("stem")(net.images))
    last: list[Tensor] = []
    model.get_submodule("linear").register_forward_pre_hook(lambda _, x: last.append(x[0]))
    model(net.images)
    expected = (first.square().mean((0, 2, 3)) + last[0].square().mean(0)) / 2
    np.testing.assert_allclose(found[:6], expected.detach().numpy(), rtol=1e-12)


def test_group_without_a_reader_is_refused() -> None:
    net = traced("plain")
    evidence = Evidence(graph=net.graph, parameters={}, sums={"total": torch.zeros(14)})

    with pytest.raises(PruningError, match="group conv2: nothing reads it"):
        mean_over_points(evidence, points(net.graph)[:1], "nothing reads it")


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("plain", {"conv1": ["conv2"], "conv2": ["linear"]}),
        ("residual", {"stem": ["conv1", "linear"], "conv1": ["conv2"]}),
        ("depthwise", {"expand": ["project"]}),
        ("flatten", {"conv": ["linear"]}),
    ],
)
def test_gradients_of_gates_are_those_of_gates_in_the_forward_pass(
    name: str, inputs: dict[str, list[str]]
) -> None:
    net = traced(name)
    found = gates(net, [net.images])

    for group, readers in inputs.items():
        own = net.graph[group]
        gate = torch.ones(len(net.images), own.width, dtype=torch.float64, requires_grad=True)

        def shut(module: nn.Module, args: tuple[Tensor, ...], gate: Tensor = gate) -> Tensor:
            (x,) = args
            share = gate.repeat_interleave(x.shape[1] // gate.shape[1], dim=1)
            return x * share.reshape(*share.shape, *[1] * (x.dim() - 2))

        handles = [net.model.get_submodule(r).register_forward_pre_hook(shut) for r in readers]
        (expected,) = torch.autograd.grad(loss_of(net.model(net.images)).sum(), gate)
        for handle in handles:
            handle.remove()
        torch.testing.assert_close(
            found[:, own.first : own.first + own.width], expected, rtol=1e-10, atol=1e-12
        )


def test_watching_changes_neither_outputs_nor_gradients() -> None:
    net = traced("residual")
    loss_of(net.model(net.images)).sum().backward()
    expected = [p.grad for p in net.model.parameters()]
    net.model.zero_grad()

    gates(net, [net.images])

    found = [p.grad for p in net.model.parameters()]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_hooks_are_gone_after_a_run_that_fails() -> None:
    net = traced("plain")

    with pytest.raises(RuntimeError, match="expected input"):
        activity(net, [nets.example(2, 4, 8, 8)])

    assert not net.model._forward_hooks
    assert not net.model._forward_pre_hooks
    assert net.model(net.images).shape == (5, 4)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 1)
        self.conv2 = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return self.conv2(x.relu() if x.shape[-1] > 4 else x)


def test_another_path_than_the_traced_one_is_refused() -> None:
    model = nets.fill(Branching())
    graph = trace(model, nets.example(1, 3, 6, 6))

    with (
        watch(graph, model, points(graph), read=lambda _: None),
        pytest.raises(TraceError, match="ran differently than when it was traced: call 1"),
    ):
        model(nets.example(1, 3, 4, 4))


def test_activations_that_are_not_finite_are_refused() -> None:
    net = traced("plain")
    net.images[0, 0, 0, 0] = torch.nan

    with pytest.raises(
        PruningError, match=r"conv2: conv2d reads \d+ of 1920 activations that are NaN"
    ):
        activity(net, [net.images])


class SequenceFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(3, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.linear1(x.transpose(0, 1)).relu()).transpose(0, 1)


def test_first_dimension_that_counts_no_images_is_refused() -> None:
    model = nets.fill(SequenceFirst())
    graph = trace(model, nets.example(1, 4, 3))
    net = Traced(graph=graph, model=model, images=nets.example(2, 4, 3))

    with pytest.raises(
        PruningError, match="linear2: linear reads 4 samples of 2 images, and 4 of 1"
    ):
        activity(net, [net.images])


def test_channels_with_unequal_positions_count_what_they_own() -> None:
    class Unequal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 3)
            self.linear = nn.Linear(2 * 9 + 2, 2)

        def forward(self, x: Tensor) -> Tensor:
            maps = [self.conv1(x).flatten(1), self.conv2(x).flatten(1)]
            return self.linear(torch.cat(maps, dim=1))

    model = nets.fill(Unequal())
    x = nets.example(3, 1, 3, 3)
    net = Traced(graph=trace(model, x), model=model, images=x)

    found = activity(net, [x])

    weights = tensors(model)
    small = (x * weights["conv1.weight"][:, 0]) + weights["conv1.bias"][:, None, None]
    large = nn.functional.conv2d(x, weights["conv2.weight"], weights["conv2.bias"])
    expected = torch.cat([small.square().mean((2, 3)), large.square().mean((2, 3))], dim=1).sum(0)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=0)


class Asserting(nn.Module):
    """Has calls that return no tensor, as networks of timm have in front of their norms."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        torch._assert(x.ndim == 4, "four dimensions")
        torch._assert((x == x).all(), "numbers")
        return self.last(x.relu()).mean((2, 3))


def test_calls_that_return_no_tensor_are_passed_over() -> None:
    model = Asserting().eval()
    images = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    graph = trace(model, images)
    errors: list[Tensor] = []

    def keep(_: Reading, error: Tensor) -> None:
        errors.append(error)

    with watch(graph, model, points(graph), read_error=keep):
        model(images).square().sum().backward()

    assert [list(error.shape) for error in errors] == [[2, 2, 4, 4]]

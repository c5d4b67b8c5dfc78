"""Criteria on gradients: by hand, and against explicit gates that autograd differentiates."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentei.criteria import score
from sentei.criteria.reduce import Reduction
from sentei.criteria.taylor import Taylor
from sentei.errors import PruningError
from sentei.graph import trace
from tests.support.nets import (
    DepthwiseNet,
    FlattenNet,
    GatedNet,
    PlainNet,
    ResidualNet,
    TransposedNet,
    example,
    fill,
)


def mean_output(outputs: Tensor, labels: Tensor) -> Tensor:
    """A loss whose gradient is neither uniform nor zero."""
    weights = torch.linspace(-1, 2, outputs[0].numel(), dtype=torch.float64)
    return (outputs.flatten(1).square() @ weights).mean()


def chain(first: list[float], second: list[float]) -> nn.Sequential:
    net = nn.Sequential(nn.Linear(1, 3, bias=False), nn.Linear(3, 1, bias=False)).double()
    with torch.no_grad():
        net.get_parameter("0.weight").copy_(torch.tensor(first)[:, None])
        net.get_parameter("1.weight").copy_(torch.tensor(second)[None])
    return net


@pytest.mark.parametrize(("reduction", "factor"), [("mean", 1), ("sum", 2), ("max", 1)])
def test_taylor_squares_the_change_of_a_linear_loss(reduction: Reduction, factor: int) -> None:
    # y = sum of a b x; the mean of x is 2, so a channel adds 2 a b, seen from both sides.
    net = chain([1.0, -2.0, 0.5], [3.0, 1.0, 0.0])
    batches = [(torch.tensor([[1.0], [3.0]], dtype=torch.float64), torch.zeros(2))]

    found = score(
        trace(net, batches[0][0]),
        Taylor(reduction=reduction),
        batches=batches,
        loss=lambda outputs, _: outputs.mean(),
    )

    expected = factor * np.array([36.0, 16.0, 0.0])
    np.testing.assert_allclose(found.by_group["0"], expected, rtol=1e-12)


def gate_gradient(model: nn.Module, layers: dict[str, int], images: Tensor, width: int) -> Tensor:
    """Return dL/dm for one mask m = 1 that multiplies the outputs of ``layers``.

    Args:
        model: Put back as it was.
        layers: Name -> dimension of the channels in its output.
        images: The batch.
        width: Number of channels; outputs with more hold them several times over.
    """
    gate = torch.ones(width, dtype=torch.float64, requires_grad=True)

    def hook(dim: int) -> Callable[[nn.Module, object, Tensor], Tensor]:
        def multiply(module: nn.Module, args: object, output: Tensor) -> Tensor:
            repeated = gate.repeat(output.shape[dim] // width)
            shape = [1] * output.dim()
            shape[dim] = -1
            return output * repeated.reshape(shape)

        return multiply

    handles = [model.get_submodule(n).register_forward_hook(hook(d)) for n, d in layers.items()]
    loss = mean_output(model(images), images)
    (gradient,) = torch.autograd.grad(loss, gate)
    for handle in handles:
        handle.remove()
    return gradient


@pytest.mark.parametrize(
    ("model", "shape", "group", "layers"),
    [
        (PlainNet(), (3, 8, 8), "conv1", {"bn1": 1}),
        (PlainNet(), (3, 8, 8), "conv2", {"bn2": 1}),
        (ResidualNet(), (3, 8, 8), "conv1", {"bn1": 1}),
        (DepthwiseNet(), (3, 8, 8), "expand", {"bn": 1}),
        (FlattenNet(), (3, 3, 3), "conv", {"conv": 1}),
        (GatedNet(), (2, 3), "linear1", {"linear1": 2}),
    ],
    ids=["after norm", "with bias", "in a block", "depthwise", "no norm", "two slices"],
)
def test_gate_score_is_the_squared_derivative_by_a_gate(
    model: nn.Module, shape: tuple[int, ...], group: str, layers: dict[str, int]
) -> None:
    images = example(5, *shape)
    graph = trace(fill(model), images[:1])

    found = score(
        graph, "taylor-gate", batches=[(images, torch.zeros(5))], loss=mean_output
    ).by_group[group]

    expected = gate_gradient(model, layers, images, graph[group].width) ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-9)


class PlainTransposed(nn.Module):
    """Transposed convolution, bias, no norm; then a matrix from the right."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2, 5, 3)
        self.matrix = nn.Parameter(torch.ones(5, 6))
        self.last = nn.Linear(6, 3)
        self.probe = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.up(x)).mean((2, 3))
        return self.last(self.probe(x @ self.matrix))


@pytest.mark.parametrize(("place", "layer"), [(0, "up"), (1, "probe")])
def test_outputs_of_transposed_and_right_hand_weights_are_found(place: int, layer: str) -> None:
    model = fill(PlainTransposed())
    images = example(4, 2, 3, 3)
    graph = trace(model, images[:1])
    group = graph.groups[place]

    found = score(graph, "taylor-gate", batches=[(images, torch.zeros(4))], loss=mean_output)

    expected = gate_gradient(model, {layer: 1}, images, group.width) ** 2
    np.testing.assert_allclose(found.by_group[group.name], expected, rtol=1e-9)


def test_gates_after_all_norms_of_a_group_are_one_mask() -> None:
    class TwoNorms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
            self.conv2, self.bn2 = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
            self.head = nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.tanh(self.bn1(self.conv1(x)) + self.bn2(self.conv2(x))))

    model, images = fill(TwoNorms()), example(3, 3, 4, 4)
    graph = trace(model, images[:1])

    found = score(graph, "taylor-gate", batches=[(images, torch.zeros(3))], loss=mean_output)

    expected = gate_gradient(model, {"bn1": 1, "bn2": 1}, images, 4) ** 2
    np.testing.assert_allclose(found.by_group["conv1"], expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["taylor", "taylor-gate"])
def test_channel_that_does_not_reach_the_loss_scores_zero(name: str) -> None:
    model = fill(TransposedNet(2))
    with torch.no_grad():
        model.get_parameter("up2.weight")[2] = 0
    images = example(3, 2, 3, 3)

    graph = trace(model, images[:1])

    found = score(graph, name, batches=[(images, torch.zeros(3))], loss=mean_output)

    (values,) = found.by_group.values()
    assert np.flatnonzero(values == 0).tolist() == [2]


def test_cross_entropy_is_the_default_loss() -> None:
    graph = trace(fill(PlainNet()), example(1, 3, 8, 8))
    batches = [(example(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 0, 1]))]

    found = score(graph, "taylor", batches=batches)

    expected = score(graph, "taylor", batches=batches, loss=nn.functional.cross_entropy)
    assert found.by_group["conv1"].tolist() == expected.by_group["conv1"].tolist()


@pytest.mark.parametrize("name", ["taylor", "taylor-gate"])
def test_missing_batches_are_refused_with_a_way_out(name: str) -> None:
    graph = trace(fill(PlainNet()), example(1, 3, 8, 8))

    with pytest.raises(PruningError, match=f"'{name}' needs labelled images; .* 'l1'"):
        score(graph, name)

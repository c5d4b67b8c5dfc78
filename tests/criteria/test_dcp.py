"""DCP: by hand, and against the gradient that autograd takes at the empty layer."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentei.criteria import score
from sentei.criteria.dcp import Dcp
from sentei.graph import trace
from tests.support import nets
from tests.support.small import FIRST, small_net

IMAGES = torch.eye(2, dtype=torch.float64)


def summed(outputs: Tensor, _labels: Tensor) -> Tensor:
    return outputs.sum(1).mean()


@pytest.mark.parametrize("size", [1, 2])
def test_score_is_the_norm_of_both_gradients_together(size: int) -> None:
    graph = trace(small_net(), IMAGES)
    batches = [(part, torch.zeros(len(part))) for part in IMAGES.split(size)]

    found = score(graph, Dcp(discrimination=0.5), batches=batches, loss=summed).by_group["0"]

    # The hidden features of both images, and what the second layer makes of them, bias aside.
    x = np.array(FIRST).T + 100.0
    y = x @ np.array([[-5.0, 0.0, 1.0], [1.0, 2.0, 1.0]]).T
    by_loss = np.tile(x.mean(0), (2, 1))  # of the sum of the outputs: every row the mean input
    gradient = -y.T @ x / (y**2).sum() + 0.5 * by_loss
    np.testing.assert_allclose(found, np.linalg.norm(gradient, axis=0), rtol=1e-12)


def empty_layer_gradient(net: nets.GroupedNet, images: Tensor) -> Tensor:
    """Return the derivative of the relative reconstruction error by the grouped weight, at zero."""
    conv = net.grouped
    seen: list[Tensor] = []
    handle = conv.register_forward_hook(lambda _m, args, _o: seen.append(args[0].detach()))
    net(images)
    handle.remove()
    weight = torch.zeros_like(conv.weight, requires_grad=True)

    def run(weight: Tensor) -> Tensor:
        return nn.functional.conv2d(
            seen[0], weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups
        )

    with torch.no_grad():
        target = run(conv.weight)
        square = (target - run(torch.zeros_like(conv.weight))).square().sum()
    error = (target - run(weight)).square().sum() / (2 * square)
    return torch.autograd.grad(error, weight)[0]


def test_reconstruction_begins_at_the_empty_layer_whatever_the_groups_of_a_convolution() -> None:
    net = nets.case("grouped")
    assert isinstance(net.model, nets.GroupedNet)
    graph = trace(net.model, net.inputs)

    found = score(
        graph,
        Dcp(discrimination=0.0),
        batches=[(net.inputs, torch.zeros(2))],
        loss=lambda y, _: y.mean(),
    ).by_group["enter"]

    gradient = empty_layer_gradient(net.model, net.inputs)
    groups = net.model.grouped.groups
    # Input channels of one group of the convolution after the other.
    expected = torch.cat([g.square().sum((0, 2, 3)) for g in gradient.chunk(groups)]).sqrt()
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-10)


@pytest.mark.parametrize("name", ["standardized", "transposed 2d", "attention", "shuffle", "tied"])
def test_readers_of_all_kinds_have_gradients(name: str) -> None:
    net = nets.case(name)

    found = score(
        trace(net.model, net.inputs),
        "dcp",
        batches=[(net.inputs, torch.zeros(len(net.inputs)))],
        loss=lambda outputs, _: outputs.square().mean(),
    )

    assert all((own >= 0).all() and (own > 0).any() for own in found.by_group.values())


def test_a_negative_weight_of_the_loss_is_refused() -> None:
    with pytest.raises(ValueError, match=r"discrimination=-1\.0; expected the weight of a loss"):
        Dcp(discrimination=-1.0)

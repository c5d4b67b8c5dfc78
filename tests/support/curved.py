"""Tiny networks whose loss has first and second derivatives by all weights."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tests.support.small import linear_net

IMAGES = torch.tensor([[1.0, 0.5], [0.0, -1.0], [2.0, 1.5]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 1])


def curved_net() -> nn.Sequential:
    """Return 2 - 3 - 2 features with a tanh, so that no second derivative is zero."""
    first, second = linear_net(
        [[0.5, -0.2], [0.1, 0.4], [-0.7, 0.3]], [[1.0, -0.5, 0.2], [0, 1, 2]]
    )
    net = nn.Sequential(first, nn.Tanh(), second).double()
    with torch.no_grad():
        net.get_parameter("0.bias").copy_(torch.tensor([0.3, -0.1, 0.2]))
        net.get_parameter("2.bias").copy_(torch.tensor([0.1, -0.4]))
    return net


# Flat: weight [3, 2], bias [3], weight [2, 3], bias [2]; the last bias goes with no channel.
OWNED = [[2 * c, 2 * c + 1, 6 + c, 9 + c, 12 + c] for c in range(3)]
UNOWNED = [15, 16]


def flat(net: nn.Module) -> Tensor:
    """Return all parameters of a network in one vector."""
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def flat_loss(net: nn.Module, images: Tensor, labels: Tensor, vector: Tensor) -> Tensor:
    """Return the mean cross entropy of the network with the parameters of a vector."""
    parameters = dict(net.named_parameters())
    parts = vector.split([p.numel() for p in parameters.values()])
    own = {k: v.view_as(parameters[k]) for k, v in zip(parameters, parts, strict=True)}
    return nn.functional.cross_entropy(functional_call(net, own, (images,)), labels)


NUMBERS = torch.tensor([[1.0], [3.0]], dtype=torch.float64)


def product_net() -> nn.Sequential:
    """Return y = sum of a b x over three channels, with ab = 3, -2, 0."""
    net = nn.Sequential(nn.Linear(1, 3, bias=False), nn.Linear(3, 1, bias=False)).double()
    with torch.no_grad():
        net.get_parameter("0.weight").copy_(torch.tensor([[1.0], [-2.0], [0.5]]))
        net.get_parameter("1.weight").copy_(torch.tensor([[3.0, 1.0, 0.0]]))
    return net

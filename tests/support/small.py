"""Networks of linear layers with weights one can add up by hand, and their scores."""

import torch
from torch import nn

from sentei.criteria import Criterion, score
from sentei.graph import trace
from tests.support.nets import example

FIRST = [[1.0, -2.0], [0.0, 0.5], [3.0, 4.0]]
SECOND = [[-5.0, 0.0, 1.0], [1.0, 2.0, 1.0]]


def linear_net(*weights: list[list[float]]) -> nn.Sequential:
    """Return linear layers with these weights, [out][in], and biases of 100; float64, eval."""
    net = nn.Sequential(*(nn.Linear(len(w[0]), len(w)) for w in weights)).double().eval()
    with torch.no_grad():
        for layer, weight in zip(net, weights, strict=True):
            assert isinstance(layer, nn.Linear)
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.fill_(100.0)
    return net


def small_net(*between: nn.Module) -> nn.Sequential:
    """Return the layers FIRST and SECOND with ``between`` between them."""
    first, second = linear_net(FIRST, SECOND)
    return nn.Sequential(first, *between, second).double().eval()


def scores(model: nn.Module, criterion: Criterion | str, *shape: int) -> dict[str, list[float]]:
    """Return the scores by group; ``shape`` is that of the inputs, (1, 2) by default."""
    graph = trace(model, example(*(shape or (1, 2))))
    return {name: own.tolist() for name, own in score(graph, criterion).by_group.items()}

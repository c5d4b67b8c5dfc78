"""Comparing networks by what they compute, and removals to compare them under."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sentei.graph import Graph, Group
from sentei.graph.capture import as_inputs, map_tensors, tensors_in


def run(model: nn.Module, inputs: Any) -> tuple[list[Tensor], list[Tensor]]:  # noqa: ANN401
    """Return all output tensors, and the gradients of the floating inputs.

    The gradient that enters is not uniform: it would hide permuted channels.
    """

    def prepare(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().clone()
        return tensor.requires_grad_() if tensor.is_floating_point() else tensor

    inputs = map_tensors(as_inputs(inputs), prepare)
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
    outputs = list(tensors_in(model(*args, **kwargs)))
    leaves = [t for t in tensors_in(inputs) if t.requires_grad]
    if not leaves:
        return outputs, []
    generator = torch.Generator().manual_seed(len(outputs))
    weights = [torch.randn(o.shape, generator=generator, dtype=torch.float64) for o in outputs]
    total = sum((o.double() * w).sum() for o, w in zip(outputs, weights, strict=True))
    assert isinstance(total, Tensor)
    return outputs, list(torch.autograd.grad(total, leaves))


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers by name, those that are not persistent too."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def assert_same(
    found: nn.Module,
    expected: nn.Module,
    inputs: Any,  # noqa: ANN401 - whatever the models take
    *,
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> None:
    """Assert that two networks agree in outputs and input gradients."""
    torch.testing.assert_close(run(found, inputs), run(expected, inputs), rtol=rtol, atol=atol)


def some_removal(graph: Graph, *, ratio: float = 0.5, seed: int = 0) -> dict[str, list[int]]:
    """Return a random removal of about ``ratio`` of every group, equally many of every row."""
    generator = np.random.default_rng(seed)
    return {g.name: _some_channels(g, ratio, generator) for g in graph.groups if g.width > 1}


def _some_channels(group: Group, ratio: float, generator: np.random.Generator) -> list[int]:
    rows = np.zeros(group.width, dtype=np.int64) if group.rows is None else group.rows
    removed: list[int] = []
    for row in range(group.num_rows):
        members = np.flatnonzero(rows == row)
        count = min(max(1, round(ratio * len(members))), len(members) - 1)
        removed += generator.choice(members, count, replace=False).tolist()
    return sorted(removed)

"""What timing and export share: the inputs of a forward pass, its batch, its mode, its device."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor, nn

from sentei.graph.capture import copied

Inputs: TypeAlias = tuple[Tensor, ...]
"""The positional arguments of a forward pass; dimension 0 of each is the batch."""


def as_inputs(example: Tensor | Inputs) -> Inputs:
    """Return the example as the tuple of positional arguments of ``forward``.

    Args:
        example: One tensor, or a tuple of tensors; dimension 0 of each is the batch, >= 1.

    Raises:
        TypeError: ``example`` is neither a tensor nor a tuple of tensors.
        ValueError: there is no tensor, a tensor has no batch, or the batches differ.
    """
    inputs: object = (example,) if isinstance(example, Tensor) else example
    if not isinstance(inputs, tuple) or not all(isinstance(x, Tensor) for x in inputs):
        raise TypeError(
            f"example is a {type(example).__name__}; expected a tensor, or a tuple of tensors that "
            f"are the positional arguments of forward"
        )
    batches = {x.shape[0] if x.ndim else 0 for x in inputs}
    if len(batches) != 1 or 0 in batches:
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs) or "none"
        raise ValueError(
            f"the tensors of the example have the shapes {shapes}; expected at least one tensor, "
            f"with the same batch size >= 1 in dimension 0 of each"
        )
    return tuple(x.detach() for x in inputs)


def batch_size_of(inputs: Inputs) -> int:
    """Return the number of samples in the inputs."""
    return inputs[0].shape[0]


def with_batch_size(inputs: Inputs, batch_size: int) -> Inputs:
    """Return inputs of ``batch_size`` samples, which repeat those of ``inputs`` in turn."""
    rows = torch.arange(batch_size) % batch_size_of(inputs)
    return tuple(x[rows.to(x.device)] for x in inputs)


def on_device(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the model if it is on the device, otherwise a copy of it that is."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    if all(tensor.device == device for tensor in tensors):
        return model
    return copied(model).to(device)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Hold the model in evaluation mode without gradients; then give each module its mode back.

    It is ``no_grad`` rather than ``inference_mode``: a tensor that the model caches during the
    pass must remain usable in training.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training

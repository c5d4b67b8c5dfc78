"""The sizes of one sample, from a run on a batch."""

from typing import Any

import torch
from torch import Tensor, nn

from sentei.errors import TraceError
from sentei.graph.capture import Recording, Value, as_inputs, capture, map_tensors

Shapes = list[tuple[int, ...]]


def one_sample_shapes(recording: Recording, model: nn.Module, inputs: Any) -> Shapes:  # noqa: ANN401
    """Return the sizes that every value of a recording has when the batch is one sample.

    A batch of one says it itself. Otherwise the model is captured once more on twice the batch,
    and every size, affine in the batch, is followed back to one sample. So what is computed once
    whatever the batch (a standardized weight, a table of positions) counts in full, and
    what is merged with the batch (windows, heads) counts by its share.

    Args:
        recording: What the model did on ``inputs``.
        model: The recorded model, in the mode it was recorded in.
        inputs: A tensor, a tuple of positional or a dict of keyword arguments. Every tensor as
            long in dimension 0 as the batch is taken to hold samples there.

    Raises:
        TraceError: The model does not do the same on twice the batch.
    """
    batch = recording.batch_size
    if batch <= 1:
        return [v.shape for v in recording.values]

    def double(tensor: Tensor) -> Tensor:
        is_batched = tensor.dim() > 0 and tensor.shape[0] == batch
        return torch.cat([tensor, tensor]) if is_batched else tensor

    advice = (
        f"trace it with a batch of one sample instead of {batch}, where the batch is dimension 0"
    )
    try:
        twice = capture(model, map_tensors(as_inputs(inputs), double))
    except TraceError as error:
        raise TraceError(
            f"the costs of one sample cannot be told: the model fails on a batch of {2 * batch}; "
            f"{advice}\n{error}"
        ) from error
    if not _is_same_run(recording, twice):
        raise TraceError(
            f"the costs of one sample cannot be told: on a batch of {2 * batch} the model runs "
            f"other operators than on {batch}, or it was changed since; {advice}"
        )
    return [
        tuple(_shrink(n, m, batch) for n, m in zip(one.shape, two.shape, strict=True))
        for one, two in zip(recording.values, twice.values, strict=True)
    ]


def _is_same_run(one: Recording, two: Recording) -> bool:
    return (
        [(op.name, op.outputs) for op in one.ops] == [(op.name, op.outputs) for op in two.ops]
        and len(one.values) == len(two.values)
        and all(_is_same_value(a, b) for a, b in zip(one.values, two.values, strict=True))
        and all(
            (m - n) % one.batch_size == 0
            for a, b in zip(one.values, two.values, strict=True)
            for n, m in zip(a.shape, b.shape, strict=True)
        )
    )


def _is_same_value(a: Value, b: Value) -> bool:
    if a.name:
        return a.name == b.name and a.shape == b.shape
    return len(a.shape) == len(b.shape)


def _shrink(size: int, doubled: int, batch: int) -> int:
    """Return a size, affine in the batch, at a batch of one."""
    return size - (doubled - size) // batch * (batch - 1)

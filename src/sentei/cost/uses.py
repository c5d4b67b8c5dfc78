"""How often the elements of each weight are multiplied: what one of them costs."""

from collections.abc import Iterator
from math import prod
from typing import Any

from torch import nn

from sentei.cost.operators import multiply_adds_of
from sentei.cost.sample import one_sample_shapes
from sentei.graph.capture import Op, Recording, Ref, Value, capture

_VIEWS = frozenset({"t", "transpose", "permute", "view", "detach", "unsqueeze", "squeeze"})


def weight_uses(model: nn.Module, inputs: Any) -> dict[str, int]:  # noqa: ANN401 - as trace takes them
    """Return the multiply-adds of one element of every weight of two or more dimensions.

    For one sample, by the first name of the parameter; a shared weight counts all its uses.

    Args:
        model: Any module.
        inputs: Example inputs, as :func:`sentei.measure` takes them.

    Raises:
        TraceError: The model fails on these inputs, or does other things on twice the batch.
    """
    recording = capture(model, inputs)
    shapes = one_sample_shapes(recording, model, inputs)
    found: dict[str, int] = {}
    for op in recording.ops:
        macs = sum(prod(shapes[v][d] for v, d in p) for p in multiply_adds_of(recording, op))
        for value in _weights(recording, op) if macs else ():
            found[value.name] = found.get(value.name, 0) + macs // prod(value.shape)
    return found


def _weights(recording: Recording, op: Op) -> Iterator[Value]:
    """Yield the parameters of two or more dimensions that an operator reads, through views."""
    for argument in op.args.values():
        source = argument
        while isinstance(source, Ref):
            value = recording.values[source.value]
            if value.kind == "param" and len(value.shape) > 1:
                yield value
            maker = recording.ops[value.producer] if value.producer >= 0 else None
            source = maker.args.get("self") if maker and maker.name in _VIEWS else None

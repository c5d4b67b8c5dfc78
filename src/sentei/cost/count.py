"""Count: the costs of a module as it is, from the sizes that its run shows."""

from dataclasses import dataclass
from math import prod
from typing import Any

from torch import nn

from sentei.cost.sample import Shapes, one_sample_shapes
from sentei.cost.terms import Term, terms_of
from sentei.graph.capture import capture


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The costs of a network; all are >= 0, larger is dearer.

    Attributes:
        macs: Multiply-adds of convolutions and matrix products in the forward pass of one sample.
        num_parameters: Elements of all parameters; a shared one counts once.
        weight_bytes: Bytes of all parameters and buffers.
        activation_bytes: Bytes of all tensors that operators allocate, for one sample.
        peak_activation_bytes: Largest number of bytes alive at once in the order of the run, for
            one sample, inputs included, parameters and buffers not.
    """

    macs: int
    num_parameters: int
    weight_bytes: int
    activation_bytes: int
    peak_activation_bytes: int


def measure(model: nn.Module, inputs: Any) -> Counts:  # noqa: ANN401 - as trace takes them
    """Return the costs of ``model`` for one sample, from the operators that really run.

    The model is not changed; it is run on stand-ins without data, in the mode it is in.

    Args:
        model: Any module.
        inputs: Example inputs: a tensor, a tuple (positional) or a dict (keyword arguments).
            Dimension 0 of the first tensor with two or more is the batch, of any size.

    Raises:
        TraceError: The model fails on these inputs, or does other things on twice the batch.
    """
    recording = capture(model, inputs)
    shapes = one_sample_shapes(recording, model, inputs)
    terms = terms_of(recording)
    sums = {name: sum(_value(t, shapes) for t in found) for name, found in terms.sums.items()}
    size = {value: _value(term, shapes) for value, term in terms.tensors.items()}
    peak = max(sum(size[v] for v in live) for live in terms.live)
    return Counts(**sums, peak_activation_bytes=peak)


def _value(term: Term, shapes: Shapes) -> int:
    factor, product = term
    return factor * prod(shapes[value][dim] for value, dim in product)

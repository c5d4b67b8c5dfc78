"""Layers that read removed channels, whose weights can make up for them, and layers that make channels.

Shapes: P = positions of the channels in what a layer reads; O = outputs of the layer.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sentei.compensate.base import Removal
from sentei.criteria import contributions
from sentei.criteria.watch import Reading, watch
from sentei.errors import PruningError
from sentei.graph import Graph, kept
from sentei.graph.capture import Call, Recording, find_tensor, walk
from sentei.graph.points import Point
from sentei.graph.trace import retrace
from sentei.index.atoms import BoolArray
from sentei.surgery import Plan, plan_removal
from sentei.train.checks import preserve_modes

_LAYERS = ("conv1d", "conv2d", "conv3d", "linear")


@dataclass(frozen=True, kw_only=True, eq=False)
class NormBehind:
    """A batch norm with running statistics that alone reads the outputs of a layer.

    Attributes:
        mean: Name of its running mean.
        variance: Name of its running variance.
        scale: Name of its scale, "" if it has none.
        shift: Name of its shift, "" if it has none.
        epsilon: What it adds to variances.
    """

    mean: str
    variance: str
    scale: str
    shift: str
    epsilon: float

    def restate_(self, small: nn.Module, mean_O: Tensor, variance_O: Tensor) -> None:
        """Set the statistics, and change scale and shift so that it computes what it did."""
        if not (self.scale and self.shift):
            return
        mean, variance, scale, shift = (
            tensor_of(small, name) for name in (self.mean, self.variance, self.scale, self.shift)
        )
        factor = scale / (variance + self.epsilon).sqrt()
        shift += factor * (mean_O.to(mean) - mean)
        scale.copy_(factor * (variance_O.to(variance) + self.epsilon).sqrt())
        mean.copy_(mean_O)
        variance.copy_(variance_O)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reader:
    """A convolution or linear layer that reads removed channels.

    Attributes:
        point: What it reads, in the network before.
        weight: Name of its weight, outputs first; no other call uses it.
        bias: Name of its bias, "" if it has none of its own.
        norm: The batch norm right behind it, or None.
        inputs: Which positions of what it reads stay, shape [P].
        outputs: Which of its outputs stay, shape [O].
    """

    point: Point
    weight: str
    bias: str
    norm: NormBehind | None
    inputs: BoolArray = field(repr=False)
    outputs: BoolArray = field(repr=False)

    @property
    def can_shift(self) -> bool:
        """Whether a constant can be added to its outputs."""
        return bool(self.bias or self.norm)

    def shift_(self, small: nn.Module, amounts_O: Tensor) -> None:
        """Add constants to the outputs that stay, in the bias or in the mean that is taken off."""
        if self.bias:
            bias = tensor_of(small, self.bias)
            bias += amounts_O.to(bias)
        elif self.norm:
            mean = tensor_of(small, self.norm.mean)
            mean -= amounts_O.to(mean)


def readers(plan: Plan) -> tuple[Reader, ...]:
    """Return all that can make up for what a plan removes, in the order in which they run.

    Left out are layers whose weight is computed or used by several calls (parametrised, tied, or
    a layer that runs twice), transposed convolutions, products with bare matrices, recurrent
    layers and attention, and depthwise convolutions, which mix no channels.

    Args:
        plan: Of a graph with the calls of evaluation mode.
    """
    recording = plan.graph.recording
    uses = _uses(recording)
    found = []
    for point in contributions.readers(plan.graph).values():
        call = recording.calls[point.call]
        inputs = kept(point.channels, plan.keep)
        if point.function in _LAYERS and not inputs.all() and _own(recording, uses, call, 1):
            weight = _own(recording, uses, call, 1)
            rows = plan.graph.layouts[weight].dims[0]
            whole = torch.ones(recording.values[call.tensors[1]].shape[0], dtype=torch.bool)
            found.append(
                Reader(
                    point=point,
                    weight=weight,
                    bias=_own(recording, uses, call, 2),
                    norm=_norm_behind(recording, uses, call),
                    inputs=inputs,
                    outputs=whole.numpy() if rows is None else kept(rows, plan.keep),
                )
            )
    return tuple(found)


@dataclass(frozen=True, kw_only=True, eq=False)
class Maker:
    """A convolution or linear layer that makes channels.

    Attributes:
        weight: Name of its weight, outputs first; no other call uses it.
        bias: Name of its bias, "" if it has none of its own.
        norm: The batch norm right behind it, or None.
    """

    weight: str
    bias: str
    norm: NormBehind | None


def makers(graph: Graph) -> tuple[Maker, ...]:
    """Return the layers whose outputs channels own, but those whose weight is not theirs alone."""
    recording = graph.recording
    uses = _uses(recording)
    found = []
    for call in recording.calls:
        weight = _own(recording, uses, call, 1) if call.function in _LAYERS else ""
        if weight in graph.layouts and graph.layouts[weight].dims[0] is not None:
            bias, norm = _own(recording, uses, call, 2), _norm_behind(recording, uses, call)
            found.append(Maker(weight=weight, bias=bias, norm=norm))
    return tuple(found)


def _uses(recording: Recording) -> Counter[int]:
    return Counter(value for call in recording.calls for value in set(call.tensors))


def _own(
    recording: Recording,
    uses: Counter[int],
    call: Call,
    argument: int,
    *,
    kind: str = "param",
) -> str:
    """Return the name of a tensor that only this call is given, "" if there is none."""
    if argument >= len(call.tensors):
        return ""
    value = call.tensors[argument]
    own = recording.values[value]
    return own.name if own.kind == kind and uses[value] == 1 else ""


def _norm_behind(recording: Recording, uses: Counter[int], call: Call) -> NormBehind | None:
    (result,) = call.results
    behind = [i for i, c in enumerate(recording.calls) if result in c.tensors]
    if len(behind) != 1 or result in recording.outputs:
        return None
    norm = recording.calls[behind[0]]
    mean, variance = (_own(recording, uses, norm, k, kind="buffer") for k in (1, 2))
    if norm.function != "batch_norm" or not (mean and variance):
        return None
    epsilons = [op.args["eps"] for op in recording.ops if op.call == behind[0] and "eps" in op.args]
    return NormBehind(
        mean=mean,
        variance=variance,
        scale=_own(recording, uses, norm, 3),
        shift=_own(recording, uses, norm, 4),
        epsilon=float(epsilons[0]),
    )


def tensor_of(model: nn.Module, name: str) -> Tensor:
    """Return a parameter or buffer of a model by its name."""
    tensor, _ = find_tensor(dict(walk(model)), name)
    assert tensor is not None
    return tensor


def plan_of(removal: Removal) -> Plan:
    """Return the plan on a graph that has the calls of evaluation mode."""
    graph = retrace(removal.plan.graph, removal.model)
    if graph is removal.plan.graph:
        return removal.plan
    return plan_removal(graph, removal.plan.removed)


def require_images(name: str, removal: Removal) -> None:
    """Refuse to go on without images.

    Raises:
        PruningError: There are none.
    """
    if not len(removal.batches):
        raise PruningError(
            f"compensation {name!r} needs images; give Removal(batches=...), or compensate with "
            "'merge', which needs none"
        )


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Put models into evaluation mode, without gradients; modes are given back at the end."""
    if models:
        with preserve_modes(models[0]), evaluating(*models[1:]):
            models[0].eval()
            yield
    else:
        with torch.no_grad():
            yield


class _Enough(Exception):  # noqa: N818 - no error: it ends a run that has shown what was asked
    pass


def read_once(graph: Graph, model: nn.Module, point: Point, images: Tensor) -> Reading:
    """Run ``model`` up to the call that reads a point, and return what it read.

    Args:
        graph: The graph that the point is of.
        model: The traced model, or the pruned one, which makes the same calls.
        point: Where to look.
        images: Shape [N, ...].
    """
    found: list[Reading] = []

    def read(reading: Reading) -> None:
        found.append(reading)
        raise _Enough

    with suppress(_Enough), watch(graph, model, [point], read=read):
        run(model, images)
    return found[0]


def run(model: nn.Module, images: Tensor) -> None:
    """Run a model on images, where its weights are."""
    model(images.to(next(model.parameters()).device))

"""Which operators make channels, and which norms follow them directly."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sentei.criteria.base import Evidence, parameter_name, produced_dims, require, weights_CF
from sentei.errors import PruningError
from sentei.graph import Group, Slice
from sentei.graph.analysis import refs
from sentei.graph.capture import Op, Recording, Ref
from sentei.sparsify.channels import norm_scales, owned_by

_VIEWS = frozenset({"view", "unsafe_view", "t"})  # the same numbers, nothing computed


@dataclass(frozen=True, kw_only=True)
class Producer:
    """A convolution or matrix product with a parameter, which makes channels.

    Attributes:
        op: The operator.
        weight: Name of its weight.
        bias: Name of its bias, "" if it has none.
        readers: The operators that read its output; views of it are looked through.
        norm_scales: Names of the scales of the norms among them, in the same order; "" for a
            reader that is no norm with a scale.
    """

    op: Op
    weight: str
    bias: str
    readers: tuple[Op, ...]
    norm_scales: tuple[str, ...]

    @property
    def is_normed(self) -> bool:
        """Nothing but norms with a scale reads the output."""
        return bool(self.readers) and all(self.norm_scales)

    @property
    def is_dense(self) -> bool:
        """Every output depends on all inputs, and outputs come first in the weight."""
        return self.op.args.get("groups", 1) == 1 and not self.op.args.get("transposed", False)


def producers(recording: Recording) -> tuple[Producer, ...]:
    """Return every convolution and matrix product with a parameter, in the order they ran."""
    sources = _views(recording)
    readers: dict[int, list[Op]] = {}
    for op in recording.ops:
        for ref in refs(op):
            if op.name not in _VIEWS:
                readers.setdefault(sources.get(ref.value, ref.value), []).append(op)
    found = []
    for op in recording.ops:
        names = [
            parameter_name(recording, _source(op.args.get(k), sources))
            for k in _KEYS.get(op.name, ())
        ]
        if names and names[0]:
            own = tuple(readers.get(op.outputs[0], ()))
            found.append(
                Producer(
                    op=op,
                    weight=names[0],
                    bias=names[1],
                    readers=own,
                    norm_scales=tuple(_norm_scale(recording, reader) for reader in own),
                )
            )
    return tuple(found)


def _norm_scale(recording: Recording, op: Op) -> str:
    return parameter_name(recording, op.args.get("weight")) if "norm" in op.name else ""


# Where each operator takes its weight and its bias.
_KEYS = {
    "convolution": ("weight", "bias"),
    "linear": ("weight", "bias"),
    "addmm": ("mat2", "self"),
    "mm": ("mat2", "none"),
}


def _views(recording: Recording) -> dict[int, int]:
    """Return for every view the tensor that it shows."""
    sources: dict[int, int] = {}
    for op in recording.ops:
        if op.name in _VIEWS:
            (ref,) = refs(op)
            sources[op.outputs[0]] = sources.get(ref.value, ref.value)
    return sources


def _source(argument: object, sources: dict[int, int]) -> object:
    return (
        Ref(sources.get(argument.value, argument.value)) if isinstance(argument, Ref) else argument
    )


def produced_slices(evidence: Evidence) -> tuple[Slice, ...]:
    """Return the slices with which channels are made: rows of weights, and entries of biases."""
    dims = produced_dims(evidence)
    return tuple(s for s in evidence.slices if s.dims == (dims.get(s.tensor, -1),))


def maker_slices(evidence: Evidence) -> tuple[Slice, ...]:
    """Return all that makes channels: produced slices, scales and shifts of norms.

    With all of them zero a channel is zero, if activations map 0 to 0.

    Raises:
        PruningError: Nothing makes the channels of a group.
    """
    slices = (*produced_slices(evidence), *norm_slices(evidence))
    require(
        evidence.graph,
        owned_by(evidence, slices),
        "no convolution, linear layer or norm makes it; sparsify with 'ssl', or protect the group",
    )
    return slices


def filter_slices(evidence: Evidence) -> tuple[Slice, ...]:
    """Return the produced slices: filters and biases, so that norms behind them keep training.

    Raises:
        PruningError: The channels of a group have no filter, or one that cannot be zero.
    """
    slices = produced_slices(evidence)
    for part in slices:
        if "parametrizations" in part.tensor.split("."):  # weight norm divides by its length
            raise PruningError(
                f"{part.tensor} cannot be set to zero: it is parametrized, as by weight norm; "
                "remove that first, sparsify with 'ssl', or protect its group"
            )
    require(
        evidence.graph,
        owned_by(evidence, slices),
        "no convolution or linear layer makes it; sparsify with 'ssl', or protect the group",
    )
    return slices


def filter_rows(evidence: Evidence, group: Group) -> Tensor:
    """Return the filters and biases that make the channels of a group, shape [channels, elements].

    Raises:
        PruningError: The channels of some group have no filter.
    """
    made = {(s.tensor, s.dims) for s in filter_slices(evidence)}
    rows = [
        weights_CF(group, m, evidence.parameters[m.tensor].detach())
        for m in group.members
        if (m.tensor, (m.dim,)) in made and not m.is_inner
    ]
    return torch.cat(rows, dim=1)


def consumed_slices(evidence: Evidence) -> tuple[Slice, ...]:
    """Return the slices with which channels are read: columns of weights, depthwise filters."""
    dims = produced_dims(evidence)
    layouts = evidence.graph.layouts
    depthwise = {
        p.weight
        for p in producers(evidence.graph.recording)
        # Its channels are no columns, so each of its filters reads the channel that it makes.
        if p.op.args.get("groups", 1) > 1
        and p.weight in layouts
        and layouts[p.weight].inner is None
        and layouts[p.weight].dims[1] is None
    }
    return tuple(
        s
        for s in evidence.slices
        if evidence.parameters[s.tensor].dim() > 1
        and (s.dims != (dims.get(s.tensor, -1),) or s.tensor in depthwise)
    )


def norm_slices(evidence: Evidence) -> tuple[Slice, ...]:
    """Return the slices of scales and shifts of norms."""
    names = {*evidence.norms, *filter(None, evidence.norms.values())}
    return tuple(s for s in evidence.slices if s.tensor in names)


def unnormed_slices(evidence: Evidence) -> tuple[Slice, ...]:
    """Return the produced slices whose channels do not go straight and only into scaled norms."""
    is_normed: dict[str, bool] = {}
    for producer in producers(evidence.graph.recording):
        for name in filter(None, (producer.weight, producer.bias)):
            is_normed[name] = is_normed.get(name, True) and producer.is_normed
    return tuple(s for s in produced_slices(evidence) if not is_normed.get(s.tensor, False))


def gate_slices(evidence: Evidence) -> tuple[Slice, ...]:
    """Return the slices that gates multiply.

    Raises:
        PruningError: Nothing that could be gated makes the channels of a group.
    """
    slices = (*norm_slices(evidence), *unnormed_slices(evidence))
    require(
        evidence.graph,
        owned_by(evidence, slices),
        "no norm, convolution or linear layer makes it, so it cannot be gated; sparsify with "
        "'ssl', or protect the group",
    )
    return slices


@dataclass(frozen=True, kw_only=True, eq=False)
class NormSite:
    """A batch norm that acts on channels.

    Attributes:
        module: The module.
        part: The slice of its scale.
    """

    module: nn.BatchNorm2d  # or of another number of dimensions
    part: Slice


def batch_norms(evidence: Evidence, model: nn.Module, *, needed_by: str) -> tuple[NormSite, ...]:
    """Return every norm that acts on channels; each must be a batch norm with running statistics.

    Args:
        evidence: Of ``model``.
        model: The network.
        needed_by: Name of the sparsifier, for messages.

    Raises:
        PruningError: A group has no norm, or a norm is of another kind.
    """
    sites = []
    for part in norm_scales(evidence).slices:
        module = model.get_submodule(part.tensor.rpartition(".")[0])
        if not isinstance(module, _BatchNorm) or module.running_mean is None:
            raise PruningError(
                f"{part.tensor}: {needed_by!r} needs batch norms with running statistics and this "
                f"is a {type(module).__name__}; sparsify with 'ssl', or protect its group"
            )
        sites.append(NormSite(module=cast("nn.BatchNorm2d", module), part=part))
    return tuple(sites)

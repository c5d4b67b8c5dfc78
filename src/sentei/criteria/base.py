"""What a criterion is, what it may look at, and how slices of a group become one number.

Channels of all groups are numbered through, so one pass over every parameter serves all groups.
Shapes: C = channels of all groups; F = elements a channel of one group owns in one dimension.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from enum import Flag, auto
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sentei.errors import PruningError
from sentei.graph import Graph, Group, Member
from sentei.graph.capture import Recording, Ref
from sentei.index.atoms import BoolArray, IntArray
from sentei.registry import Registry

FloatArray = npt.NDArray[np.float64]
Reduction = Literal["mean", "sum", "max", "first", "prod"]


class Needs(Flag):
    """What a criterion must be given besides the weights."""

    NOTHING = 0
    IMAGES = auto()
    GRADIENTS = auto()  # hence images and labels
    ACTIVATIONS = auto()  # hence images; its graph has the calls of evaluation mode


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a criterion comes from.

    Attributes:
        paper: Authors, short title and venue; "baseline" if there is none.
        year: Of publication, or None.
        arxiv: Number there, or None.
        section: Of the survey of He and Xiao (arXiv:2303.00566) that the method belongs to, or None.
    """

    paper: str
    year: int | None = None
    arxiv: str | None = None
    section: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """What the channels own in one dimension of one parameter.

    Attributes:
        tensor: First name of the parameter.
        dims: The dimension, or (0, 1) for the inputs of a grouped convolution.
        channels: Channel of every position along ``dims``, -1 = owned by none.
    """

    tensor: str
    dims: tuple[int, ...]
    channels: IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Everything a criterion may look at.

    Attributes:
        graph: Which channels go together.
        parameters: Every floating-point parameter that channels own a part of, by its first
            name, detached.
        gradients: Gradient of the mean loss over all images, by the same names; empty unless
            the criterion needs gradients.
        sums: What :meth:`Criterion.observe` has added up.
        num_images: Number of images seen; 0 without images.
    """

    graph: Graph
    parameters: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor] = field(default_factory=dict)
    sums: Mapping[str, Tensor] = field(default_factory=dict)
    num_images: int = 0

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        """All slices of all parameters: weights, scales and shifts."""
        found = []
        for name in self.parameters:
            layout = self.graph.layouts[name]
            pairs = [((dim,), channels) for dim, channels in enumerate(layout.dims)]
            for dims, channels in (*pairs, ((0, 1), layout.inner)):
                if channels is not None:
                    found.append(Slice(tensor=name, dims=dims, channels=channels))
        return tuple(found)

    @cached_property
    def norms(self) -> Mapping[str, str | None]:
        """The scale of every norm, and its shift if it has one, by parameter name."""
        return norm_parameters(self.graph.recording)

    def is_weight(self, tensor: str) -> bool:
        """Return whether a parameter measures strength: 2 or more dimensions, or a norm's scale."""
        return self.parameters[tensor].dim() > 1 or tensor in self.norms

    @cached_property
    def weights(self) -> tuple[Slice, ...]:
        """The slices of weights and of scales of norms; no shifts, whose size says little."""
        return tuple(s for s in self.slices if self.is_weight(s.tensor))


@dataclass(frozen=True, kw_only=True)
class Criterion(ABC):
    """Scores the channels of all groups; the lowest score is removed first.

    A criterion is a frozen dataclass: its fields are its configuration. It holds no state and
    changes nothing.

    Attributes:
        source: Where it comes from.
        needs: What it must be given besides the weights.
        equivariant: Permuting channels permutes the scores.
        comparable: Scores of different groups can be compared as they are; if not, a global
            allocation first divides them by their mean in the group.
    """

    source: ClassVar[Source]
    needs: ClassVar[Needs] = Needs.NOTHING
    equivariant: ClassVar[bool] = True
    comparable: ClassVar[bool] = False

    @abstractmethod
    def score(self, evidence: Evidence) -> FloatArray:
        """Return one finite score a channel, shape [C]; larger means more important."""

    def seeded(self, seed: int) -> "Criterion":
        """Return the criterion with another ``seed``, or itself if it draws nothing."""
        draws = any(f.name == "seed" for f in fields(self))
        changed: Any = {"seed": seed}
        return replace(self, **changed) if draws else self

    def observe(
        self,
        graph: Graph,  # noqa: ARG002  (for those that watch)
        model: nn.Module,  # noqa: ARG002
    ) -> AbstractContextManager[Mapping[str, Tensor]]:
        """Watch ``model`` run, batch by batch; entering yields what will be ``Evidence.sums``.

        A criterion that needs images hooks into the model here and adds up sums over images, so
        that memory stays bounded and the split into batches does not matter. Leaving the context
        takes the hooks away. The default watches nothing.
        """
        return nullcontext({})


CRITERIA: Registry[Callable[..., Criterion]] = Registry("criterion")
"""Name -> what builds the criterion; all its fields have defaults."""


def check_reduction(reduction: str) -> None:
    """Refuse an unknown reduction.

    Raises:
        ValueError: It is none of ``mean``, ``sum``, ``max``, ``first``, ``prod``.
    """
    if reduction not in get_args(Reduction):
        raise ValueError(
            f"reduction={reduction!r}; expected one of {', '.join(get_args(Reduction))}"
        )


def reduce_slices(
    evidence: Evidence,
    slices: Iterable[Slice],
    elements: Callable[[str], Tensor],
    *,
    reduction: Reduction,
    missing: str,
    finish: Callable[[FloatArray], FloatArray] = np.asarray,
) -> FloatArray:
    """Return for every channel its slices' numbers reduced to one, shape [C].

    Args:
        evidence: The graph that numbers the channels.
        slices: The slices that count. Those that own nothing of a channel do not count for it.
        elements: From the name of a parameter, one number for every element of it, of its shape;
            they are added over what a channel owns in a slice.
        reduction: How slices become one; ``first`` takes the first slice in the order of the
            model's parameters, mostly the one that produces the channel.
        missing: What a group lacks that no slice reaches, and what to do, for the message.
        finish: Applied to the sums of each slice, shape [C].

    Raises:
        PruningError: A channel has no slice.
    """
    elements = lru_cache(maxsize=1)(elements)  # the slices of a parameter follow one another
    total = np.full(evidence.graph.num_channels, 1.0 if reduction == "prod" else 0.0)
    count = np.zeros(len(total))
    for part in slices:
        owned = np.bincount(part.channels[part.channels >= 0], minlength=len(total)) > 0
        new = finish(per_channel(evidence, part, elements(part.tensor)))[owned]
        total[owned] = _combine(reduction, total[owned], new, count[owned] == 0)
        count[owned] += 1
    require(evidence.graph, count > 0, missing)
    return total / count if reduction == "mean" else total


def _combine(
    reduction: Reduction, total: FloatArray, new: FloatArray, is_first: BoolArray
) -> FloatArray:
    if reduction == "max":
        return np.where(is_first, new, np.maximum(total, new))
    if reduction == "first":
        return np.where(is_first, new, total)
    return total * new if reduction == "prod" else total + new


def require(graph: Graph, found: BoolArray, missing: str) -> None:
    """Refuse to score a group with channels that have nothing to be judged by.

    Args:
        graph: The graph.
        found: Whether each channel can be judged, shape [C].
        missing: What the group lacks and what to do, for the message.

    Raises:
        PruningError: A channel cannot be judged.
    """
    lacking = [g.name for g in graph.groups if not found[g.first : g.first + g.width].all()]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise PruningError(f"group {lacking[0]}{more}: {missing}")


def per_channel(evidence: Evidence, part: Slice, elements: Tensor) -> FloatArray:
    """Return the sums of ``elements`` over what every channel owns, shape [C]: one scatter-add.

    Args:
        evidence: The graph that numbers the channels.
        part: The slice.
        elements: One number for every element of the slice's parameter, of its shape.
    """
    positions = elements
    # From the outermost dimension in: summing rows of memory is several times faster than
    # striding through them.
    for dim in (d for d in range(elements.dim()) if d not in part.dims):
        positions = positions.sum(dim, keepdim=True)
    values = positions.to(device="cpu", dtype=torch.float64).numpy().reshape(part.channels.shape)
    own = part.channels >= 0
    num_channels = evidence.graph.num_channels
    sums: FloatArray = np.bincount(
        part.channels[own], weights=values[own], minlength=num_channels
    ).astype(np.float64, copy=False)
    return sums


def products(evidence: Evidence, tensor: str) -> Tensor:
    """Return weight times gradient of every element of a parameter, of its shape, float64."""
    # In float64: signs cancel in sums, and what float32 rounds off does not come back.
    return evidence.parameters[tensor].double() * evidence.gradients[tensor]


def weights_CF(group: Group, member: Member, tensor: Tensor) -> Tensor:
    """Return what every channel of a group owns in one dimension, as rows [C, F].

    Positions are in the order of the tensor; where channels own different numbers of them, the
    shorter rows end in zeros.
    """
    dims = 2 if member.is_inner else 1
    flat = tensor if member.is_inner else tensor.movedim(member.dim, 0)
    flat = flat.flatten(0, dims - 1)
    owner = member.channels.ravel()
    positions = np.flatnonzero(owner >= 0)
    positions = positions[np.argsort(owner[positions], kind="stable")]
    counts = np.bincount(owner[positions], minlength=group.width)
    place = np.arange(len(positions)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = flat.new_zeros((group.width, int(counts.max()), *flat.shape[1:]))
    index = (torch.from_numpy(owner[positions]), torch.from_numpy(place))
    rows[index] = flat[torch.from_numpy(positions)]
    return rows.flatten(1)


def norm_parameters(recording: Recording) -> dict[str, str | None]:
    """Return the scale of every norm that ran, and its shift if it has one, by parameter name."""
    found: dict[str, str | None] = {}
    for op in recording.ops:
        if "norm" in op.name:
            scale, shift = (parameter_name(recording, op.args.get(k)) for k in ("weight", "bias"))
            if scale:
                found[scale] = shift or None
    return found


def produced_dims(evidence: Evidence) -> dict[str, int]:
    """Return the dimension of the output channels of every weight and bias, by name.

    A weight has them first, except that of a transposed convolution and a matrix that multiplies
    from the right.
    """
    found = {name: 0 for name, p in evidence.parameters.items() if p.dim() > 1}
    recording = evidence.graph.recording
    for op in recording.ops:
        if op.name in ("convolution", "linear"):
            found[parameter_name(recording, op.args["weight"])] = int(
                bool(op.args.get("transposed"))
            )
            found[parameter_name(recording, op.args["bias"])] = 0
        elif op.name in ("addmm", "mm"):
            right = op.args["mat2"]
            if parameter_name(recording, right):
                found[parameter_name(recording, right)] = 1
            if op.name == "addmm":
                found[parameter_name(recording, op.args["self"])] = 0
    found.pop("", None)
    return found


def parameter_name(recording: Recording, argument: object) -> str:
    """Return the first name of the parameter an operator was given, "" if it is none."""
    if not isinstance(argument, Ref):
        return ""
    value = recording.values[argument.value]
    return value.name if value.kind == "param" else ""

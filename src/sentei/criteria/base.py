"""What a criterion is, and what it may look at.

Shapes: C = channels of all groups; F = elements a channel of one group owns in one dimension.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from enum import Flag, auto
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sentei.errors import PruningError
from sentei.graph import Graph, Group, Member, Slice
from sentei.graph.capture import Recording, Ref
from sentei.index.atoms import BoolArray
from sentei.registry import Registry

FloatArray = npt.NDArray[np.float64]


class Needs(Flag):
    """What a criterion must be given besides the weights."""

    NOTHING = 0
    IMAGES = auto()
    GRADIENTS = auto()  # hence images and labels
    ACTIVATIONS = auto()  # hence images; its graph has the calls of evaluation mode
    CURVATURE = auto()  # with GRADIENTS
    FISHER = auto()  # with GRADIENTS


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
class Evidence:
    """Everything a criterion may look at.

    Attributes:
        graph: Which channels go together.
        parameters: Every floating-point parameter that channels own a part of, by its first
            name, detached.
        gradients: Gradient of the mean loss over all images, by the same names; empty unless
            the criterion needs gradients.
        curvature: Hessian of the mean loss times :attr:`owned`, by the same names; empty unless
            the criterion needs it.
        fisher: Mean over images of the squared gradient of each image's own loss, by the same
            names; empty unless the criterion needs it.
        sums: What :meth:`Criterion.observe` has added up.
        num_images: Number of images seen; 0 without images.
    """

    graph: Graph
    parameters: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor] = field(default_factory=dict)
    curvature: Mapping[str, Tensor] = field(default_factory=dict)
    fisher: Mapping[str, Tensor] = field(default_factory=dict)
    sums: Mapping[str, Tensor] = field(default_factory=dict)
    num_images: int = 0

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        """All slices of all parameters: weights, scales and shifts."""
        return tuple(s for s in self.graph.slices if s.tensor in self.parameters)

    @property
    def owned(self) -> dict[str, Tensor]:
        """What of every parameter some channel owns, the rest zero, by name."""
        stays = {name: torch.ones_like(p, dtype=torch.bool) for name, p in self.parameters.items()}
        for part in self.slices:
            mask = stays[part.tensor]
            mask &= (broadcast_index(part, mask.dim()) < 0).to(mask.device)
        return {
            name: p.detach().masked_fill(stays[name], 0.0) for name, p in self.parameters.items()
        }

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
        comparable: Scores of different groups can be compared as they are; if not, the scope
            ``global`` first divides them by the largest in the group.
    """

    source: ClassVar[Source]
    needs: ClassVar[Needs] = Needs.NOTHING
    equivariant: ClassVar[bool] = True
    comparable: ClassVar[bool] = False

    @abstractmethod
    def score(self, evidence: Evidence) -> FloatArray:
        """Return one finite score a channel, shape [C]; larger means more important."""

    def choose(
        self,
        graph: Graph,  # noqa: ARG002  (for those that choose)
        batches: Iterable[Sequence[Tensor]] | None,  # noqa: ARG002
    ) -> str | None:
        """Return the name of a criterion to use on a graph and data instead; None is this one."""
        return None

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


def broadcast_index(part: Slice, num_dims: int) -> Tensor:
    """Return the channel of every position, -1 if none, in a shape that broadcasts.

    Args:
        part: The slice.
        num_dims: Dimensions of the slice's parameter.

    Returns:
        Positions along the slice's dimensions, 1 along all others.
    """
    shape = [1] * num_dims
    for dim, size in zip(part.dims, part.channels.shape, strict=True):
        shape[dim] = size
    return torch.from_numpy(part.channels).reshape(shape)


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

"""How what a channel owns in several slices becomes one number.

One pass over every parameter serves all groups.
Shapes: C = channels of all groups; S = channels of one slice after the other.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from sentei.criteria.base import Evidence, FloatArray, require
from sentei.graph import Slice
from sentei.index.atoms import IntArray

Reduction = Literal["mean", "sum", "max", "first", "prod"]
Elements = Callable[..., Tensor]
"""From a parameter, and its gradient if there are gradients, one number for every element, of its
shape; it must not look at one element to number another."""

NO_PARAMETERS = "it owns no parameters; protect it, or score with 'random'"

_PIECE = 1 << 18  # elements that are worked on at once


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
    slices: Sequence[Slice],
    elements: Elements,
    *,
    reduction: Reduction,
    missing: str,
    finish: Callable[[FloatArray], FloatArray] = np.asarray,
) -> FloatArray:
    """Return for every channel its slices' numbers reduced to one, shape [C].

    Args:
        evidence: The graph that numbers the channels, and the parameters.
        slices: The slices that count, those of a parameter next to each other. Those that own
            nothing of a channel do not count for it.
        elements: What is added over what a channel owns in a slice.
        reduction: How slices become one; ``first`` takes the first slice in the order of the
            model's parameters, mostly the one that produces the channel.
        missing: What a group lacks that no slice reaches, and what to do, for the message.
        finish: Applied to the sums, element by element.

    Raises:
        PruningError: A channel has no slice.
    """
    owners, sums = owned_sums(evidence, slices, elements)
    num_channels = evidence.graph.num_channels
    count = np.bincount(owners, minlength=num_channels)
    require(evidence.graph, count > 0, missing)
    total = _reduced(reduction, owners, finish(sums), num_channels)
    return total / count if reduction == "mean" else total


def _reduced(
    reduction: Reduction, owners: IntArray, values: FloatArray, num_channels: int
) -> FloatArray:
    """Return the values of every channel, in the order given, as one; means as their sum."""
    if reduction in ("mean", "sum"):
        return totals(owners, values, num_channels)
    total = np.full(num_channels, 1.0 if reduction == "prod" else -np.inf)
    if reduction == "prod":
        np.multiply.at(total, owners, values)
    elif reduction == "max":
        np.maximum.at(total, owners, values)
    else:
        total[owners[::-1]] = values[::-1]
    return total


def totals(owners: IntArray, values: FloatArray, num_channels: int) -> FloatArray:
    """Return the values of every channel added in the order given, shape [num_channels]."""
    found = np.bincount(owners, weights=values, minlength=num_channels)
    return found.astype(np.float64, copy=False)


def owned_sums(
    evidence: Evidence, slices: Sequence[Slice], elements: Elements
) -> tuple[IntArray, FloatArray]:
    """Return the sums of elements over what every channel owns in every slice.

    Args:
        evidence: Holds the parameters, and their gradients if it needs them.
        slices: The slices, those of a parameter next to each other.
        elements: What to add up for every element.

    Returns:
        Slice by slice the channels that own something in it, and their sums, both [S].
    """
    along = _Along(evidence, elements)
    positions = [along(part) for part in slices]
    values = torch.cat([torch.empty(0), *positions]).to(torch.float64).numpy()
    # One scatter-add for all: each slice has a run of places, the last for what nobody owns.
    none = np.empty(0, dtype=np.int64)
    runs = np.array([len(part.owners) + 1 for part in slices], dtype=np.int64)
    places = np.concatenate([none, *(part.places for part in slices)])
    places += np.repeat(np.cumsum(runs) - runs, [len(part.places) for part in slices])
    sums = np.bincount(places, weights=values, minlength=int(runs.sum()))
    owners = np.concatenate([none, *(part.owners for part in slices)])
    return owners, np.delete(sums, np.cumsum(runs) - 1)


class _Along:
    """Sums of elements over all but the dimensions of a slice, flat, on the CPU.

    Args:
        evidence: Holds the parameters, and their gradients if it needs them.
        elements: What to add up for every element.
    """

    def __init__(self, evidence: Evidence, elements: Elements) -> None:
        self._evidence = evidence
        self._elements = elements
        self._last = "", torch.empty(0)

    def __call__(self, part: Slice) -> Tensor:
        """Return the sums, shape [positions]."""
        parameter = self._evidence.parameters[part.tensor]
        if parameter.numel() > _PIECE:
            return self._by_pieces(part)
        if self._last[0] != part.tensor:  # the slices of a parameter follow one another
            self._last = part.tensor, self._elements(*self._tensors(part.tensor))
        return _summed(self._last[1], part.dims)

    def _tensors(self, name: str) -> list[Tensor]:
        """Return a parameter, followed by its gradient if there are gradients."""
        sources = (self._evidence.parameters, self._evidence.gradients)
        return [source[name] for source in sources if source]

    def _by_pieces(self, part: Slice) -> Tensor:
        """Go through a parameter piece by piece, as new memory costs more than what is done in it.

        Every position is in one piece, where its sum is taken in the same order as in the whole:
        vector instructions treat columns alike by 64 at most.
        """
        tensors, dim = self._tensors(part.tensor), part.dims[0]
        unit = 64 if dim else 1
        positions = _PIECE * tensors[0].shape[dim] // tensors[0].numel() // unit * unit
        pieces = zip(*(t.split(max(unit, positions), dim) for t in tensors), strict=True)
        return torch.cat([_summed(self._elements(*piece), part.dims) for piece in pieces])


def _summed(elements: Tensor, dims: tuple[int, ...]) -> Tensor:
    # From the outermost dimension in: summing rows of memory is several times faster than
    # striding through them.
    for dim, size in enumerate(elements.shape):
        if size > 1 and dim not in dims:
            elements = elements.sum(dim, keepdim=True)
    return elements.flatten().cpu()


def products(weight: Tensor, gradient: Tensor) -> Tensor:
    """Return weight times gradient of every element, float64."""
    # In float64: signs cancel in sums, and what float32 rounds off does not come back.
    return weight.double() * gradient

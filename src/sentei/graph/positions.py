"""Positions: which of them stay under a plan, worked out for all tensors of a graph at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sentei.index.atoms import BoolArray, IntArray

# An integer attribute: path of the module, name, item of a tuple or list (else -1).
Place = tuple[str, str, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Positions:
    """The positions of all dimensions and counting attributes of a graph.

    Layouts repeat a few arrays of channels (a convolution, its norm, its readers). Each is held
    once here and has a number; all stand end to end, so that one look-up serves a whole plan.

    Attributes:
        dims: First name of a tensor -> (dimension, number of the array) of every dimension that
            channels own a part of.
        attributes: Integer attribute -> number of the array of what it counts.
        channels: Channel of every position of every array, -1 stays, shape [positions].
        places: Where in its array each position is, shape [positions].
        lengths: Number of positions of each array, shape [arrays].
    """

    dims: Mapping[str, tuple[tuple[int, int], ...]]
    attributes: Mapping[Place, int]
    channels: IntArray
    places: IntArray
    lengths: IntArray

    @classmethod
    def of(
        cls,
        dims: Mapping[str, Sequence[IntArray | None]],
        attributes: Mapping[Place, IntArray],
    ) -> "Positions":
        """Return the positions of tensors, by first name, and of attributes."""
        numbers: dict[int, int] = {}
        arrays: list[IntArray] = [np.empty(0, dtype=np.int64)]

        def number(array: IntArray) -> int:
            if id(array) not in numbers:
                numbers[id(array)] = len(arrays)
                arrays.append(array)
            return numbers[id(array)]

        def numbered(arrays: Sequence[IntArray | None]) -> Iterator[tuple[int, int]]:
            return ((dim, number(a)) for dim, a in enumerate(arrays) if a is not None)

        return cls(
            dims={name: tuple(numbered(own)) for name, own in dims.items()},
            attributes={place: number(array) for place, array in attributes.items()},
            channels=np.concatenate(arrays),
            places=np.concatenate([np.arange(len(a)) for a in arrays]),
            lengths=np.array([len(a) for a in arrays], dtype=np.int64),
        )

    def kept(self, keep: BoolArray) -> list[Tensor | None]:
        """Return the positions of every array that stay, each shape [kept]; None if all do.

        Args:
            keep: Which channels stay, shape [channels], True = keep.
        """
        stay = np.flatnonzero(np.append(keep, True)[self.channels])
        counts = np.diff(np.searchsorted(stay, np.cumsum(self.lengths)), prepend=0)
        whole = counts == self.lengths
        pieces = torch.from_numpy(self.places[stay]).split(counts.tolist())
        return [None if w else piece for w, piece in zip(whole.tolist(), pieces, strict=True)]

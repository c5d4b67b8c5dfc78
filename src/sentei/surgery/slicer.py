"""Slicer: cuts tensors down to what stays under one plan."""

import numpy as np
import torch
from torch import Tensor

from sentei.graph import Layout
from sentei.graph.positions import Place
from sentei.index.atoms import IntArray
from sentei.surgery.plan import Plan

_LARGE = 1 << 20  # elements from which a tensor is cut by pieces along two dimensions
_PIECE = 1 << 18  # elements of one piece


class Slicer:
    """Cuts tensors down to what stays under one plan.

    Args:
        plan: The plan.
    """

    def __init__(self, plan: Plan) -> None:
        self._positions = plan.graph.positions
        self._layouts, self._dims = plan.graph.layouts, self._positions.dims
        self._keep = np.append(plan.keep, True)
        self._kept = {torch.device("cpu"): self._positions.kept(plan.keep)}

    def changes(self) -> dict[Place, int]:
        """Return the integer attributes that change, and their new values."""
        numbers, on_cpu = self._positions.attributes, self._kept[torch.device("cpu")]
        kept = ((place, on_cpu[number]) for place, number in numbers.items())
        return {k: len(positions) for k, positions in kept if positions is not None}

    def cut(self, tensor: Tensor, name: str) -> Tensor:
        """Return the positions of a tensor that stay; the tensor itself if all do.

        Args:
            tensor: Of the shape of the traced one.
            name: First name of the traced one.
        """
        layout = self._layouts[name]
        kept = self._kept.get(tensor.device) or self._move(tensor.device)
        numbers = self._dims[name]
        if layout.inner is not None:
            tensor = self._cut_inner(tensor, layout)
            numbers = tuple(own for own in numbers if own[0] > 1)
        if len(numbers) == 2 and numbers[0][0] == 0 and tensor.numel() > _LARGE:
            rows, other = (kept[number] for _, number in numbers)
            if rows is not None and other is not None:
                tensor = _select_by_pieces(tensor, rows, (numbers[1][0], other))
                numbers = ()
        for dim, number in numbers:
            index = kept[number]
            if index is not None:
                tensor = tensor.index_select(dim, index)
        return tensor if layout.pick is None else self._renumbered(tensor, layout.pick.source)

    def _move(self, device: torch.device) -> list[Tensor | None]:
        """Return the positions that stay of every array of channels, on a device."""
        on_cpu = self._kept[torch.device("cpu")]
        self._kept[device] = [None if index is None else index.to(device) for index in on_cpu]
        return self._kept[device]

    def _renumbered(self, indices: Tensor, source: IntArray) -> Tensor:
        """Return what numbers of positions become when others go; a mask has no numbers."""
        stay = self._keep[source]
        if stay.all() or indices.dtype is torch.bool:
            return indices
        numbers = torch.from_numpy(np.cumsum(stay) - 1).to(indices)
        return numbers[indices.long()]

    def _cut_inner(self, tensor: Tensor, layout: Layout) -> Tensor:
        """Cut dimensions 0 and 1 of the weight of a grouped convolution.

        Other columns may stay in every row, equally many in each that stays.
        """
        assert layout.inner is not None
        stay = self._keep[layout.inner]
        num_rows = len(stay)
        if layout.dims[0] is not None:
            rows = self._keep[layout.dims[0]]
            stay &= rows[:, None]
            num_rows = int(rows.sum())
        flat = np.flatnonzero(stay)
        if len(flat) == stay.size:
            return tensor
        index = torch.from_numpy(flat).to(tensor.device)
        new = tensor.flatten(0, 1).index_select(0, index)
        return new.view(num_rows, -1, *tensor.shape[2:])


def _select_by_pieces(tensor: Tensor, rows: Tensor, other: tuple[int, Tensor]) -> Tensor:
    """Return a selection of rows, and along another dimension, some rows at a time.

    All rows at full width would need new memory, which costs more than the copy itself.
    """
    dim, index = other
    shape = list(tensor.shape)
    shape[0], shape[dim] = len(rows), len(index)
    result = tensor.new_empty(shape)
    step = max(1, _PIECE * len(tensor) // tensor.numel())
    for own, piece in zip(rows.split(step), result.split(step), strict=True):
        torch.index_select(tensor.index_select(0, own), dim, index, out=piece)
    return result

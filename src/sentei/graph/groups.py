"""Groups: channels that own positions in the same dimensions; and the graph that holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from sentei.errors import PlanError, UnknownNameError
from sentei.graph.capture import Recording
from sentei.graph.positions import Place, Positions
from sentei.graph.skeleton import Home, Skeleton
from sentei.index.atoms import BoolArray, IntArray
from sentei.registry import did_you_mean

# What a reason to stay speaks of, where it is not the whole parameter.
OUTPUTS = "its outputs: "
INPUTS = "its inputs: "


@dataclass(frozen=True, kw_only=True, eq=False)
class Pick:
    """What the entries of a buffer of indices mean.

    Attributes:
        indices: Its entries when the model was traced: numbers of positions, or a mask of them.
        source: Channel of every position they count, -1 = stays.
    """

    indices: IntArray
    source: IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Which channel every position of a tensor belongs to.

    Channels of all groups are numbered through; -1 is a position that stays.

    Attributes:
        names: All names of the parameter or buffer (several when it is shared).
        shape: Its sizes.
        dims: For every dimension the channel of every position, or None if the dimension stays.
        inner: For the weight of a grouped convolution whose channels go per group: the channel
            of every position of dimension 1, for every position of dimension 0, shape [O, I/g].
        pick: For a buffer of indices, what they mean: a removal renumbers them.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    dims: tuple[IntArray | None, ...]
    inner: IntArray | None = None
    pick: Pick | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """One dimension of one tensor in which a group owns positions.

    Attributes:
        tensor: Name of the parameter or buffer.
        dim: The dimension.
        channels: For every position the index of its channel in the group, -1 if not of it.
        is_inner: The dimension holds the input channels of the groups of a convolution;
            ``channels`` then has shape [O, I/g] instead of [positions].
    """

    tensor: str
    dim: int
    channels: IntArray
    is_inner: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """What the channels of all groups own in one dimension of one parameter or buffer.

    Attributes:
        tensor: Its first name.
        dims: The dimension, or (0, 1) for the inputs of a grouped convolution.
        channels: Channel of every position along ``dims``, -1 = owned by none.
    """

    tensor: str
    dims: tuple[int, ...]
    channels: IntArray

    @cached_property
    def owners(self) -> IntArray:
        """The channels that own something, ascending, shape [owners]."""
        return np.unique(self.channels[self.channels >= 0])

    @cached_property
    def places(self) -> IntArray:
        """For every position the place of its channel in ``owners``, past its end if none's."""
        flat = self.channels.ravel()
        return np.where(flat < 0, len(self.owners), np.searchsorted(self.owners, flat))


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Channels that can be removed one by one (or row by row), and every slice they own.

    Attributes:
        name: The module that produces the channels.
        index: Position of the group in the graph: the column of a recipe.
        width: Number of channels.
        members: The dimensions of parameters and buffers it owns positions in.
        rows: Row of every channel if rows must stay equal (groups of a convolution), else None.
        first: Number of its first channel among those of all groups.
    """

    name: str
    index: int
    width: int
    members: tuple[Member, ...]
    rows: IntArray | None
    first: int

    @cached_property
    def num_rows(self) -> int:
        """Number of rows that must keep equally many channels; 1 if there is no such rule."""
        return 1 if self.rows is None else int(self.rows.max()) + 1

    @cached_property
    def by_row(self) -> IntArray:
        """Channels of every row, ascending, shape [rows, width / rows]."""
        rows = np.zeros(self.width, dtype=np.int64) if self.rows is None else self.rows
        return np.argsort(rows, kind="stable").reshape(self.num_rows, -1)

    @property
    def smallest(self) -> int:
        """Smallest width a removal may leave: one channel a row."""
        return self.num_rows

    def check(self, removed: Sequence[int]) -> None:
        """Refuse a removal that this group cannot bear; never repairs it.

        Raises:
            PlanError: An index is out of range or twice, nothing is left, or rows are unequal.
        """
        indices = np.asarray(removed, dtype=np.int64)
        if indices.size and (indices.min() < 0 or indices.max() >= self.width):
            raise PlanError(
                f"{self.name}: channel {int(indices.max() if indices.max() >= self.width else indices.min())} does not exist; "
                f"the group has channels 0 to {self.width - 1}"
            )
        if len(np.unique(indices)) != len(indices):
            raise PlanError(
                f"{self.name}: a channel is named twice in {list(removed)}; name it once"
            )
        if len(indices) == self.width:
            raise PlanError(
                f"{self.name}: the plan removes all {self.width} channels; keep at least "
                f"{self.smallest}"
            )
        if self.rows is not None:
            left = np.bincount(np.delete(self.rows, indices), minlength=self.num_rows)
            if (left != left[0]).any() or left[0] == 0:
                raise PlanError(
                    f"{self.name}: {self.num_rows} rows of channels must keep equally many, at "
                    f"least one; the plan leaves {left.tolist()}"
                )


@dataclass(frozen=True, kw_only=True)
class TraceOptions:
    """How a graph was traced.

    Attributes:
        training: Some module of the model was in train mode.
        protect: Names of modules or parameters the user wanted to keep whole, on both sides.
        shrink_outputs: The model's outputs may shrink.
    """

    training: bool = False
    protect: tuple[str, ...] = ()
    shrink_outputs: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """Which channels of a model go together, and what must stay and why.

    Attributes:
        groups: Everything that can be removed, in the order of the forward pass.
        layouts: Every parameter and buffer that some group owns a part of, by its first name.
        attributes: Integer attributes of modules that count channels:
            (module path, attribute, item or -1) -> channel of every counted position, -1 = fixed.
        frozen: Parameter name -> why (some of) its positions must stay, see :meth:`why`.
        values: For every tensor of the run its channels along every dimension; None if none.
        recording: What the run showed.
        model: The traced model itself (not a copy).
        inputs: The example inputs it was traced with.
        options: How it was traced.
    """

    groups: tuple[Group, ...]
    layouts: Mapping[str, Layout]
    attributes: Mapping[Place, IntArray]
    frozen: Mapping[str, tuple[str, ...]]
    values: Mapping[int, tuple[IntArray | None, ...]] = field(repr=False)
    recording: Recording = field(repr=False)
    model: nn.Module = field(repr=False)
    inputs: Any = field(repr=False)
    options: TraceOptions = TraceOptions()

    @cached_property
    def by_name(self) -> dict[str, Group]:
        """Groups by name."""
        return {g.name: g for g in self.groups}

    @cached_property
    def num_channels(self) -> int:
        """Number of channels of all groups."""
        return sum(g.width for g in self.groups)

    @property
    def widths(self) -> IntArray:
        """Widths of all groups, shape [groups]."""
        return np.array([g.width for g in self.groups], dtype=np.int64)

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        """What channels own, dimension by dimension of every tensor in ``layouts``."""
        found = []
        for name, layout in self.layouts.items():
            pairs = [((dim,), channels) for dim, channels in enumerate(layout.dims)]
            for dims, channels in (*pairs, ((0, 1), layout.inner)):
                if channels is not None:
                    found.append(Slice(tensor=name, dims=dims, channels=channels))
        return tuple(found)

    @cached_property
    def positions(self) -> Positions:
        """The positions of all tensors and attributes, for many plans."""
        dims = {name: layout.dims for name, layout in self.layouts.items()}
        return Positions.of(dims, self.attributes)

    @cached_property
    def skeleton(self) -> Skeleton:
        """Where a model keeps the tensors of ``layouts``, the largest first."""
        homes = (
            Home(
                name=name,
                path=name.rpartition(".")[0],
                own=name.rpartition(".")[2],
                first=first,
                shape=layout.shape,
            )
            for first, layout in self.layouts.items()
            for name in layout.names
        )
        by_size = sorted(homes, key=lambda home: prod(home.shape), reverse=True)
        return Skeleton.of(by_size, (path for path, _, _ in self.attributes))

    @cached_property
    def num_rows(self) -> IntArray:
        """Numbers of rows of all groups, shape [groups]."""
        return np.array([g.num_rows for g in self.groups], dtype=np.int64)

    @cached_property
    def _row_of_channel(self) -> IntArray:
        """Row of every channel, those of all groups numbered through, shape [channels]."""
        own = [np.zeros(g.width, dtype=np.int64) if g.rows is None else g.rows for g in self.groups]
        before = np.cumsum(self.num_rows) - self.num_rows
        return np.concatenate([*own, np.empty(0, dtype=np.int64)]) + np.repeat(before, self.widths)

    def __getitem__(self, name: str) -> Group:
        """Return a group by name.

        Raises:
            UnknownNameError: There is no such group.
        """
        if name not in self.by_name:
            why = [reason for reason in self.why(name) if not reason.startswith(INPUTS)]
            hint = f" It is frozen: {why[0]}" if why else did_you_mean(name, self.by_name)
            raise UnknownNameError(f"the graph has no group {name!r}.{hint}")
        return self.by_name[name]

    def why(self, name: str) -> tuple[str, ...]:
        """Return why the parameters of module (or the parameter) ``name`` must stay, in words.

        Where a reason speaks of one side of a convolution or linear layer only, it says so: "its
        inputs: ..." (the columns of the weight), "its outputs: ..." (its rows, and the bias).
        """
        found: dict[str, None] = {}
        for tensor, reasons in self.frozen.items():
            if tensor == name or tensor.startswith(f"{name}.") or not name:
                found.update(dict.fromkeys(reasons))
        return tuple(
            r for r in found if r.removeprefix(OUTPUTS) == r or r[len(OUTPUTS) :] not in found
        )

    def keep(self, removed: Mapping[str, Sequence[int]]) -> BoolArray:
        """Return which channels a removal leaves, shape [num_channels], True = keep.

        Raises:
            PlanError: A group cannot bear the removal.
            UnknownNameError: A group does not exist.
        """
        mask = np.ones(self.num_channels, dtype=np.bool_)
        for name, indices in removed.items():
            group = self[name]
            group.check(indices)
            mask[group.first + np.asarray(indices, dtype=np.int64)] = False
        return mask

    def check(self, keep: BoolArray) -> None:
        """Refuse a mask over the channels of all groups that some group cannot bear.

        Args:
            keep: Which channels stay, shape [num_channels], True = keep.

        Raises:
            PlanError: The mask has another shape, nothing is left of a group, or rows are unequal.
        """
        if keep.shape != (self.num_channels,):
            raise PlanError(
                f"the mask has shape {list(keep.shape)}; expected one entry for each of the "
                f"{self.num_channels} channels"
            )
        if not self.groups:
            return
        left = np.bincount(self._row_of_channel[keep], minlength=int(self.num_rows.sum()))
        firsts = np.cumsum(self.num_rows) - self.num_rows
        least = np.minimum.reduceat(left, firsts)
        unequal = (least == 0) | (least != np.maximum.reduceat(left, firsts))
        for group in (self.groups[i] for i in np.flatnonzero(unequal)):
            removed = np.flatnonzero(~keep[group.first : group.first + group.width]).tolist()
            group.check(removed)

    def __str__(self) -> str:
        lines = [f"{len(self.groups)} groups, {self.num_channels} channels"]
        lines += [
            f"  {g.name:40s} {g.width:5d} channels"
            + (f" in {g.num_rows} rows" if g.rows is not None else "")
            for g in self.groups
        ]
        return "\n".join(lines)


def kept(channels: IntArray, mask: BoolArray) -> BoolArray:
    """Return which positions stay, given their channels (-1 stays) and the kept channels."""
    return np.append(mask, True)[channels]


def lowest_first(group: Group, scores: npt.NDArray[np.float64]) -> IntArray:
    """Return the channels of each row, lowest score first, shape [rows, width / rows].

    Equal scores go in the order of the channels.
    """
    if group.rows is None:
        return np.argsort(scores, kind="stable")[None]
    order = np.argsort(scores[group.by_row], axis=1, kind="stable")
    return np.take_along_axis(group.by_row, order, axis=1)


def lowest(group: Group, scores: npt.NDArray[np.float64], count: int) -> IntArray:
    """Return the channels of the lowest scores of each row, in no order, shape [rows * count].

    Equal scores count in the order of the channels.

    Args:
        group: The group.
        scores: Of its channels, shape [width].
        count: How many of each row.
    """
    if group.rows is None and 0 < count < group.width:
        # Without sorting the rest; only a limit that several share needs the order.
        found = np.argpartition(scores, count - 1)[:count]
        if np.count_nonzero(scores == scores[found[-1]]) == 1:
            return found
    return lowest_first(group, scores)[:, :count].ravel()

"""Analysis: a recording in, atoms on every position out.

Rules (one file a family under ``rules/``) walk the operators once and emit equalities between
atoms. Where a dimension is split into a grid or dimensions are merged, where channels are dealt
out to the groups of a convolution, and where the code states a size, they leave a record that is
settled afterwards (:mod:`sentei.graph.settle`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from sentei.graph.capture import Call, Op, Recording, Ref, ints_in
from sentei.index.atoms import FROZEN, Atoms, IntArray
from sentei.index.sizes import Expr, Size, expr_of, leaves, plain

Dims: TypeAlias = list[IntArray | None]
"""Atoms along every dimension of a tensor; None where the whole dimension must stay."""

# Calls whose tensors change shape only as torch itself computes it: their inner sizes follow.
AUTO = None


@dataclass(kw_only=True, eq=False)
class Grid:
    """A dimension split into (or merged from) a grid of dimensions.

    After a removal the grid must be a rectangle again, so one axis is chosen along which whole
    slices may go; all other axes stay.

    Attributes:
        cells: Atoms of the merged dimension, shape = sizes of the axes.
        axes: Atoms of each axis.
        where: Where in the model, for messages.
    """

    cells: IntArray
    axes: tuple[IntArray, ...]
    where: str


@dataclass(kw_only=True, eq=False)
class Partition:
    """Channels dealt out in equal rows: after a removal, every row must have as many left.

    Attributes:
        cells: Atoms of the dimension, shape [rows, channels a row].
        where: Where in the model, for messages.
    """

    cells: IntArray
    where: str


@dataclass(kw_only=True, eq=False)
class Slot:
    """A size that the code states: after a removal ``expr`` must count what is left of ``atoms``.

    Attributes:
        expr: The size as an expression of tensor sizes and module attributes.
        atoms: The positions it must count, shape [positions].
        where: Where in the model, for messages.
    """

    expr: Expr
    atoms: IntArray
    where: str


@dataclass(kw_only=True, eq=False)
class Pick:
    """Positions of a dimension picked by a buffer that holds their numbers (or a mask).

    Attributes:
        buffer: Value of the buffer.
        source: Atoms of the dimension, shape [positions].
        op: The operator that picks.
    """

    buffer: int
    source: IntArray
    op: Op


class Analysis:
    """Layouts of all values, and what the rules have said so far."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.atoms = Atoms()
        self.layouts: dict[int, Dims] = {}
        self.grids: list[Grid] = []
        self.partitions: list[Partition] = []
        self.slots: list[Slot] = []
        self.picks: list[Pick] = []
        self.fixed: list[tuple[Expr, str]] = []
        self.dependent: dict[int, IntArray] = {}
        self.merged: dict[tuple[bytes, ...], IntArray] = {}
        for index, value in enumerate(recording.values):
            if value.kind in ("param", "buffer"):
                self.layouts[index] = [self.atoms.fresh(n) if n > 1 else None for n in value.shape]
            elif value.kind in ("input", "const"):
                self.layouts[index] = [None] * len(value.shape)

    # What rules read -----------------------------------------------------------------------

    def shape(self, ref: Ref) -> tuple[int, ...]:
        """Return the sizes of a tensor in the recorded run."""
        return self.recording.values[ref.value].shape

    def dims(self, ref: Ref) -> Dims:
        """Return the atoms along every dimension of a tensor."""
        return list(self.layouts[ref.value])

    def is_parameter(self, ref: Ref) -> bool:
        """Return whether a tensor is a parameter itself, not computed from one."""
        return self.recording.values[ref.value].kind == "param"

    def call(self, op: Op) -> Call | None:
        """Return the user's call an operator belongs to."""
        return self.recording.calls[op.call] if op.call >= 0 else None

    def where(self, op: Op) -> str:
        """Return where an operator stands, for messages."""
        return self.recording.where(op)

    def provenance(self, op: Op, sizes: Sequence[int], *, stated: bool = False) -> list[Any]:
        """Return for every size how the code stated it: AUTO, a number, or an expression.

        Args:
            op: The operator that took ``sizes``.
            sizes: The numbers it was given.
            stated: The call may list one number a size, in this order (``view``, ``split``).
        """
        call = self.call(op)
        if call is None:
            return list(sizes)
        arguments = [*call.arguments[0], *call.arguments[1].values()]
        given = list(ints_in(arguments))
        for candidate in [*arguments, given] if stated else ():
            if _lists(candidate, sizes):
                return [AUTO if plain(g) < 0 else expr_of(g) for g in candidate]
        return [_match(given, size) for size in sizes]

    # What rules say ------------------------------------------------------------------------

    def set(self, value: int, dims: Dims) -> None:
        """Give a result its layout; an in-place result is equated with what it was."""
        shape = self.recording.values[value].shape
        dims = [d if d is None or len(d) == n else None for d, n in zip(dims, shape, strict=True)]
        known = self.layouts.get(value)
        if known is None:
            self.layouts[value] = dims
        else:
            self.equate_dims(known, dims)

    def equate(self, left: IntArray | None, right: IntArray | None) -> None:
        """State that two dimensions are the same channels; None freezes the other."""
        if left is None and right is None:
            return
        zero = np.zeros(1, dtype=np.int64)
        self.atoms.equate(zero if left is None else left, zero if right is None else right)

    def equate_dims(self, left: Dims, right: Dims) -> None:
        """Equate two layouts dimension by dimension."""
        for a, b in zip(left, right, strict=True):
            if a is not b:
                self.equate(a, b)

    def freeze(self, atoms: IntArray | None, op: Op, why: str) -> None:
        """State that a dimension must stay as it is, and why, in words a user can act on."""
        if atoms is not None and len(atoms) > 0:
            self.atoms.freeze(atoms, f"{why} in {self.where(op)}")

    def freeze_dims(self, dims: Dims, op: Op, why: str) -> None:
        """Freeze every dimension of a layout."""
        for atoms in dims:
            self.freeze(atoms, op, why)

    def freeze_values(self, values: Iterable[int], reason: str) -> None:
        """Freeze every dimension of tensors, for a reason that has no place in the code."""
        for value in values:
            for atoms in self.layouts[value]:
                if atoms is not None:
                    self.atoms.freeze(atoms, reason)

    def fresh(self, count: int) -> IntArray:
        """Return new atoms."""
        return self.atoms.fresh(count)

    def slot(self, expr: Expr | None, atoms: IntArray | None, op: Op) -> None:
        """State that the code's ``expr`` counts ``atoms``; a bare number freezes them."""
        if atoms is None or expr is AUTO:
            return
        if not leaves(expr):
            self.freeze(atoms, op, f"the size {expr} is written in the code")
        else:
            self.slots.append(Slot(expr=expr, atoms=atoms, where=self.where(op)))

    def fix(self, expr: Expr | None, op: Op) -> None:
        """State that the value of ``expr`` must not change."""
        if expr is not AUTO and leaves(expr):
            self.fixed.append((expr, self.where(op)))

    def grid(self, cells: IntArray, op: Op, axes: Sequence[IntArray | None] = ()) -> Dims:
        """Register a grid and return the atoms of its axes (new ones where not given).

        Axes along which the cells do not vary need no atoms: removing along the others keeps
        them whole.
        """
        given = list(axes) or [None] * cells.ndim
        varies = [bool((cells != cells.take([0], axis=k)).any()) for k in range(cells.ndim)]
        if not cells.any() or not any(varies):
            self.freeze(np.unique(cells), op, "a single channel is spread over a dimension")
            for atoms in axes:
                self.equate(atoms, None)
            return [None] * cells.ndim
        result: Dims = [None] * cells.ndim
        live = [k for k in range(cells.ndim) if varies[k]]
        for k in range(cells.ndim):
            if k not in live:
                self.equate(given[k], None)
        core = cells[tuple(slice(None) if v else 0 for v in varies)]
        if len(live) == 1:
            result[live[0]] = core
            if given[live[0]] is not None:
                self.equate(core, given[live[0]])
            return result
        chosen = [given[k] if given[k] is not None else self.fresh(cells.shape[k]) for k in live]
        for k, atoms in zip(live, chosen, strict=True):
            result[k] = atoms
        self.grids.append(Grid(cells=core, axes=tuple(chosen), where=self.where(op)))  # type: ignore[arg-type]
        return result

    def partition(self, cells: IntArray | None, op: Op) -> None:
        """Register rows of channels of which equally many must stay."""
        if cells is not None and cells.shape[0] > 1:
            self.partitions.append(Partition(cells=cells, where=self.where(op)))


def _lists(candidate: object, sizes: Sequence[int]) -> bool:
    """Return whether an argument lists exactly these sizes, some perhaps left open (-1)."""
    if not isinstance(candidate, list | tuple) or len(candidate) != len(sizes):
        return False
    return all(
        isinstance(g, int) and plain(g) in (size, -1)
        for g, size in zip(candidate, sizes, strict=True)
    )


def _match(given: Sequence[int], size: int) -> Expr | None:
    equal = [g for g in given if plain(g) == size]
    for candidate in equal:
        if isinstance(candidate, Size):
            return candidate.expr
    return size if equal else AUTO


Rule: TypeAlias = Callable[[Analysis, Op], None]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Return a decorator that registers the rule of one or more ATen operators."""

    def add(function: Rule) -> Rule:
        for name in names:
            if name in RULES:
                raise ValueError(f"the operator {name!r} has two rules; keep one")
            RULES[name] = function
        return function

    return add


def refs(op: Op) -> list[Ref]:
    """Return every tensor argument of an operator."""
    found: list[Ref] = []
    for value in op.args.values():
        if isinstance(value, Ref):
            found.append(value)
        elif isinstance(value, list):
            found.extend(v for v in value if isinstance(v, Ref))
    return found


def pointwise(a: Analysis, op: Op) -> None:
    """Elementwise with broadcasting: aligned positions go together."""
    for value in op.outputs:
        shape = a.recording.values[value].shape
        dims: Dims = [None] * len(shape)
        seen: set[int] = set()
        for at, atoms in _aligned(a, op, shape):
            if at in seen:
                a.equate(dims[at], atoms)
            dims[at] = atoms if at not in seen or atoms is None else dims[at]
            seen.add(at)
        a.set(value, dims)


def _aligned(a: Analysis, op: Op, shape: tuple[int, ...]) -> Iterator[tuple[int, IntArray | None]]:
    """Yield every dimension of an argument that is not broadcast: (where in ``shape``, atoms)."""
    for ref in refs(op):
        own = a.shape(ref)
        for k, (size, atoms) in enumerate(zip(own, a.dims(ref), strict=True)):
            at = k + len(shape) - len(own)
            if at >= 0 and size == shape[at]:
                yield at, atoms


def unknown(a: Analysis, op: Op) -> None:
    """No rule: freeze every tensor the operator touches."""
    for ref in refs(op):
        a.freeze_dims(a.dims(ref), op, f"sentei has no rule for the operator {op.name!r}")
    for value in op.outputs:
        a.set(value, [None] * len(a.recording.values[value].shape))


def analyse(recording: Recording) -> Analysis:
    """Return the analysis of a recording: every rule applied, nothing settled yet."""
    a = Analysis(recording)
    for op in recording.ops:
        chosen = RULES.get(op.name)
        if chosen is None:
            tagged = op.func is not None and torch.Tag.pointwise in op.func.tags
            chosen = pointwise if tagged else unknown
        chosen(a, op)
    used = {ref.value for op in recording.ops for ref in refs(op)} | set(recording.outputs)
    named = {index for index, value in enumerate(recording.values) if value.name}
    a.freeze_values(named - used, "the run does not use it")
    return a


__all__ = [
    "AUTO",
    "FROZEN",
    "RULES",
    "Analysis",
    "Dims",
    "Grid",
    "Partition",
    "Pick",
    "Slot",
    "analyse",
]

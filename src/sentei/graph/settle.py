"""Settling: from equalities to channels that can really be removed.

Three kinds of record are left by the rules. A *grid* picks the axis along which slices go. A
*partition* keeps rows equal, or joins its columns where it cannot. A *slot* (a size that the code
states) is tried on random removals: if an attribute carries it, the attribute is set with the
plan; if it follows by itself, good; otherwise what it counts is frozen, and said so.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np

from sentei.graph.analysis import Analysis, Grid, Slot
from sentei.index.atoms import BoolArray, Classes, IntArray
from sentei.index.sizes import Expr, compare, evaluate, leaves

Leaf = tuple[Any, ...]
# Sizes of two independent groups of width n are taken for one with probability n ** (1 - _TRIALS).
_TRIALS = 12


@dataclass(kw_only=True)
class Settled:
    """Channels of a model.

    Attributes:
        classes: Class of every atom.
        signature: Equal for classes that own positions in the same dimensions; one a class.
        balanced: Partitions of which every row must keep equally many: class ids [rows, n].
        attributes: Module attributes that count channels: (path, key, item) -> atoms counted.
    """

    classes: Classes
    signature: IntArray
    balanced: list[IntArray] = field(default_factory=list)
    attributes: dict[tuple[str, str, int], IntArray] = field(default_factory=dict)


def settle(a: Analysis, originals: dict[tuple[str, str, int], int]) -> Settled:
    """Return which channels exist, after every record of the rules holds.

    Args:
        a: The analysis; freezes and equalities are added to its atoms.
        originals: Value of every integer attribute in the traced model.
    """
    decided: set[int] = set()
    joined: set[int] = set()
    _follow_guards(a)
    while True:
        classes = a.atoms.solve()
        changed = _decide_grids(a, decided, classes)
        if changed:
            continue
        signature = _signatures(a, classes)
        settled = Settled(classes=classes, signature=signature)
        if _settle_partitions(a, settled, joined):
            continue
        if _try_sizes(a, settled, originals):
            continue
        return settled


def _follow_guards(a: Analysis) -> None:
    """Where the code checks a size against an attribute, the attribute follows the size."""
    for name, left, right, outcome, where in a.recording.guards:
        if name not in ("eq", "ne") or outcome is not (name == "eq"):
            continue
        attr, dim = (right, left) if _is_leaf(left, "dim") else (left, right)
        if _is_leaf(attr, "attr") and _is_leaf(dim, "dim"):
            atoms = _atoms_of(a, dim)
            if atoms is not None:
                a.slots.append(Slot(expr=attr, atoms=atoms, where=where))


def _is_leaf(expr: Expr, kind: str) -> TypeGuard[Leaf]:
    return isinstance(expr, tuple) and expr[0] == kind


# Grids -----------------------------------------------------------------------------------------


def _decide_grids(a: Analysis, decided: set[int], classes: Classes) -> bool:
    """Choose an axis for every grid that has no choice; if none is forced, for independent ones."""
    open_grids = [grid for grid in a.grids if id(grid) not in decided]
    options = [(_options(a, grid, classes), grid) for grid in open_grids]
    chosen = [pair for pair in options if len(pair[0]) <= 1] or _independent(options, classes)
    for axes, grid in chosen:
        _choose(a, grid, axes[0] if axes else None)
        decided.add(id(grid))
    return bool(chosen)


def _independent(
    options: Iterable[tuple[list[int], Grid]], classes: Classes
) -> list[tuple[list[int], Grid]]:
    """Return those that share no channel with one before them: what one decides binds the next."""
    found = []
    taken = np.zeros(len(classes.frozen), dtype=np.bool_)
    for axes, grid in options:
        own = classes.labels[np.concatenate([grid.cells.ravel(), *grid.axes])]
        if not taken[own].any():
            found.append((axes, grid))
        taken[own] = True
    return found


def _options(a: Analysis, grid: Grid, classes: Classes) -> list[int]:
    """Return the axes along which a slice could go, outermost first."""
    frozen = classes.frozen[classes.labels[grid.cells]]
    result = []
    for k, atoms in enumerate(grid.axes):
        others = tuple(j for j in range(grid.cells.ndim) if j != k)
        stays = classes.frozen[classes.labels[atoms]] | frozen.any(axis=others)
        if not stays.all() and not _empties_a_row(a, grid, k, classes):
            result.append(k)
    return result


def _empties_a_row(a: Analysis, grid: Grid, axis: int, classes: Classes) -> bool:
    """Return whether a slice along ``axis`` holds a whole row of a partition: it can never go.

    Behind a convolution in four groups, a channel shuffle by four sees each group as one slice.
    """
    slice_of = np.full(len(classes.frozen), -1)
    slices = np.moveaxis(classes.labels[grid.cells], axis, 0).reshape(grid.cells.shape[axis], -1)
    slice_of[slices] = np.arange(len(slices))[:, None]
    for partition in a.partitions:
        owners = slice_of[classes.labels[partition.cells]]
        if ((owners[:, 0] >= 0) & (owners == owners[:, :1]).all(axis=1)).any():
            return True
    return False


def _choose(a: Analysis, grid: Grid, axis: int | None) -> None:
    shape = " x ".join(str(n) for n in grid.cells.shape)
    reason = f"the grid {shape} must stay rectangular in {grid.where}"
    for k, atoms in enumerate(grid.axes):
        if k != axis:
            a.atoms.freeze(atoms, reason)
    if axis is None:
        a.atoms.freeze(grid.cells, reason)
    else:
        cells = np.moveaxis(grid.cells, axis, 0)
        a.atoms.equate(cells.reshape(len(cells), -1), grid.axes[axis][:, None])


# Groups of equal signature ---------------------------------------------------------------------


def _signatures(a: Analysis, classes: Classes) -> IntArray:
    """Return a hash a class of the dimensions it owns positions in, and how many."""
    rng = np.random.default_rng(0)
    total = np.zeros(len(classes.frozen), dtype=np.int64)
    seen: set[tuple[int, int]] = set()
    arrays: list[IntArray] = []
    for layout in a.layouts.values():
        for atoms in layout:
            if atoms is None:
                continue
            key = (atoms.__array_interface__["data"][0], len(atoms))
            if key not in seen or not atoms.flags.c_contiguous:
                seen.add(key)
                arrays.append(atoms)
    arrays += [inner.ravel() for inner in a.dependent.values()]
    salts = rng.integers(1, 2**62, size=len(arrays))
    for atoms, salt in zip(arrays, salts, strict=True):
        np.add.at(total, classes.labels[atoms], salt)
    return total


# Partitions ------------------------------------------------------------------------------------


def _settle_partitions(a: Analysis, settled: Settled, joined: set[int]) -> bool:
    """Accept every partition that can stay equal by counting; join the columns of the others."""
    changed = False
    for index, partition in enumerate(a.partitions):
        if index in joined:
            continue
        cells = settled.classes.of(partition.cells)
        rows = np.sort(cells, axis=1)
        if (rows == rows[0]).all():
            continue
        if _can_balance(cells, settled):
            settled.balanced.append(cells)
        else:
            a.atoms.equate(partition.cells, partition.cells[:1])
            joined.add(index)
            changed = True
    return changed or _untangle(a, settled, joined)


def _can_balance(cells: IntArray, settled: Settled) -> bool:
    if (cells < 0).any():
        return False
    signatures = settled.signature[cells]
    unique, counts = np.unique(cells, return_counts=True)
    in_one_row = sum(len(np.unique(row)) for row in cells) == len(unique)
    return bool(
        (signatures == signatures[0, 0]).all() and (counts == counts[0]).all() and in_one_row
    )


def _untangle(a: Analysis, settled: Settled, joined: set[int]) -> bool:
    """Two different partitions of the same channels: join the columns of all but the first."""
    first: dict[int, bytes] = {}
    for cells in settled.balanced:
        key = np.unique(cells).tobytes()
        for signature in np.unique(settled.signature[cells]):
            known = first.setdefault(int(signature), key + _rows_key(cells))
            if known != key + _rows_key(cells):
                return _join_matching(a, settled, cells, joined)
    return False


def _rows_key(cells: IntArray) -> bytes:
    return np.sort(np.sort(cells, axis=1), axis=0).tobytes()


def _join_matching(a: Analysis, settled: Settled, cells: IntArray, joined: set[int]) -> bool:
    for index, partition in enumerate(a.partitions):
        if index not in joined and np.array_equal(settled.classes.of(partition.cells), cells):
            a.atoms.equate(partition.cells, partition.cells[:1])
            joined.add(index)
            return True
    return False


# Sizes -----------------------------------------------------------------------------------------


def _try_sizes(a: Analysis, settled: Settled, originals: dict[tuple[str, str, int], int]) -> bool:
    """Try random removals; freeze what a stated size cannot follow. True if anything froze."""
    if not (a.slots or a.recording.guards or a.recording.escapes or a.fixed):
        return False
    rng = np.random.default_rng(1)
    settled.attributes = {}
    for slot in a.slots:
        if _is_leaf(slot.expr, "attr"):
            settled.attributes.setdefault(slot.expr[1:], slot.atoms)
    _solve_differences(a, settled)
    everything = np.ones(len(settled.classes.frozen), dtype=np.bool_)
    dense = _Trial(a, settled, originals, everything)
    for number in range(_TRIALS):
        keep = _some_removal(settled, rng, from_all=number == 0)
        if _fails(a, settled, _Trial(a, settled, originals, keep), dense):
            return True
    return False


def _fails(a: Analysis, settled: Settled, trial: "_Trial", dense: "_Trial") -> bool:
    """Freeze or join what the code's sizes could not follow in a trial; False if all was well."""
    wrong = [s for s in a.slots if trial.value(s.expr) != trial.count(s.atoms)]
    if wrong:
        if not _join_equal(a, settled, wrong):
            _freeze_wrong(a, settled, wrong)
        return True
    used = a.recording.escapes + a.fixed
    changed = [(e, where) for e, where in used if trial.value(e) != dense.value(e)]
    for expr, where in changed:
        _freeze_leaves(a, settled, leaves(expr), f"its size is used as a number in {where}")
    if changed:
        return True
    flipped = [
        (leaves(left) + leaves(right), where)
        for name, left, right, outcome, where in a.recording.guards
        if compare(name, trial.value(left), trial.value(right)) is not outcome
    ]
    for sizes, where in flipped:
        _freeze_leaves(a, settled, sizes, f"the code branches on this size in {where}")
    return bool(flipped)


def _solve_differences(a: Analysis, settled: Settled) -> None:
    """Where the code counts with ``self.a - self.b`` and b is known, a counts both parts."""
    for slot in a.slots:
        expr = slot.expr
        if isinstance(expr, int) or expr[0] != "-":
            continue
        whole, part = expr[1], expr[2]
        if not (isinstance(whole, tuple) and isinstance(part, tuple)):
            continue
        known = settled.attributes.get(part[1:]) if part[0] == "attr" else None
        if known is not None and whole[0] == "attr":
            both = np.concatenate([slot.atoms, known])
            settled.attributes.setdefault(whole[1:], both)


def _join_equal(a: Analysis, settled: Settled, wrong: Iterable[Slot]) -> bool:
    """Where the code takes one size for another, let their positions go together.

    Attention that writes ``reshape(b, n, c)`` with the ``c`` of its input says that heads times
    head size equals the width of the stream: position i of one then stands for i of the other.
    One attribute that counts several dimensions says the same of them.
    """
    by_kind: dict[str, list[Slot]] = {"dim": [], "attr": [], "//": []}
    for slot in wrong:
        if isinstance(slot.expr, tuple):
            by_kind.setdefault(slot.expr[0], []).append(slot)
    # The plainest statement first: it often settles the others.
    return any(_join_slots(a, settled, by_kind[kind]) for kind in ("dim", "attr", "//"))


def _join_slots(a: Analysis, settled: Settled, slots: Iterable[Slot]) -> bool:
    joined = False
    for slot in slots:
        other, own = _counterpart(a, settled, slot)
        if other is None or len(other) != len(own):
            continue
        new = int(own.max(initial=0)) >= len(settled.classes.labels)
        if new or (settled.classes.of(other) != settled.classes.of(own)).any():
            a.atoms.equate(other, own)
            joined = True
    return joined


def _counterpart(a: Analysis, settled: Settled, slot: Slot) -> tuple[IntArray | None, IntArray]:
    """Return the positions that a wrong size counts, and those it should count."""
    expr = slot.expr
    assert not isinstance(expr, int)
    if expr[0] == "dim":
        return _atoms_of(a, expr), slot.atoms
    if expr[0] == "attr":
        return settled.attributes.get(expr[1:]), slot.atoms
    if expr[0] == "//" and all(isinstance(e, tuple) for e in expr[1:]):
        # ``c // heads`` for the size of a head: c = heads x head size.
        whole, heads = expr[1], expr[2]
        rows = settled.attributes.get(heads[1:]) if heads[0] == "attr" else None
        atoms = _atoms_of(a, whole) if whole[0] == "dim" else None
        if atoms is not None and rows is not None and len(rows) * len(slot.atoms) == len(atoms):
            key = (atoms.tobytes(), rows.tobytes(), slot.atoms.tobytes())
            if key not in a.merged:
                cells = a.fresh(len(atoms)).reshape(len(rows), -1)
                grid = Grid(cells=cells, axes=(rows, slot.atoms), where=slot.where)
                a.merged[key] = cells.ravel()
                a.grids.append(grid)
                return atoms, a.merged[key]
    return None, slot.atoms


def _atoms_of(a: Analysis, leaf: Leaf) -> IntArray | None:
    layout = a.layouts.get(leaf[1])
    return layout[leaf[2]] if layout else None


def _freeze_wrong(a: Analysis, settled: Settled, wrong: Iterable[Slot]) -> None:
    for slot in wrong:
        reason = f"the code computes this size from others in {slot.where}"
        if (settled.classes.of(slot.atoms) >= 0).any():
            a.atoms.freeze(slot.atoms, reason)
        else:
            _freeze_leaves(a, settled, leaves(slot.expr), reason)


def _freeze_leaves(a: Analysis, settled: Settled, sizes: Iterable[Leaf], reason: str) -> None:
    for leaf in sizes:
        atoms = _atoms_of(a, leaf) if leaf[0] == "dim" else settled.attributes.get(leaf[1:])
        if atoms is not None:
            a.atoms.freeze(atoms, reason)


def _some_removal(
    settled: Settled, rng: np.random.Generator, *, from_all: bool = False
) -> BoolArray:
    """Return a random removal that keeps every partition equal: True = keep, one a class.

    Args:
        settled: Which classes belong together.
        rng: Chooses what goes, and how much of it.
        from_all: Take something from everything that has more than one channel.
    """

    def count(total: int) -> int:
        return int(rng.integers(1, max(total, 2) if from_all else total + 1))

    free = rng.permutation(np.flatnonzero(~settled.classes.frozen))
    free = free[np.argsort(settled.signature[free], kind="stable")]
    keep = settled.classes.frozen.copy()
    _, firsts, sizes = np.unique(settled.signature[free], return_index=True, return_counts=True)
    for first, size in zip(firsts.tolist(), sizes.tolist(), strict=True):
        keep[free[first : first + count(size)]] = True
    for cells in settled.balanced:
        distinct = len(np.unique(cells[0]))
        left = count(distinct)
        if distinct == cells.shape[1]:
            columns = rng.permutation(distinct) < left
            keep[cells] = columns[np.argsort(np.argsort(cells, axis=1), axis=1)]
        else:
            for row in cells:
                keep[np.unique(row)] = np.arange(distinct) < left
    return keep


class _Trial:
    """Sizes after one removal."""

    def __init__(
        self,
        a: Analysis,
        settled: Settled,
        originals: dict[tuple[str, str, int], int],
        keep: BoolArray,
    ) -> None:
        self.layouts, self.values = a.layouts, a.recording.values
        self.kept_atoms = keep[settled.classes.labels]
        self.attributes = settled.attributes
        self.originals = originals

    def count(self, atoms: IntArray) -> int:
        return int(self.kept_atoms[atoms].sum())

    def value(self, expr: Expr) -> int:
        return evaluate(expr, self._leaf)

    def _leaf(self, leaf: Leaf) -> int:
        if leaf[0] == "attr":
            atoms = self.attributes.get(leaf[1:])
            return self.originals[leaf[1:]] if atoms is None else self.count(atoms)
        layout = self.layouts.get(leaf[1])
        atoms = layout[leaf[2]] if layout else None
        return self.values[leaf[1]].shape[leaf[2]] if atoms is None else self.count(atoms)

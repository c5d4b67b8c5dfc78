"""Operators that move, split, merge, join and repeat positions without computing."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sentei.graph.analysis import AUTO, Analysis, Dims, rule
from sentei.graph.capture import Call, Op
from sentei.index.atoms import IntArray
from sentei.index.sizes import Expr, expr_of, plain


def _blocks(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the smallest runs of dimensions of equal product: (dims before, dims after)."""
    i = j = 0
    while i < len(before) or j < len(after):
        left, right = [i] if i < len(before) else [], [j] if j < len(after) else []
        p = before[i] if left else 1
        q = after[j] if right else 1
        i, j = i + len(left), j + len(right)
        while p != q:
            if p < q:
                left.append(i)
                p, i = p * before[i], i + 1
            else:
                right.append(j)
                q, j = q * after[j], j + 1
        yield left, right


@rule("view", "unsafe_view", "reshape_alias", "view_copy")
def view(a: Analysis, op: Op) -> None:
    """Split and merge dimensions, block by block."""
    x = op.args["self"]
    before, dims = a.shape(x), a.dims(x)
    after = a.recording.values[op.outputs[0]].shape
    if 0 in before:
        a.freeze_dims(dims, op, "a tensor without elements is reshaped")
        a.set(op.outputs[0], [None] * len(after))
        return
    stated = _unflattened(a, op, len(after)) or a.provenance(op, after, stated=True)
    out: Dims = [None] * len(after)
    for left, right in _blocks(before, after):
        sizes = [after[k] for k in right]
        parts = [(before[k], dims[k]) for k in left]
        for k, atoms in zip(right, _reshape(a, op, parts, sizes), strict=True):
            out[k] = atoms
            a.slot(stated[k], atoms, op)
    a.set(op.outputs[0], out)


def _unflattened(a: Analysis, op: Op, rank: int) -> list[Any] | None:
    """Return how the sizes of ``unflatten(dim, sizes)`` were stated; None for other calls."""
    call = a.call(op)
    if call is None or call.function != "unflatten":
        return None
    args, kwargs = call.arguments
    dim, sizes = (
        kwargs[key] if key in kwargs else args[at] for at, key in ((1, "dim"), (2, "sizes"))
    )
    if not isinstance(dim, int):
        return None
    dim = plain(dim) % (rank - len(sizes) + 1)
    stated: list[Any] = [AUTO] * rank
    stated[dim : dim + len(sizes)] = [AUTO if plain(n) < 0 else expr_of(n) for n in sizes]
    return stated


def _reshape(
    a: Analysis, op: Op, parts: list[tuple[int, IntArray | None]], sizes: list[int]
) -> Dims:
    """Return the atoms of the dimensions ``sizes`` that hold the positions of ``parts``."""
    if len(parts) == len(sizes) == 1:
        return [parts[0][1]]
    for length, atoms in parts:
        if length == 1:
            a.freeze(atoms, op, "a single channel is reshaped")
    if all(atoms is None or length == 1 for length, atoms in parts):
        return [None] * len(sizes)
    cells = _merge(a, op, parts)
    wide = [k for k, n in enumerate(sizes) if n > 1]
    out: Dims = [None] * len(sizes)
    if len(wide) == 1:
        out[wide[0]] = cells
        return out
    axes = a.grid(cells.reshape([sizes[k] for k in wide]), op)
    for k, atoms in zip(wide, axes, strict=True):
        out[k] = atoms
    return out


def _merge(a: Analysis, op: Op, parts: list[tuple[int, IntArray | None]]) -> IntArray:
    """Return the atoms of the merged dimension, shape [product of lengths]."""
    live = [atoms for length, atoms in parts if atoms is not None and length > 1]
    if len(live) == 1:
        core = live[0]
    else:
        sizes = [len(atoms) for atoms in live]
        core = a.fresh(int(np.prod(sizes))).reshape(sizes)
        a.grid(core, op, live)
    lengths = [length for length, _ in parts]
    shape = [n if atoms is not None and n > 1 else 1 for n, atoms in parts]
    return np.broadcast_to(core.reshape(shape), lengths).ravel()


@rule("permute")
def permute(a: Analysis, op: Op) -> None:
    """Reorder dimensions."""
    dims = a.dims(op.args["self"])
    a.set(op.outputs[0], [dims[k] for k in op.args["dims"]])


@rule("transpose", "t")
def transpose(a: Analysis, op: Op) -> None:
    """Swap two dimensions."""
    dims = a.dims(op.args["self"])
    first, second = op.args.get("dim0", -2), op.args.get("dim1", -1)
    if len(dims) > 1:
        dims[first], dims[second] = dims[second], dims[first]
    a.set(op.outputs[0], dims)


@rule("unsqueeze")
def unsqueeze(a: Analysis, op: Op) -> None:
    """Insert a dimension of size 1."""
    dims = a.dims(op.args["self"])
    dims.insert(op.args["dim"] % (len(dims) + 1), None)
    a.set(op.outputs[0], dims)


@rule("squeeze")
def squeeze(a: Analysis, op: Op) -> None:
    """Drop dimensions of size 1; which ones must not depend on the widths."""
    x = op.args["self"]
    dims, shape = a.dims(x), a.shape(x)
    over = op.args.get("dim")
    chosen = range(len(dims)) if over is None else [d % len(dims) for d in np.atleast_1d(over)]
    dropped = {k for k in chosen if shape[k] == 1}
    for k in dropped:
        a.freeze(dims[k], op, "a single channel is squeezed")
    a.set(op.outputs[0], [d for k, d in enumerate(dims) if k not in dropped])


@rule("expand", "expand_copy", "broadcast_to")
def expand(a: Analysis, op: Op) -> None:
    """Repeat positions of size-1 dimensions; new positions are copies, any number will do."""
    x = op.args["self"]
    shape, dims = a.shape(x), a.dims(x)
    after = a.recording.values[op.outputs[0]].shape
    stated = a.provenance(op, after, stated=True)
    extra = len(after) - len(shape)
    call = a.call(op)
    by_tensor = call is not None and call.function in ("expand_as", "broadcast_tensors")
    out: Dims = [None] * len(after)
    for k, size in enumerate(after):
        old = 1 if k < extra else shape[k - extra]
        if old == size:
            out[k] = dims[k - extra] if k >= extra else None
        elif not by_tensor and not isinstance(stated[k], int):
            out[k] = a.fresh(size)
            a.slot(stated[k], out[k], op)
    if by_tensor and call is not None:
        _like_the_others(a, op, call.tensors, out)
    a.set(op.outputs[0], out)


def _like_the_others(a: Analysis, op: Op, tensors: tuple[int, ...], out: Dims) -> None:
    after = a.recording.values[op.outputs[0]].shape
    for value in tensors:
        own, shape = a.layouts.get(value), a.recording.values[value].shape
        if own is None or len(shape) != len(after):
            continue
        for k, atoms in enumerate(own):
            if shape[k] == after[k] and out[k] is None:
                out[k] = atoms


@rule("repeat", "tile")
def repeat(a: Analysis, op: Op) -> None:
    """Tile every dimension a fixed number of times."""
    x = op.args["self"]
    shape, dims = a.shape(x), a.dims(x)
    times = op.args["repeats"]
    stated = a.provenance(op, times, stated=True)
    extra = len(times) - len(shape)
    out: Dims = []
    for k, count in enumerate(times):
        atoms = dims[k - extra] if k >= extra else None
        if count > 1 and (k < extra or shape[k - extra] == 1) and not isinstance(stated[k], int):
            a.freeze(atoms, op, "a single channel is repeated")
            atoms = a.fresh(count)
            a.slot(stated[k], atoms, op)
        elif count > 1 and atoms is not None:
            a.fix(stated[k], op)
            atoms = np.tile(atoms, count)
        out.append(atoms)
    a.set(op.outputs[0], out)


@rule("cat", "concat")
def cat(a: Analysis, op: Op) -> None:
    """Join tensors along one dimension; the others go together."""
    every = op.args["tensors"]
    # torch takes a tensor of shape [0] for nothing, whatever the rank of the others.
    tensors = [t for t in every if a.shape(t) != (0,)] or every
    k = op.args["dim"] % len(a.shape(tensors[0]))
    layouts = [a.dims(t) for t in tensors]
    out = list(layouts[0])
    for other in layouts[1:]:
        for d in range(len(out)):
            if d != k:
                a.equate(out[d], other[d])
                out[d] = out[d] if other[d] is not None else None
    joined = [
        np.zeros(a.shape(t)[k], np.int64) if own[k] is None else own[k]
        for t, own in zip(tensors, layouts, strict=True)
    ]
    out[k] = np.concatenate(joined) if any(own[k] is not None for own in layouts) else None
    a.set(op.outputs[0], out)


@rule("stack")
def stack(a: Analysis, op: Op) -> None:
    """Join tensors along a new dimension."""
    layouts = [a.dims(t) for t in op.args["tensors"]]
    out = list(layouts[0])
    for other in layouts[1:]:
        for d in range(len(out)):
            a.equate(out[d], other[d])
            out[d] = out[d] if other[d] is not None else None
    out.insert(op.args["dim"] % (len(out) + 1), None)
    a.set(op.outputs[0], out)


@rule("split", "unsafe_split", "split_with_sizes", "unsafe_split_with_sizes", "chunk",
      "unsafe_chunk", "tensor_split", "split_with_sizes_copy", "split_copy")  # fmt: skip
def split(a: Analysis, op: Op) -> None:
    """Cut one dimension into pieces; pieces of equal size must stay equal."""
    dims = a.dims(op.args["self"])
    if not op.outputs:
        return
    k = op.args["dim"] % len(dims)
    sizes = [a.recording.values[v].shape[k] for v in op.outputs]
    atoms = dims[k]
    listed = isinstance(op.args.get("split_sizes"), list)
    stated: list[Any] = a.provenance(op, sizes, stated=True)
    if _counts_pieces(a.call(op)):
        stated = [AUTO] * len(sizes)
    if atoms is not None and all(s is AUTO for s in stated) and len(set(sizes)) > 1:
        a.freeze(atoms, op, "pieces of different sizes are cut from it")
    elif atoms is not None and len(set(sizes)) == 1 and not (listed and _distinct(stated)):
        a.partition(atoms.reshape(len(sizes), -1), op)
    start = 0
    for value, size, expr in zip(op.outputs, sizes, stated, strict=True):
        piece = None if atoms is None else atoms[start : start + size]
        a.slot(expr, piece, op)
        a.set(value, [piece if d == k else own for d, own in enumerate(dims)])
        start += size


def _distinct(stated: Sequence[Any]) -> bool:
    """Return whether every piece has a size of its own that can be set."""
    return all(isinstance(s, tuple) for s in stated) and len(set(stated)) == len(stated)


@rule("unbind", "unbind_copy")
def unbind(a: Analysis, op: Op) -> None:
    """Cut one dimension into single positions: it must stay."""
    dims = a.dims(op.args["self"])
    k = op.args["dim"] % len(dims)
    a.freeze(dims[k], op, "every position of this dimension is used on its own")
    for value in op.outputs:
        a.set(value, [d for j, d in enumerate(dims) if j != k])


@rule("select", "select_copy")
def select(a: Analysis, op: Op) -> None:
    """Take one position: it and those counted before it must stay."""
    dims = a.dims(op.args["self"])
    k, at = op.args["dim"] % len(dims), op.args["index"]
    atoms = dims[k]
    if atoms is not None:
        a.freeze(atoms[at:] if at < 0 else atoms[: at + 1], op, f"position {at} is picked")
    a.set(op.outputs[0], [d for j, d in enumerate(dims) if j != k])


@rule("slice", "slice_copy", "narrow")
def slice_(a: Analysis, op: Op) -> None:
    """Take a range: its bounds must count the same channels afterwards."""
    dims = a.dims(op.args["self"])
    k = (op.args["dim"] or 0) % len(dims)
    atoms = dims[k]
    if atoms is not None:
        dims[k] = _range(a, op, atoms)
        _narrowed(a, op, dims[k])
    a.set(op.outputs[0], dims)


def _range(a: Analysis, op: Op, atoms: IntArray) -> IntArray:
    start, end, step = op.args["start"] or 0, op.args["end"], op.args["step"] or 1
    end = len(atoms) if end is None or end > len(atoms) else end
    if _counts_pieces(a.call(op)):
        _equal_pieces(a, op, atoms, end - start)
    else:
        _bound(a, op, atoms, start)
        _bound(a, op, atoms, end)
    if step != 1:
        a.freeze(atoms, op, f"one position in {step} is taken")
    return atoms[start:end:step]


def _bound(a: Analysis, op: Op, atoms: IntArray, bound: int) -> None:
    if bound % len(atoms) == 0:
        return
    (stated,) = a.provenance(op, [bound])
    counted = atoms[:bound] if bound > 0 else atoms[bound:]
    if stated is AUTO:
        a.freeze(counted, op, "a range is cut at a size sentei cannot follow")
    else:
        a.slot(_signed(("-", 0, stated) if bound < 0 else stated), counted, op)


# Calls that are given a number of pieces (or, but for ``chunk``, where to cut).
_COUNTED = frozenset({"chunk", "unsafe_chunk", "tensor_split", "hsplit", "vsplit", "dsplit"})


def _counts_pieces(call: Call | None) -> bool:
    """Return whether a call was given a number of pieces, not where to cut."""
    if call is None or call.function not in _COUNTED:
        return False
    args, kwargs = call.arguments
    return isinstance(next(iter([*args[1:], *kwargs.values()])), int)


def _equal_pieces(a: Analysis, op: Op, atoms: IntArray, size: int) -> None:
    if len(atoms) % size == 0:
        a.partition(atoms.reshape(-1, size), op)
    else:
        a.freeze(atoms, op, "pieces of different sizes are cut from it")


def _narrowed(a: Analysis, op: Op, piece: IntArray | None) -> None:
    """``narrow`` states a length, which must fit exactly; the end of a slice may lie beyond."""
    call = a.call(op)
    if call is not None and call.function == "narrow":
        args, kwargs = call.arguments
        a.slot(expr_of(kwargs["length"] if "length" in kwargs else args[-1]), piece, op)


def _signed(expr: Expr) -> Expr:
    """Fold the sign of a bare number."""
    if isinstance(expr, tuple) and isinstance(expr[1], int) and isinstance(expr[2], int):
        return expr[1] - expr[2]
    return expr


@rule("constant_pad_nd")
def pad(a: Analysis, op: Op) -> None:
    """Add positions of a constant before and after, last dimension first; negative ones cut."""
    dims = a.dims(op.args["self"])
    amounts = op.args["pad"]
    stated = a.provenance(op, amounts, stated=True)
    for i in range(len(amounts) // 2):
        k = len(dims) - 1 - i
        before, after = amounts[2 * i], amounts[2 * i + 1]
        atoms = dims[k]
        if atoms is None or (before == 0 and after == 0):
            continue
        if before < 0 or after < 0:
            a.freeze(atoms, op, "a negative pad cuts positions off")
        kept = atoms[max(-before, 0) : len(atoms) - max(-after, 0)]
        added = [a.fresh(max(count, 0)) for count in (before, after)]
        for new, expr in zip(added, stated[2 * i : 2 * i + 2], strict=True):
            if len(new):
                a.slot(expr, new, op)
        dims[k] = np.concatenate([added[0], kept, added[1]])
    a.set(op.outputs[0], dims)


@rule("roll")
def roll(a: Analysis, op: Op) -> None:
    """Move the last positions to the front: those must stay, so that the shift still fits."""
    dims = a.dims(op.args["self"])
    over = list(np.atleast_1d(op.args["dims"]))
    for k, shift in zip(over, np.atleast_1d(op.args["shifts"]), strict=False):
        atoms = dims[k]
        if atoms is not None and shift % len(atoms):
            cut = len(atoms) - shift % len(atoms)
            a.freeze(atoms[cut:] if shift > 0 else atoms[:cut], op, "channels are rolled")
            dims[k] = np.roll(atoms, shift)
    if not over:
        a.freeze_dims(dims, op, "the flattened tensor is rolled")
    a.set(op.outputs[0], dims)


@rule("flip")
def flip(a: Analysis, op: Op) -> None:
    """Reverse the order."""
    dims = a.dims(op.args["self"])
    for k in op.args["dims"]:
        atoms = dims[k]
        dims[k] = None if atoms is None else atoms[::-1]
    a.set(op.outputs[0], dims)


@rule("unfold")
def unfold(a: Analysis, op: Op) -> None:
    """Windows along one dimension, as a new last dimension."""
    dims = a.dims(op.args["self"])
    k = op.args["dimension"] % len(dims)
    a.freeze(dims[k], op, "windows slide along this dimension")
    dims[k] = None
    a.set(op.outputs[0], [*dims, None])


@rule("diagonal", "diag_embed", "as_strided", "as_strided_scatter")
def unfollowed(a: Analysis, op: Op) -> None:
    """Positions are picked by strides: everything stays.

    Adaptive pooling to one pixel restrides its own result in place, which moves nothing.
    """
    call = a.call(op)
    if call is not None and call.function.startswith("adaptive_avg_pool"):
        return
    a.freeze_dims(a.dims(op.args["self"]), op, f"{op.name} picks positions by strides")
    for value in op.outputs:
        a.set(value, [None] * len(a.recording.values[value].shape))

"""Picking positions by index tensors.

A buffer of indices is followed: position i of the result is position ``buffer[i]`` of the source,
so it carries the same atom, and a removal shortens and renumbers the buffer. An index that only
the code holds cannot be changed: what it picks from stays.
"""

from collections.abc import Iterator

import numpy as np

from sentei.graph.analysis import Analysis, Dims, Pick, refs, rule
from sentei.graph.capture import Op, Ref
from sentei.index.atoms import IntArray

# Operators whose result holds the numbers of their argument.
_COPIES = frozenset({"to_copy", "detach", "alias", "clone", "lift_fresh", "view"})


@rule("index", "unsafe_index")
def index(a: Analysis, op: Op) -> None:
    """One index vector is followed; otherwise indexed dimensions stay. The others pass."""
    dims = a.dims(op.args["self"])
    indices = op.args["indices"]
    picked = [k for k, ref in enumerate(indices) if isinstance(ref, Ref)]
    if len(picked) == 1 and len(a.shape(indices[picked[0]])) == 1:
        (k,) = picked
        dims[k] = _picked(a, op, k, indices[k])
        a.set(op.outputs[0], dims)
        return
    _freeze_indexed(a, op, dims, picked)
    # A boolean mask of rank r covers r dimensions.
    covered = {k + j for k in picked for j in range(_covers(a, op, indices[k]))}
    for k in covered:
        a.freeze(dims[k], op, "positions are picked by an index tensor")
    rest: Dims = [d for k, d in enumerate(dims) if k not in covered]
    count = len(a.recording.values[op.outputs[0]].shape) - len(rest)
    together = bool(picked) and sorted(covered) == list(range(min(covered), max(covered) + 1))
    at = min(covered) if together else 0
    a.set(op.outputs[0], [*rest[:at], *[None] * count, *rest[at:]])


@rule("index_put")
def index_put(a: Analysis, op: Op) -> None:
    """Everything stays."""
    dims = a.dims(op.args["self"])
    picked = [k for k, ref in enumerate(op.args["indices"]) if isinstance(ref, Ref)]
    _freeze_indexed(a, op, dims, picked)
    a.freeze_dims(a.dims(op.args["values"]), op, "values are written by an index tensor")
    a.freeze_dims(dims, op, "values are written by an index tensor")
    a.set(op.outputs[0], dims)


def _freeze_indexed(a: Analysis, op: Op, dims: Dims, picked: list[int]) -> None:
    for k in picked:
        a.freeze(dims[k], op, "positions are picked by an index tensor")
        a.freeze_dims(a.dims(op.args["indices"][k]), op, "an index tensor cannot shrink")


def _covers(a: Analysis, op: Op, ref: Ref) -> int:
    value = a.recording.values[ref.value]
    if value.itemsize != 1 or len(value.shape) < 2:
        return 1
    own, start = a.shape(op.args["self"]), op.args["indices"].index(ref)
    return len(value.shape) if own[start : start + len(value.shape)] == value.shape else 1


@rule("index_select")
def index_select(a: Analysis, op: Op) -> None:
    """The index is followed; the other dimensions pass."""
    dims = a.dims(op.args["self"])
    k = op.args["dim"] % len(dims)
    dims[k] = _picked(a, op, k, op.args["index"])
    a.set(op.outputs[0], dims)


@rule("index_add", "index_copy", "index_fill")
def index_write(a: Analysis, op: Op) -> None:
    """The indexed dimension must stay; the others pass."""
    dims = a.dims(op.args["self"])
    k = op.args["dim"] % len(dims)
    a.freeze(dims[k], op, "positions are picked by an index tensor")
    dims[k] = None
    source = op.args.get("source")
    if isinstance(source, Ref):
        own = a.dims(source)
        own[k] = None
        a.equate_dims(own, dims)
    a.set(op.outputs[0], dims)


def _picked(a: Analysis, op: Op, k: int, ref: Ref) -> IntArray | None:
    """Return the atoms that an index picks from dimension k; None, and all stay, if it must."""
    x = op.args["self"]
    atoms, count = a.dims(x)[k], a.shape(x)[k]
    buffer = _origin(a, ref.value)
    indices = a.recording.indices.get(buffer)
    if indices is None or a.is_parameter(x) or not _fits(indices, count):
        a.freeze(atoms, op, _why_not(a, ref.value))
        a.freeze_dims(a.dims(ref), op, "an index tensor cannot shrink")
        return None
    source = np.zeros(count, dtype=np.int64) if atoms is None else atoms
    own = a.layouts[buffer][0]
    a.equate(own, source if indices.dtype == np.bool_ else source[indices])
    a.picks.append(Pick(buffer=buffer, source=source, op=op))
    return None if atoms is None else atoms[indices]


def _origin(a: Analysis, value: int) -> int:
    """Return the value of which this one is a copy, position by position."""
    known = a.recording.values[value]
    while known.producer >= 0:
        op = a.recording.ops[known.producer]
        if op.name not in _COPIES:
            break
        (ref,) = refs(op)
        if a.shape(ref) != known.shape:
            break
        value, known = ref.value, a.recording.values[ref.value]
    return value


def _fits(indices: IntArray, count: int) -> bool:
    """Return whether the run could have picked so; one without data does not look."""
    if indices.dtype == np.bool_:
        return len(indices) == count
    return bool(((indices >= -count) & (indices < count)).all())


def _why_not(a: Analysis, value: int) -> str:
    if _is_constant(a, value):
        return (
            "positions are picked by an index that only the code holds (keep it with "
            "register_buffer, and pruning renumbers it)"
        )
    return "positions are picked by an index tensor"


def _is_constant(a: Analysis, value: int) -> bool:
    """Return whether a value is computed from nothing but numbers in the code."""
    known = a.recording.values[value]
    if known.producer < 0:
        return known.kind == "const"
    op = a.recording.ops[known.producer]
    return not op.name.startswith("rand") and all(_is_constant(a, r.value) for r in refs(op))


def one_meaning_a_buffer(a: Analysis) -> None:
    """Freeze what a buffer of indices picks from if the buffer means anything else besides."""
    first: dict[int, Pick] = {}
    for pick in a.picks:
        known = first.setdefault(pick.buffer, pick)
        if len(known.source) == len(pick.source):
            a.equate(known.source, pick.source)
        else:
            for source in (known.source, pick.source):
                a.freeze(source, pick.op, "one buffer of indices counts two different dimensions")
    for buffer, where in _other_uses(a):
        reason = f"{a.recording.values[buffer].name} picks its positions and is read as numbers too"
        for pick in (p for p in a.picks if p.buffer == buffer):
            a.atoms.freeze(pick.source, f"{reason} in {where}")


def _other_uses(a: Analysis) -> Iterator[tuple[int, str]]:
    """Yield every buffer of indices that is used as anything else, and where."""
    buffers = {pick.buffer for pick in a.picks}
    picking = {id(pick.op) for pick in a.picks}
    for op in a.recording.ops if buffers else ():
        if op.name in _COPIES:
            continue
        for ref in [op.args["self"]] if id(op) in picking else refs(op):
            if _origin(a, ref.value) in buffers:
                yield _origin(a, ref.value), a.where(op)
    for call in a.recording.calls if buffers else ():
        # What returns no tensor (tolist) took the numbers out.
        for value in call.tensors if not call.results else ():
            if _origin(a, value) in buffers:
                yield _origin(a, value), f"{call.module or 'the model'} ({call.where})"
    for value in a.recording.outputs if buffers else ():
        if _origin(a, value) in buffers:
            yield _origin(a, value), "the outputs of the model"


@rule("gather", "take_along_dim", "scatter", "scatter_add", "scatter_reduce")
def gather(a: Analysis, op: Op) -> None:
    """Every dimension of an index tensor is a position of the source: all stay."""
    for name in ("self", "index", "src"):
        if isinstance(op.args.get(name), Ref):
            a.freeze_dims(a.dims(op.args[name]), op, "positions are picked by an index tensor")
    for value in op.outputs:
        a.set(value, [None] * len(a.recording.values[value].shape))


@rule("embedding")
def embedding(a: Analysis, op: Op) -> None:
    """Rows of a table: rows stay, columns are channels."""
    rows, columns = a.dims(op.args["weight"])
    a.freeze(rows, op, "rows of an embedding are picked by index")
    indices = a.dims(op.args["indices"])
    a.freeze_dims(indices, op, "an index tensor cannot shrink")
    a.set(op.outputs[0], [*[None] * len(indices), columns])


@rule("masked_fill")
def masked_fill(a: Analysis, op: Op) -> None:
    """Elementwise with a broadcast mask."""
    x, mask = op.args["self"], op.args["mask"]
    dims, own, shape = a.dims(x), a.dims(mask), a.shape(mask)
    for k, size in enumerate(shape):
        at = k + len(dims) - len(shape)
        if size == a.shape(x)[at] and size > 1:
            a.equate(dims[at], own[k])
    a.set(op.outputs[0], dims)

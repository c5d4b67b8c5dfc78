"""Picking positions by index tensors."""

from sentei.graph.analysis import Analysis, Dims, rule
from sentei.graph.capture import Op, Ref


@rule("index", "index_put", "unsafe_index")
def index(a: Analysis, op: Op) -> None:
    """Indexed dimensions must stay; the others pass."""
    dims = a.dims(op.args["self"])
    indices = op.args["indices"]
    picked = [k for k, ref in enumerate(indices) if isinstance(ref, Ref)]
    for k in picked:
        a.freeze(dims[k], op, "positions are picked by an index tensor")
        a.freeze_dims(a.dims(indices[k]), op, "an index tensor cannot shrink")
    if op.name == "index_put":
        a.freeze_dims(a.dims(op.args["values"]), op, "values are written by an index tensor")
        a.freeze_dims(dims, op, "values are written by an index tensor")
        a.set(op.outputs[0], dims)
        return
    # A boolean mask of rank r covers r dimensions.
    covered = {k + j for k in picked for j in range(_covers(a, op, indices[k]))}
    for k in covered:
        a.freeze(dims[k], op, "positions are picked by an index tensor")
    rest: Dims = [d for k, d in enumerate(dims) if k not in covered]
    count = len(a.recording.values[op.outputs[0]].shape) - len(rest)
    together = bool(picked) and sorted(covered) == list(range(min(covered), max(covered) + 1))
    at = min(covered) if together else 0
    a.set(op.outputs[0], [*rest[:at], *[None] * count, *rest[at:]])


def _covers(a: Analysis, op: Op, ref: Ref) -> int:
    value = a.recording.values[ref.value]
    if value.itemsize != 1 or len(value.shape) < 2:
        return 1
    own, start = a.shape(op.args["self"]), op.args["indices"].index(ref)
    return len(value.shape) if own[start : start + len(value.shape)] == value.shape else 1


@rule("index_select", "index_add", "index_copy", "index_fill")
def index_select(a: Analysis, op: Op) -> None:
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

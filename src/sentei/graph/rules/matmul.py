"""Matrix products: contracted positions go together."""

import numpy as np

from sentei.graph.analysis import Analysis, Dims, rule
from sentei.graph.capture import Op, Ref


def _add_bias(a: Analysis, bias: Ref, out: Dims) -> Dims:
    own = a.dims(bias)
    for k, atoms in enumerate(own):
        at = k + len(out) - len(own)
        if a.shape(bias)[k] == 1 and (out[at] is None or len(out[at]) != 1):  # type: ignore[arg-type]
            continue
        a.equate(atoms, out[at])
        out[at] = out[at] if atoms is not None else None
    return out


@rule("mm", "matmul", "mv", "dot")
def mm(a: Analysis, op: Op) -> None:
    """[n, k] x [k, m]: k is contracted."""
    left, right = a.dims(op.args["self"]), a.dims(op.args.get("mat2") or list(op.args.values())[1])
    a.equate(left[-1], right[0])
    a.set(op.outputs[0], [*left[:-1], *right[1:]])


@rule("bmm")
def bmm(a: Analysis, op: Op) -> None:
    """[b, n, k] x [b, k, m]: b is shared, k is contracted."""
    left, right = a.dims(op.args["self"]), a.dims(op.args["mat2"])
    a.equate(left[0], right[0])
    a.equate(left[2], right[1])
    a.set(op.outputs[0], [left[0] if right[0] is not None else None, left[1], right[2]])


@rule("addmm")
def addmm(a: Analysis, op: Op) -> None:
    """Bias plus [n, k] x [k, m]."""
    left, right = a.dims(op.args["mat1"]), a.dims(op.args["mat2"])
    a.equate(left[1], right[0])
    a.set(op.outputs[0], _add_bias(a, op.args["self"], [left[0], right[1]]))


@rule("addmv")
def addmv(a: Analysis, op: Op) -> None:
    """Bias plus [n, k] x [k]."""
    left, right = a.dims(op.args["mat"]), a.dims(op.args["vec"])
    a.equate(left[1], right[0])
    a.set(op.outputs[0], _add_bias(a, op.args["self"], [left[0]]))


@rule("baddbmm")
def baddbmm(a: Analysis, op: Op) -> None:
    """Bias plus [b, n, k] x [b, k, m]."""
    left, right = a.dims(op.args["batch1"]), a.dims(op.args["batch2"])
    a.equate(left[0], right[0])
    a.equate(left[2], right[1])
    batch = left[0] if right[0] is not None else None
    a.set(op.outputs[0], _add_bias(a, op.args["self"], [batch, left[1], right[2]]))


@rule("linear")
def linear(a: Analysis, op: Op) -> None:
    """[..., k] x [m, k] transposed."""
    x, weight = a.dims(op.args["input"]), a.dims(op.args["weight"])
    a.equate(x[-1], weight[1])
    if op.args["bias"] is not None:
        a.equate(a.dims(op.args["bias"])[0], weight[0])
    a.set(op.outputs[0], [*x[:-1], weight[0]])


@rule("trilinear")
def trilinear(a: Analysis, op: Op) -> None:
    """Three tensors, unsqueezed to a common rank, multiplied, some dimensions summed."""
    rank = 0
    parts: list[Dims] = []
    for name, where in (("i1", "expand1"), ("i2", "expand2"), ("i3", "expand3")):
        dims: Dims = a.dims(op.args[name])
        one = np.zeros(0, np.int64)
        for at in sorted(op.args[where]):
            dims.insert(at, one)
        parts.append(dims)
        rank = len(dims)
    out: Dims = []
    for k in range(rank):
        present = [p[k] for p in parts if p[k] is None or len(p[k]) > 0]  # type: ignore[arg-type]
        for other in present[1:]:
            a.equate(present[0], other)
        merged = present[0] if present and all(p is not None for p in present) else None
        if k not in op.args["sumdim"]:
            out.append(merged)
    a.set(op.outputs[0], out)


@rule("cdist_forward", "euclidean_dist")
def cdist(a: Analysis, op: Op) -> None:
    """Distances between rows: the last dimension is contracted."""
    left, right = a.dims(op.args["x1"]), a.dims(op.args["x2"])
    a.equate(left[-1], right[-1])
    a.set(op.outputs[0], [*left[:-1], right[-2]])

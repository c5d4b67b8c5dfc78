"""Reductions, softmax, scans, and what keeps a layout."""

from sentei.graph.analysis import Analysis, Dims, pointwise, rule
from sentei.graph.capture import Op


def _reduced(dims: Dims, over: int | list[int] | None, *, keepdim: bool) -> Dims:
    axes = range(len(dims)) if over is None or over == [] else over
    chosen = {d % len(dims) for d in ([axes] if isinstance(axes, int) else axes)} if dims else set()
    if keepdim:
        return [None if k in chosen else d for k, d in enumerate(dims)]
    return [d for k, d in enumerate(dims) if k not in chosen]


@rule("sum", "mean", "amax", "amin", "var", "std", "var_mean", "std_mean", "prod", "any", "all",
      "logsumexp", "linalg_vector_norm", "norm", "nansum", "aminmax", "count_nonzero")  # fmt: skip
def reduction(a: Analysis, op: Op) -> None:
    """Reduced dimensions vanish; what is removed is left out of the statistic."""
    dims = a.dims(op.args["self"])
    out = _reduced(dims, op.args.get("dim"), keepdim=bool(op.args.get("keepdim", False)))
    for value in op.outputs:
        a.set(value, list(out))


@rule("max", "min")
def extremum(a: Analysis, op: Op) -> None:
    """Of two tensors: elementwise. Along a dimension: its index comes out, so it stays."""
    if op.args.get("other") is not None:
        pointwise(a, op)
    elif op.args.get("dim") is None:
        reduction(a, op)
    else:
        indexed(a, op)


@rule("argmax", "argmin", "median", "nanmedian", "mode", "kthvalue")
def indexed(a: Analysis, op: Op) -> None:
    """An index along the dimension comes out, so it stays."""
    dims = a.dims(op.args["self"])
    over = op.args.get("dim")
    for k in range(len(dims)) if over is None else [over % len(dims)]:
        a.freeze(dims[k], op, f"{op.name} returns an index along this dimension")
    out = _reduced(dims, over, keepdim=bool(op.args.get("keepdim", False)))
    for value in op.outputs:
        a.set(value, list(out))


@rule("cumsum", "cumprod", "logcumsumexp", "cummax", "cummin", "sort", "topk", "argsort")
def scan(a: Analysis, op: Op) -> None:
    """The result depends on the order along the dimension."""
    dims = a.dims(op.args["self"])
    k = op.args["dim"] % max(len(dims), 1)
    a.freeze(dims[k], op, f"{op.name} depends on the order along this dimension")
    dims[k] = None
    for value in op.outputs:
        a.set(value, list(dims))


@rule("softmax", "log_softmax", "safe_softmax", "clone", "detach", "alias", "to_copy",
      "contiguous", "dropout", "native_dropout", "bernoulli", "zeros_like", "ones_like",
      "empty_like", "full_like", "rand_like", "randn_like", "fill", "zero", "lift_fresh",
      "lift_fresh_copy", "uniform", "normal", "exponential", "random")  # fmt: skip
def same_layout(a: Analysis, op: Op) -> None:
    """The result has the layout of the first tensor."""
    first = op.args.get("self")
    dims = a.dims(first if first is not None else op.args["input"])
    for value in op.outputs:
        a.set(value, list(dims))


@rule("prelu", "prelu_kernel")
def prelu(a: Analysis, op: Op) -> None:
    """One slope a channel (dimension 1), or one for all."""
    x, slope = op.args["self"], op.args["weight"]
    dims, shape, own = a.dims(x), a.shape(slope), a.dims(slope)
    if len(shape) == 1 and shape[0] > 1:
        a.equate(dims[1], own[0])
    for k, size in enumerate(shape):
        at = k + len(dims) - len(shape)
        if len(shape) > 1 and size == a.shape(x)[at] and size > 1:
            a.equate(dims[at], own[k])
    a.set(op.outputs[0], dims)


@rule("glu")
def glu(a: Analysis, op: Op) -> None:
    """First half times the sigmoid of the second."""
    dims = a.dims(op.args["self"])
    k = op.args["dim"] % len(dims)
    atoms = dims[k]
    if atoms is not None:
        first, second = atoms.reshape(2, -1)
        a.equate(first, second)
        dims[k] = first
    a.set(op.outputs[0], dims)


@rule("copy")
def copy_into(a: Analysis, op: Op) -> None:
    """The destination takes the layout of the source, broadcast."""
    target, source = op.args["self"], op.args["src"]
    dims, own = a.dims(target), a.dims(source)
    for k, atoms in enumerate(own):
        at = k + len(dims) - len(own)
        if a.shape(source)[k] == a.shape(target)[at]:
            a.equate(dims[at], atoms)
    a.set(op.outputs[0], dims)

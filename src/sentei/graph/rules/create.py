"""Tensors made from sizes alone."""

from sentei.graph.analysis import Analysis, Dims, rule
from sentei.graph.capture import Op
from sentei.index.sizes import leaves


@rule("zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full", "new_empty",
      "empty_strided", "new_empty_strided", "rand", "randn", "empty_permuted")  # fmt: skip
def filled(a: Analysis, op: Op) -> None:
    """A dimension whose size the code computes may shrink with it; a written one stays."""
    shape = a.recording.values[op.outputs[0]].shape
    dims: Dims = []
    for expr, size in zip(a.provenance(op, shape, stated=True), shape, strict=True):
        if expr is None or not leaves(expr):
            dims.append(None)
        else:
            atoms = a.fresh(size)
            a.slot(expr, atoms, op)
            dims.append(atoms)
    a.set(op.outputs[0], dims)


@rule("arange", "linspace", "eye", "scalar_tensor", "randperm", "logspace", "randint")
def numbered(a: Analysis, op: Op) -> None:
    """Values depend on the position: sizes used here must not change."""
    call = a.call(op)
    for value in op.outputs:
        shape = a.recording.values[value].shape
        if call is not None:
            for expr in a.provenance(op, shape):
                a.fix(expr, op)
        a.set(value, [None] * len(shape))

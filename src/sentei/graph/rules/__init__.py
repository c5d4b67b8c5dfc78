"""What every operator does to channels: one file a family; importing this registers them all."""

from sentei.graph.rules import (
    attention,
    conv,
    create,
    indexing,
    matmul,
    norm,
    pointwise,
    reduce,
    shape,
)

__all__ = [
    "attention",
    "conv",
    "create",
    "indexing",
    "matmul",
    "norm",
    "pointwise",
    "reduce",
    "shape",
]

"""Convolutions (any rank, transposed, grouped, depthwise), pooling, resizing, unfolding."""

import numpy as np

from sentei.graph.analysis import Analysis, Dims, rule
from sentei.graph.capture import Op, Ref
from sentei.index.atoms import IntArray


@rule("convolution", "convolution_overrideable", "mkldnn_convolution")
def convolution(a: Analysis, op: Op) -> None:
    """Input channels meet dimension 1 of the weight, output channels are its dimension 0."""
    x, weight, bias = op.args["input"], op.args["weight"], op.args["bias"]
    groups, transposed = op.args["groups"], bool(op.args.get("transposed", False))
    inputs, kernel = a.dims(x), a.dims(weight)
    a.freeze_dims(kernel[2:], op, "positions of a kernel are no channels")
    rank = len(kernel) - 2
    channel = len(inputs) - rank - 1
    space = [_passes(a, op, k, inputs[channel + 1 + k]) for k in range(rank)]
    if groups == 1:
        own, out = (kernel[0], kernel[1]) if transposed else (kernel[1], kernel[0])
        a.equate(inputs[channel], own)
    else:
        out = _grouped(a, op, inputs[channel], transposed=transposed)
    if bias is not None:
        a.equate(a.dims(bias)[0], out)
    a.set(op.outputs[0], [*inputs[:channel], out, *space])


def _passes(a: Analysis, op: Op, k: int, atoms: IntArray | None) -> IntArray | None:
    """Return the atoms of spatial dimension ``k``: a kernel of size 1 mixes no positions."""
    size = a.shape(op.args["weight"])[2 + k]
    stride, padding = (op.args[name] for name in ("stride", "padding"))
    if size == 1 and stride[k % len(stride)] == 1 and padding[k % len(padding)] == 0:
        return atoms
    a.freeze(atoms, op, "a convolution slides over this dimension")
    return None


def _grouped(a: Analysis, op: Op, x: IntArray | None, *, transposed: bool) -> IntArray | None:
    """Return the output atoms of a grouped convolution.

    One channel a group on either side (depthwise): whole groups go, and the ``groups``
    attribute with them. Otherwise equally many channels of every group.
    """
    weight: Ref = op.args["weight"]
    groups: int = op.args["groups"]
    first, second = a.dims(weight)[:2]
    num_first, num_second = a.shape(weight)[:2]
    # Dimension 0 of the weight holds one side of the groups, dimension 1 the other.
    if transposed:
        a.equate(first, x)
        out: IntArray | None = a.fresh(groups * num_second)
        inner, outer = _rows(out, num_second), _rows(first, num_first // groups)
    else:
        x = np.zeros(groups * num_second, np.int64) if x is None else x
        out = first
        inner, outer = _rows(x, num_second), _rows(first, num_first // groups)
    (stated,) = a.provenance(op, [groups])
    if inner.shape[1] == 1 or outer.shape[1] == 1:
        rows = a.fresh(groups)
        a.atoms.equate(inner, rows[:, None])
        a.atoms.equate(outer, rows[:, None])
        a.freeze(second, op, "channels inside a group of a convolution stay together")
        a.slot(stated, rows, op)
        return out
    a.fix(stated, op)
    a.partition(outer, op)
    a.partition(inner, op)
    if second is None:
        a.freeze(inner, op, "channels inside a group of a convolution stay together")
    elif a.is_parameter(weight):
        # Which positions stay differs from row to row: ``dependent`` says which, not the atoms.
        a.freeze(second, op, "positions of a kernel are no channels")
        rows_of = np.repeat(np.arange(groups), outer.shape[1])
        known = a.dependent.setdefault(weight.value, inner[rows_of])
        a.atoms.equate(known, inner[rows_of])
    else:
        a.atoms.equate(inner, second[None, :])
    return out


def _rows(atoms: IntArray | None, length: int) -> IntArray:
    return np.zeros((1, length), np.int64) if atoms is None else atoms.reshape(-1, length)


@rule("im2col")
def im2col(a: Analysis, op: Op) -> None:
    """Every channel becomes a run of kernel positions."""
    x = op.args["self"]
    dims = a.dims(x)
    a.freeze_dims(dims[-2:], op, "a window slides over this dimension")
    window = int(np.prod(op.args["kernel_size"]))
    channels = dims[-3]
    out = None if channels is None else np.repeat(channels, window)
    a.set(op.outputs[0], [*dims[:-3], out, None])


@rule("col2im")
def col2im(a: Analysis, op: Op) -> None:
    """Runs of kernel positions become a channel again."""
    dims = a.dims(op.args["self"])
    window = int(np.prod(op.args["kernel_size"]))
    runs = dims[-2]
    out = None
    if runs is not None:
        out = a.fresh(len(runs) // window)
        a.atoms.equate(runs.reshape(-1, window), out[:, None])
    a.set(op.outputs[0], [*dims[:-2], out, None, None])


def _spatial(a: Analysis, op: Op, rank: int) -> None:
    dims = a.dims(op.args.get("self") or op.args["input"])
    a.freeze_dims(dims[-rank:], op, f"{op.name} works along this dimension")
    for value in op.outputs:
        a.set(value, [*dims[:-rank], *[None] * rank])


@rule("avg_pool1d", "max_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool1d",
      "upsample_linear1d", "upsample_nearest1d", "upsample_nearest_exact1d",
      "reflection_pad1d", "replication_pad1d")  # fmt: skip
def spatial1d(a: Analysis, op: Op) -> None:
    """The last dimension is spatial."""
    _spatial(a, op, 1)


@rule("avg_pool2d", "max_pool2d", "max_pool2d_with_indices", "adaptive_avg_pool2d",
      "adaptive_max_pool2d", "upsample_nearest2d", "upsample_nearest_exact2d",
      "upsample_bilinear2d", "upsample_bilinear2d_aa", "upsample_bicubic2d",
      "upsample_bicubic2d_aa", "reflection_pad2d", "replication_pad2d", "mkldnn_max_pool2d",
      "fractional_max_pool2d", "max_unpool2d")  # fmt: skip
def spatial2d(a: Analysis, op: Op) -> None:
    """The last two dimensions are spatial."""
    _spatial(a, op, 2)


@rule("avg_pool3d", "max_pool3d", "max_pool3d_with_indices", "adaptive_avg_pool3d",
      "adaptive_max_pool3d", "upsample_nearest3d", "upsample_nearest_exact3d",
      "upsample_trilinear3d", "reflection_pad3d", "replication_pad3d")  # fmt: skip
def spatial3d(a: Analysis, op: Op) -> None:
    """The last three dimensions are spatial."""
    _spatial(a, op, 3)


@rule("grid_sampler_2d", "grid_sampler_3d")
def grid_sampler(a: Analysis, op: Op) -> None:
    """Samples every channel at the same places."""
    dims = a.dims(op.args["input"])
    a.freeze_dims(dims[2:], op, "places are sampled along this dimension")
    a.freeze_dims(a.dims(op.args["grid"]), op, "coordinates are no channels")
    a.set(op.outputs[0], [None, dims[1], *[None] * (len(dims) - 2)])


def _shuffled(channels: IntArray | None, factor: int) -> IntArray | None:
    return None if channels is None else channels.reshape(-1, factor)


@rule("pixel_shuffle")
def pixel_shuffle(a: Analysis, op: Op) -> None:
    """Runs of ``factor ** 2`` channels become one channel of a larger map."""
    dims = a.dims(op.args["self"])
    cells = _shuffled(dims[-3], op.args["upscale_factor"] ** 2)
    out = None
    if cells is not None:
        out = a.fresh(len(cells))
        a.atoms.equate(cells, out[:, None])
    layout: Dims = [*dims[:-3], out, None, None]
    a.set(op.outputs[0], layout)


@rule("pixel_unshuffle")
def pixel_unshuffle(a: Analysis, op: Op) -> None:
    """Every channel becomes a run of ``factor ** 2`` channels."""
    dims = a.dims(op.args["self"])
    factor = op.args["downscale_factor"] ** 2
    out = None if dims[-3] is None else np.repeat(dims[-3], factor)
    a.set(op.outputs[0], [*dims[:-3], out, None, None])


@rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(a: Analysis, op: Op) -> None:
    """Transpose the grid (groups, channels a group)."""
    dims = a.dims(op.args["self"])
    groups = op.args["groups"]
    if dims[1] is not None:
        cells = dims[1].reshape(groups, -1)
        axes = a.grid(cells, op)
        a.slot(a.provenance(op, [groups])[0], axes[0], op)
        merged = a.fresh(cells.size).reshape(-1, groups)
        a.grid(merged, op, [axes[1], axes[0]])
        dims[1] = merged.ravel()
    a.set(op.outputs[0], dims)

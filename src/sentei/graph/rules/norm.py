"""Normalisation: per-channel parameters follow their channel; statistics leave out what goes."""

import numpy as np

from sentei.graph.analysis import Analysis, Slot, rule
from sentei.graph.capture import Op
from sentei.index.sizes import expr_of, leaves


@rule("native_batch_norm", "native_batch_norm_legit", "native_batch_norm_legit_no_training",
      "cudnn_batch_norm", "batch_norm_with_update", "batch_norm_no_update",
      "miopen_batch_norm", "batch_norm_impl_index")  # fmt: skip
def batch_norm(a: Analysis, op: Op) -> None:
    """One scale, shift, mean and variance a channel (dimension 1)."""
    dims = a.dims(op.args["input"])
    for name in ("weight", "bias", "running_mean", "running_var"):
        if op.args.get(name) is not None:
            a.equate(a.dims(op.args[name])[0], dims[1])
    a.set(op.outputs[0], dims)
    for value in op.outputs[1:]:
        shape = a.recording.values[value].shape
        own = dims[1] if len(shape) == 1 and shape[0] > 0 else None
        a.set(value, [own] * len(shape) if len(shape) == 1 else [None] * len(shape))


@rule("native_layer_norm", "fused_rms_norm")
def layer_norm(a: Analysis, op: Op) -> None:
    """Statistics over the last dimensions, one scale and shift a position."""
    dims = a.dims(op.args["input"])
    normalized = op.args["normalized_shape"]
    start = len(dims) - len(normalized)
    for name in ("weight", "bias"):
        if op.args.get(name) is not None:
            a.equate_dims(a.dims(op.args[name]), dims[start:])
    for expr, atoms in zip(a.provenance(op, normalized, stated=True), dims[start:], strict=True):
        a.slot(expr, atoms, op)
    a.set(op.outputs[0], dims)
    for value in op.outputs[1:]:
        a.set(value, [*dims[:start], *[None] * len(normalized)])


@rule("native_group_norm")
def group_norm(a: Analysis, op: Op) -> None:
    """Statistics over the channels of each of ``group`` groups."""
    dims = a.dims(op.args["input"])
    groups, channels = op.args["group"], dims[1]
    for name in ("weight", "bias"):
        if op.args[name] is not None:
            a.equate(a.dims(op.args[name])[0], channels)
    if channels is not None and groups > 1:
        (stated,) = a.provenance(op, [groups])
        if groups == len(channels):
            a.slot(stated, channels, op)
        else:
            a.fix(stated, op)
            a.partition(channels.reshape(groups, -1), op)
    a.set(op.outputs[0], dims)
    for value in op.outputs[1:]:
        a.set(value, [None] * len(a.recording.values[value].shape))


@rule("weight_norm_interface")
def weight_norm(a: Analysis, op: Op) -> None:
    """Direction times magnitude, one magnitude a slice along ``dim``."""
    direction, magnitude = a.dims(op.args["v"]), op.args["g"]
    for k, (size, atoms) in enumerate(zip(a.shape(magnitude), a.dims(magnitude), strict=True)):
        if size == a.shape(op.args["v"])[k] and size > 1:
            a.equate(direction[k], atoms)
    a.set(op.outputs[0], direction)
    for value in op.outputs[1:]:
        a.set(value, a.dims(magnitude))


@rule("fft_r2c", "fft_c2r", "fft_c2c")
def fft(a: Analysis, op: Op) -> None:
    """Transformed dimensions stay; the others pass."""
    dims = a.dims(op.args["self"])
    for k in np.atleast_1d(op.args["dim"]):
        a.freeze(dims[k], op, "a Fourier transform runs along this dimension")
        dims[k] = None
    a.set(op.outputs[0], dims)


def root_mean_square_shapes(a: Analysis) -> None:
    """Follow the shape that ``rms_norm`` is given: torch decomposes it before any rule sees it."""
    for call in a.recording.calls:
        args, kwargs = call.arguments
        shape = kwargs.get("normalized_shape", args[1] if len(args) > 1 else ())
        if call.function != "rms_norm" or not call.tensors or not shape:
            continue
        where = f"{call.module or 'the model'} ({call.where})"
        for size, atoms in zip(shape, a.layouts[call.tensors[0]][-len(shape) :], strict=True):
            if atoms is None:
                continue
            expr = expr_of(size)
            if leaves(expr):
                a.slots.append(Slot(expr=expr, atoms=atoms, where=where))
            else:
                a.atoms.freeze(atoms, f"the size {expr} is written in the code in {where}")

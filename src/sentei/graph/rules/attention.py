"""Fused attention, and calls that are one opaque operator."""

from typing import Any

from sentei.graph.analysis import Analysis, Dims, rule, unknown
from sentei.graph.capture import Call, Op, Ref
from sentei.index.sizes import expr_of, plain


@rule("scaled_dot_product_flash_attention_for_cpu", "scaled_dot_product_flash_attention",
      "scaled_dot_product_efficient_attention", "scaled_dot_product_attention",
      "scaled_dot_product_fused_attention_overrideable", "scaled_dot_product_cudnn_attention",
      "scaled_dot_product_attention_math")  # fmt: skip
def attention(a: Analysis, op: Op) -> None:
    """[b, h, n, d]: heads are shared, d of queries and keys is contracted."""
    query, key, value = (a.dims(op.args[n]) for n in ("query", "key", "value"))
    same_heads = a.shape(op.args["query"])[-3] == a.shape(op.args["key"])[-3]
    for k in range(len(query) - 2):
        if k == len(query) - 3 and not same_heads:
            a.freeze(query[k], op, "heads share keys in groups")
            a.freeze(key[k], op, "heads share keys in groups")
        else:
            a.equate(query[k], key[k])
        a.equate(key[k], value[k])
    a.equate(query[-1], key[-1])
    a.equate(key[-2], value[-2])
    for name in ("attn_mask", "attn_bias"):
        mask = op.args.get(name)
        if isinstance(mask, Ref):
            _align(a, mask, [*query[:-1], key[-2]])
    a.set(op.outputs[0], [*query[:-1], value[-1]])
    for extra in op.outputs[1:]:
        shape = a.recording.values[extra].shape
        per_head = [query[0], query[1]] if len(shape) > 2 else []
        a.set(extra, [*per_head, *[None] * (len(shape) - len(per_head))])


def _align(a: Analysis, ref: Ref, dims: Dims) -> None:
    shape, own = a.shape(ref), a.dims(ref)
    for k, size in enumerate(shape):
        if size > 1:
            a.equate(own[k], dims[k + len(dims) - len(shape)])


@rule("multi_head_attention_forward")
def multi_head_attention(a: Analysis, op: Op) -> None:
    """``nn.MultiheadAttention``: its width is heads x head size, so whole heads go.

    The head size stays (the scale is computed from it); a head takes its run of the input
    channels with it, because the call asks that the input be as wide as all heads together.
    """
    call = a.call(op)
    parts = None if call is None else _packed(call)
    if parts is None:
        unknown(a, op)
        return
    width, heads, names = parts
    tensors = dict(zip(names, call.tensors if call else (), strict=False))
    inner, channels = a.layouts[tensors["in_proj_weight"]]
    assert inner is not None
    assert channels is not None
    for name in ("query", "key", "value"):
        a.equate(a.layouts[tensors[name]][-1], channels)
    out_weight = a.layouts[tensors["out_proj_weight"]]
    for own in (*inner.reshape(3, -1), out_weight[1]):
        a.equate(own, channels)
    if "in_proj_bias" in tensors:
        a.equate(a.layouts[tensors["in_proj_bias"]][0], inner)
    if "out_proj_bias" in tensors:
        a.equate(a.layouts[tensors["out_proj_bias"]][0], out_weight[0])
    rows, sizes = a.grid(channels.reshape(plain(heads), -1), op)
    a.freeze(sizes, op, "the scale of attention is 1/sqrt(head size)")
    a.slot(expr_of(heads), rows, op)
    a.slot(expr_of(width), channels, op)
    for value in call.tensors[len(names) :] if call else ():
        for atoms in a.layouts[value]:
            a.freeze(atoms, op, "a mask of attention cannot shrink")
    a.set(op.outputs[0], [*a.layouts[tensors["query"]][:-1], out_weight[0]])
    for value in op.outputs[1:]:
        a.set(value, [None] * len(a.recording.values[value].shape))


def _packed(call: Call) -> tuple[int, int, list[str]] | None:
    """Return (width, heads, names of the tensors in order) of a call with one packed projection."""
    args, kwargs = call.arguments
    order = ("query", "key", "value", "width", "heads", "in_proj_weight", "in_proj_bias",
             "bias_k", "bias_v", "add_zero_attn", "dropout", "out_proj_weight",
             "out_proj_bias")  # fmt: skip
    given: dict[str, Any] = dict(zip(order, args, strict=False))
    unusual = given.get("bias_k") is not None or kwargs.get("use_separate_proj_weight")
    if len(args) < len(order) or unusual or given["in_proj_weight"] is None:
        return None
    absent = {"width", "heads", "add_zero_attn", "dropout"}
    names = [n for n in order if n not in absent and given[n] is not None]
    return given["width"], given["heads"], names


def default_scales(a: Analysis) -> None:
    """Keep the size of a head where the scale of attention is computed from it."""
    for call in a.recording.calls:
        if call.function != "scaled_dot_product_attention" or not call.tensors:
            continue
        args, kwargs = call.arguments
        if kwargs.get("scale", args[6] if len(args) > 6 else None) is None:
            head = a.layouts[call.tensors[0]][-1]
            if head is not None:
                where = f"{call.module or 'the model'} ({call.where})"
                a.atoms.freeze(head, f"the scale of attention is 1/sqrt(head size) in {where}")

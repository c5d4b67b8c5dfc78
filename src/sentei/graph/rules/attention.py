"""Fused attention, and calls that are one opaque operator."""

from sentei.graph.analysis import Analysis, rule
from sentei.graph.capture import Op, Ref


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
            _align(a, mask, [*query[:-1], key[-2]], op)
    a.set(op.outputs[0], [*query[:-1], value[-1]])
    for extra in op.outputs[1:]:
        shape = a.recording.values[extra].shape
        a.set(extra, [*query[:-2], *[None] * len(shape)][: len(shape)] if len(shape) > 2 else [None] * len(shape))


def _align(a: Analysis, ref: Ref, dims: list, op: Op) -> None:  # type: ignore[type-arg]
    shape, own = a.shape(ref), a.dims(ref)
    for k, size in enumerate(shape):
        if size > 1:
            a.equate(own[k], dims[k + len(dims) - len(shape)])


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

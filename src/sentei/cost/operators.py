"""Multiply-adds of operators, as products of dimensions of the recorded tensors.

Counted: convolution, linear, matrix products, fused attention, bilinear, and the products inside
recurrent layers and multi-head attention, which are recorded as one operator. Not counted: bias,
normalisation, activation, softmax, pooling, interpolation, elementwise products.
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from sentei.graph.capture import Op, Recording

Dim: TypeAlias = tuple[int, int]
"""A value of a recording, and one of its dimensions (from the front)."""

Product: TypeAlias = tuple[Dim, ...]
"""Dimensions whose lengths are multiplied."""

# The two factors of matrix products [..., n, k] x [..., k, m].
_MATRIX_PRODUCTS = {
    "mm": ("self", "mat2"),
    "bmm": ("self", "mat2"),
    "scaled_mm": ("self", "mat2"),
    "int_mm": ("self", "mat2"),
    "addmm": ("mat1", "mat2"),
    "addmm_activation": ("mat1", "mat2"),
    "addbmm": ("batch1", "batch2"),
    "baddbmm": ("batch1", "batch2"),
}

# One multiply-add an element of a matrix or vector.
_VECTOR_PRODUCTS = {"mv": "self", "addmv": "mat", "dot": "self", "vdot": "self"}


def whole(recording: Recording, value: int) -> Product:
    """Return all dimensions of a value: its number of elements."""
    return tuple((value, k) for k in range(len(recording.values[value].shape)))


def multiply_adds(recording: Recording) -> Iterator[Product]:
    """Yield the products whose sum is the number of multiply-adds of a run."""
    for op in recording.ops:
        yield from multiply_adds_of(recording, op)


def multiply_adds_of(recording: Recording, op: Op) -> Iterator[Product]:
    """Yield the products whose sum is the number of multiply-adds of one operator."""
    count = _RULES.get(op.name)
    if count is not None:
        yield from count(recording, op)


def _dim(recording: Recording, value: int, dim: int) -> Dim:
    return value, dim % len(recording.values[value].shape)


def _matrix(recording: Recording, op: Op) -> Iterator[Product]:
    left, right = (op.args[name].value for name in _MATRIX_PRODUCTS[op.name])
    yield (*whole(recording, left), _dim(recording, right, -1))


def _vector(recording: Recording, op: Op) -> Iterator[Product]:
    yield whole(recording, op.args[_VECTOR_PRODUCTS[op.name]].value)


def _linear(recording: Recording, op: Op) -> Iterator[Product]:
    weight = op.args["weight"].value
    yield (*whole(recording, op.args["input"].value), (weight, 0))


def _convolution(recording: Recording, op: Op) -> Iterator[Product]:
    """Every output element (input element, if transposed) meets one row of the weight."""
    weight = op.args["weight"].value
    places = op.args["input"].value if op.args.get("transposed") else op.outputs[0]
    yield (*whole(recording, places), *whole(recording, weight)[1:])


def _attention(recording: Recording, op: Op) -> Iterator[Product]:
    """Queries times keys, and the attention weights times values."""
    keys = _dim(recording, op.args["key"].value, -2)
    yield (*whole(recording, op.args["query"].value), keys)
    yield (*whole(recording, op.outputs[0]), keys)


def _bilinear(recording: Recording, op: Op) -> Iterator[Product]:
    """One multiply-add an element of the weight and sample, as in a linear layer."""
    found: dict[int, Dim] = {}
    for name, where in (("i1", "expand1"), ("i2", "expand2"), ("i3", "expand3")):
        value = op.args[name].value
        own = whole(recording, value)
        rank = len(own) + len(op.args[where])
        places = [k for k in range(rank) if k not in op.args[where]]
        found.update(zip(places, own, strict=True))
    yield tuple(found[k] for k in sorted(found))


def _recurrent(recording: Recording, op: Op) -> Iterator[Product]:
    """Every step of every sequence meets all matrices, whatever the layer and direction."""
    values = [ref.value for ref in op.args["tensors"]]
    ranks = [len(recording.values[v].shape) for v in values]
    is_packed = ranks[1] == 1 and ranks[2] > 1 and "cell" not in op.name
    num_states = 2 if "lstm" in op.name else 1
    steps = whole(recording, values[0])[:-1]
    for value, rank in list(zip(values, ranks, strict=True))[1 + is_packed + num_states :]:
        if rank == 2:
            yield (*steps, *whole(recording, value))


def _multi_head(recording: Recording, op: Op) -> Iterator[Product]:
    """Three projections, queries times keys, weights times values, the output projection.

    Tensors come in the order of ``torch.nn.functional.multi_head_attention_forward``. The one
    thing that no shape shows is ``add_zero_attn`` where the attention weights are not returned.
    """
    query, key, value, *rest = (ref.value for ref in op.args["tensors"])
    shapes = {v: recording.values[v].shape for v in rest}
    matrices = [v for v in rest if len(shapes[v]) == 2]
    embedding = recording.values[query].shape[-1]
    is_joint = shapes[matrices[0]] == (3 * embedding, embedding)
    out = matrices[1] if is_joint else matrices[0]
    for source in (query, key, value):
        yield (*whole(recording, source), (out, 1))
    keys = [(key, 0)]
    if len(op.outputs) > 1:
        keys = [_dim(recording, op.outputs[1], -1)]
    elif (1, 1, embedding) in shapes.values():  # a learned key is appended
        keys.append((next(v for v in rest if shapes[v] == (1, 1, embedding)), 0))
    for length in keys:
        yield from 2 * [(*whole(recording, query), length)]
    yield (*whole(recording, query), (out, 0))


_Rule: TypeAlias = Callable[[Recording, Op], Iterator[Product]]

_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_MATRIX_PRODUCTS, _matrix),
    **dict.fromkeys(_VECTOR_PRODUCTS, _vector),
    **dict.fromkeys(("linear", "mkldnn_linear"), _linear),
    **dict.fromkeys(
        ("convolution", "convolution_overrideable", "mkldnn_convolution"), _convolution
    ),
    **dict.fromkeys(
        (
            "scaled_dot_product_flash_attention_for_cpu", "scaled_dot_product_flash_attention",
            "scaled_dot_product_efficient_attention", "scaled_dot_product_attention",
            "scaled_dot_product_fused_attention_overrideable",
            "scaled_dot_product_cudnn_attention", "scaled_dot_product_attention_math",
        ),
        _attention,
    ),
    "trilinear": _bilinear,
    **dict.fromkeys(
        (
            "lstm", "gru", "rnn_tanh", "rnn_relu",
            "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell",
        ),
        _recurrent,
    ),
    "multi_head_attention_forward": _multi_head,
}  # fmt: skip

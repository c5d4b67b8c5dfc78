"""Cuts: places in the recorded run of a network where another run may go on, and what it reads there.

Only calls that are known to compute one tensor from their arguments, and to do nothing else, may be
skipped; the first other one ends the search.
"""

# Shapes: G = groups.

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from math import prod

import numpy as np

from sentei.graph import Graph
from sentei.graph.capture import Call, Recording
from sentei.index.atoms import IntArray

_PURE = frozenset(
    {
        "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
        "linear", "batch_norm", "group_norm", "layer_norm",
        "relu", "relu_", "relu6", "hardtanh", "hardtanh_", "hardswish", "hardsigmoid", "silu",
        "gelu", "elu", "leaky_relu", "leaky_relu_", "mish", "prelu", "sigmoid", "sigmoid_", "tanh",
        "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
        "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "mean", "dropout",
        "add", "add_", "__add__", "__radd__", "__iadd__", "sub", "__sub__", "__rsub__",
        "mul", "mul_", "__mul__", "__rmul__", "__imul__",
        "cat", "pad", "interpolate", "flatten", "reshape", "view", "permute", "transpose",
        "contiguous", "__getitem__",
    }
)  # fmt: skip
_SILENT = frozenset({"_assert", "__float__"})
"""Calls that return no tensor."""

_PARTS = frozenset({"__getitem__"})
"""Those whose result may hold the memory of more than itself."""

_ESCAPES = frozenset({"numpy", "__array__", "tolist", "data_ptr", "__dlpack__"})
"""Calls whose results may be changed behind the back of torch."""

_COUNTER = "num_batches_tracked"  # of batch norms, which do not look at what adding one returns


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A place between two calls where a later run may go on.

    Attributes:
        call: Number of the first call after it.
        live: Calls before it that returned what calls after it read.
    """

    call: int
    live: frozenset[int]


def first_calls(graph: Graph) -> IntArray:
    """Return for every group the first recorded call that reads or makes a channel of it, [G]."""
    calls = graph.recording.calls
    first_G = np.full(len(graph.groups), len(calls))
    owners = np.repeat(np.arange(len(graph.groups)), graph.widths)
    for index, call in reversed(list(enumerate(calls))):
        dims = chain.from_iterable(
            graph.values.get(value, ()) for value in {*call.tensors, *call.results}
        )
        for channels in (dim for dim in dims if dim is not None):
            first_G[owners[channels[channels >= 0]]] = index
    return first_G


def cuts(graph: Graph, *, num_bytes: float) -> tuple[Cut, ...]:
    """Return places before groups of a network, the first first.

    Args:
        graph: Of the network.
        num_bytes: What the tensors of all of them may take together, for one image.
    """
    recording = graph.recording
    if not _is_open(recording):
        return ()
    found: list[Cut] = []
    kept: set[int] = set()
    most = _num_pure(recording)
    for call in sorted(set(first_calls(graph).tolist()) - {0}):
        values = _live(recording, call)
        if call > most or values is None:
            continue
        kept |= values
        if sum(_bytes_an_image(recording, value) for value in kept) > num_bytes:
            break
        before = enumerate(recording.calls[:call])
        live = frozenset(i for i, own in before if values.intersection(own.results))
        found.append(Cut(call=call, live=live))
    return tuple(found)


def buffers_before(recording: Recording, call: int) -> frozenset[int]:
    """Return the buffers that calls before this one read, and perhaps change."""
    read = chain.from_iterable(own.tensors for own in recording.calls[:call])
    return frozenset(v for v in read if recording.values[v].kind == "buffer")


def _is_open(recording: Recording) -> bool:
    """Return whether all that is computed is what calls return, and nothing else is changed."""
    calls = recording.calls
    made = _results(calls)
    read = {v for call in calls for v in call.tensors} | set(recording.outputs)
    return (
        all(op.call >= 0 for op in recording.ops)
        and all(recording.values[v].kind != "op" or v in made for v in read)
        and all(not _changes_state(recording, call) for call in calls)
        and _ESCAPES.isdisjoint(call.function for call in calls)
    )


def _changes_state(recording: Recording, call: Call) -> bool:
    """Return whether a call changes what outlives the run; statistics of batch norms may change."""
    changed = [recording.values[v] for v in call.results if v >= 0]
    return any(v.kind != "op" and not v.name.endswith(_COUNTER) for v in changed)


def _num_pure(recording: Recording) -> int:
    """Return how many calls, the first ones, may be skipped."""

    def may(call: Call) -> bool:
        if call.function in _SILENT:
            return not call.results
        return call.function in _PURE and len(call.results) == 1 and call.results[0] >= 0

    return next(
        (i for i, call in enumerate(recording.calls) if not may(call)), len(recording.calls)
    )


def _live(recording: Recording, call: int) -> frozenset[int] | None:
    """Return the values made before a call and read from it on; None if they cannot be kept.

    They cannot where one of them is changed after the call, holds memory that is not its own, or where
    a buffer is read on both sides.
    """
    before, after = recording.calls[:call], recording.calls[call:]
    read = {*chain.from_iterable(own.tensors for own in after), *recording.outputs}
    live = read & _results(before)
    changed = live & _results(after)
    parts = live & _results(own for own in before if own.function in _PARTS)
    shared = read & buffers_before(recording, call)
    return None if changed or parts or shared else frozenset(live)


def _results(calls: Iterable[Call]) -> set[int]:
    return {value for call in calls for value in call.results}


def _bytes_an_image(recording: Recording, value: int) -> float:
    found = recording.values[value]
    return prod(found.shape) * found.itemsize / recording.batch_size

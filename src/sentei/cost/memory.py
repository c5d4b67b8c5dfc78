"""Which tensors a run allocates, and which are alive together."""

from collections.abc import Iterator
from typing import Any

import torch

from sentei.graph.analysis import refs
from sentei.graph.capture import Op, Recording

# Their schemas declare a new tensor, but it lies in the memory of their argument.
_UNDECLARED_VIEWS = frozenset(
    {"unsafe_view", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk"}
)

# In eval mode they save no statistics: the tensors that stand for them are empty.
_BATCH_NORMS = frozenset(
    {
        "native_batch_norm", "native_batch_norm_legit", "native_batch_norm_legit_no_training",
        "batch_norm_no_update", "cudnn_batch_norm", "miopen_batch_norm",
    }
)  # fmt: skip


class Storage:
    """Whose memory every value of a recording lies in.

    A copy that only reorders memory (made by ``reshape`` or ``contiguous``) counts as a view:
    whether it is needed depends on the batch and on sizes of 1, so counting it would make the
    cost of one sample depend on the batch, and the cost of one head on the other heads.

    Attributes:
        base: For every value the value that owns its memory; itself if it does.
        allocated: Values whose memory an operator allocates, in order.
    """

    def __init__(self, recording: Recording) -> None:
        self.base = list(range(len(recording.values)))
        self.allocated: dict[int, None] = {}
        for index, op in enumerate(recording.ops):
            for position, value in enumerate(op.outputs):
                if recording.values[value].producer != index:
                    continue
                source = _viewed(op, position)
                if source is not None:
                    self.base[value] = self.base[source]
                elif not _is_empty(op, position):
                    self.allocated[value] = None


def live_sets(recording: Recording, storage: Storage) -> Iterator[frozenset[int]]:
    """Yield the values alive together, at every step after which something is freed.

    Inputs live until their last use, results from the operator that makes them until the last
    operator that reads them or a view of them, outputs of the model until the end. Parameters,
    buffers and constants of the model are no activations.
    """
    inputs = [i for i, v in enumerate(recording.values) if v.kind == "input"]
    counted = {*inputs, *storage.allocated}
    last = dict.fromkeys(inputs, -1)
    for index, op in enumerate(recording.ops):
        for value in (*(ref.value for ref in refs(op)), *op.outputs):
            last[storage.base[value]] = index
    for value in recording.outputs:
        last[storage.base[value]] = len(recording.ops)
    dying: dict[int, list[int]] = {}
    for value in counted:
        dying.setdefault(last[value], []).append(value)
    live = set(inputs)
    for index in range(-1, len(recording.ops)):
        if index >= 0:
            live.update(counted.intersection(recording.ops[index].outputs))
        if index in dying:
            yield frozenset(live)
            live.difference_update(dying[index])
    yield frozenset(live)


def _viewed(op: Op, position: int) -> int | None:
    """Return the value whose memory an output shares, None if it has its own."""
    if op.func is None:
        return None
    returns, arguments = op.func._schema.returns, op.func._schema.arguments
    declared = returns[position if len(returns) == len(op.outputs) else 0].alias_info
    reorders = op.name == "clone" and op.args["memory_format"] is torch.contiguous_format
    if reorders or op.name in _UNDECLARED_VIEWS:
        return _value(op.args["self"])
    if declared is None:
        return None
    return next((_value(op.args[a.name]) for a in arguments if a.alias_info is not None), None)


def _value(argument: Any) -> int | None:  # noqa: ANN401 - a recorded argument
    return getattr(argument, "value", None)


def _is_empty(op: Op, position: int) -> bool:
    return op.name in _BATCH_NORMS and position > 0 and not op.args.get("training", False)

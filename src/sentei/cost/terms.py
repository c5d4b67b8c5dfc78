"""The five costs as sums of products of dimensions; nothing is multiplied out here.

Both counters read these terms: :mod:`sentei.cost.count` puts in the sizes of one run,
:mod:`sentei.cost.compile` the sizes as functions of the widths.
"""

from dataclasses import dataclass
from typing import TypeAlias

from sentei.cost.memory import Storage, live_sets
from sentei.cost.operators import Product, multiply_adds, whole
from sentei.graph.capture import Recording

COSTS = ("macs", "num_parameters", "weight_bytes", "activation_bytes", "peak_activation_bytes")
"""Names of all costs."""

Term: TypeAlias = tuple[int, Product]
"""An integer factor, and the dimensions whose lengths it multiplies."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What each cost is a sum of.

    Attributes:
        sums: Cost -> its terms; the cost is their sum.
        tensors: Value -> the term of its bytes, for all tensors that are ever alive.
        live: Sets of values alive together; the peak is the largest sum of their terms.
    """

    sums: dict[str, list[Term]]
    tensors: dict[int, Term]
    live: list[frozenset[int]]


def terms_of(recording: Recording) -> Terms:
    """Return the terms of every cost of a recorded run."""
    values = recording.values
    weights = [i for i, v in enumerate(values) if v.kind in ("param", "buffer")]
    storage = Storage(recording)
    live = list(dict.fromkeys(live_sets(recording, storage)))

    def size(value: int) -> Term:
        return values[value].itemsize, whole(recording, value)

    sums: dict[str, list[Term]] = {
        "macs": [(1, product) for product in multiply_adds(recording)],
        "num_parameters": [(1, whole(recording, i)) for i in weights if values[i].kind == "param"],
        "weight_bytes": [size(i) for i in weights],
        "activation_bytes": [size(i) for i in storage.allocated],
    }
    tensors = {value: size(value) for value in sorted(frozenset().union(*live))}
    return Terms(sums=sums, tensors=tensors, live=live)

"""Methods that make channels removable while training: one for every sparsifier.

Each spends half of the epochs on sparse training and half on the recovery, unless the paper has
another measure: as many in all as a method that prunes a trained network and trains it again.
"""

from collections.abc import Mapping
from typing import Any

from sentei.compensate.absorb import Absorb
from sentei.criteria import CRITERIA
from sentei.methods.base import METHODS
from sentei.methods.cards import card_of
from sentei.methods.composition import TURNS, Composition
from sentei.sparsify import SPARSIFIERS

_NAMES: Mapping[str, str] = {
    "bn-l1": "network-slimming",
    "ista-bn": "rsnli",
    "group-lasso": "ssl",
    "tick": "gate-decorator",
}
"""Sparsifier -> what its paper calls the method, where that is another name."""

_AS_PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "ista-bn": {"compensation": Absorb()},
    "tick": {"rounds": TURNS, "sparse_share": 0.25},
}


def _composition(name: str) -> Composition:
    sparsifier = SPARSIFIERS[name]()
    parts = _AS_PUBLISHED.get(name, {})
    card = card_of(
        sparsifier,
        sparsifier.source,
        needs="training",
        when="during training",
        cost="a quarter of the epochs" if "sparse_share" in parts else "half of the epochs",
    )
    return Composition(
        card=card, criterion=CRITERIA[sparsifier.criterion](), sparsifier=sparsifier, **parts
    )


for _name in SPARSIFIERS:
    METHODS.register(_NAMES.get(_name, _name))(_composition(_name))

"""Methods that rank the channels of a trained network: one for every criterion with a paper.

All remove in one shot, channels of all groups in one order, unless the paper says how many each
layer keeps or what makes up for the rest; `apoz`, `mean-activation` and `pfp` prune and train in
rounds. Which others do so in their papers, and why not here, is in docs/compare.md.
"""

from collections.abc import Mapping
from typing import Any

from sentei.allocate.clr import CrossLayerRanking
from sentei.allocate.exemplars import Exemplars
from sentei.allocate.local import Local
from sentei.compensate.least_squares import LeastSquares
from sentei.criteria import CRITERIA
from sentei.methods.base import METHODS
from sentei.methods.cards import card_of, inputs_of
from sentei.methods.composition import Composition

TURNS = 4  # rounds of the methods that prune and train in rounds, where the recipe has the epochs

_AS_PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "l1-greedy": {"scope": Local()},
    "clr-rnf": {"scope": CrossLayerRanking()},
    "epruner": {"scope": Exemplars()},
    "mean-activation": {"rounds": TURNS},
    "apoz": {"rounds": TURNS},
    "pfp": {"rounds": TURNS},
    "thinet": {"compensation": LeastSquares(fit="scales")},
    "cp-lasso": {"compensation": LeastSquares()},
}


def _composition(name: str) -> Composition:
    criterion = CRITERIA[name]()
    parts = _AS_PUBLISHED.get(name, {})
    told = inputs_of(criterion)
    if "compensation" in parts:
        told["cost"] += ", and up to every layer that is refitted"
    card = card_of(criterion, criterion.source, **told)
    return Composition(card=card, criterion=criterion, **parts)


for _name in CRITERIA:
    if CRITERIA[_name]().source.section is not None:
        METHODS.register(_name)(_composition(_name))

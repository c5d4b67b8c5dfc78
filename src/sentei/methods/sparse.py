"""Methods that make channels removable while training: one for every sparsifier.

Each spends half of the epochs on sparse training and half on the recovery: as many in all as a
method that prunes a trained network and trains it again.
"""

from collections.abc import Mapping

from sentei.allocate.global_ import Global
from sentei.compensate import Compensation
from sentei.compensate.absorb import Absorb
from sentei.criteria import CRITERIA
from sentei.methods.base import METHODS
from sentei.methods.cards import card_of
from sentei.methods.composition import Composition
from sentei.sparsify import SPARSIFIERS

_NAMES: Mapping[str, str] = {
    "bn-l1": "network-slimming",
    "ista-bn": "rsnli",
    "group-lasso": "ssl",
}
"""Sparsifier -> what its paper calls the method, where that is another name."""

_COMPENSATIONS: Mapping[str, Compensation] = {"ista-bn": Absorb()}
"""Sparsifier -> what its paper makes up for removed channels with."""

for _name in SPARSIFIERS:
    _sparsifier = SPARSIFIERS[_name]()
    METHODS.register(_NAMES.get(_name, _name))(
        Composition(
            card=card_of(
                _sparsifier,
                _sparsifier.source,
                needs="training",
                when="during training",
                cost="half of the epochs",
            ),
            criterion=CRITERIA[_sparsifier.criterion](),
            scope=Global(),
            sparsifier=_sparsifier,
            compensation=_COMPENSATIONS.get(_name),
        )
    )

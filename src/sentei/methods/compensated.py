"""Smallest L1 norm with what makes up for it: one method for every compensation."""

from sentei.compensate import COMPENSATIONS
from sentei.criteria.base import Needs
from sentei.criteria.magnitude import Magnitude
from sentei.methods.base import METHODS
from sentei.methods.cards import card_of
from sentei.methods.composition import Composition

for _name in COMPENSATIONS:
    _compensation = COMPENSATIONS[_name]()
    METHODS.register(f"l1-{_name}")(
        Composition(
            card=card_of(
                _compensation,
                _compensation.source,
                needs="images" if Needs.IMAGES in _compensation.needs else "nothing",
                cost="new weights for the layers that read what went",
            ),
            criterion=Magnitude(),
            compensation=_compensation,
        )
    )

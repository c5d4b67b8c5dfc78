"""Methods that choose widths by trying: one for every searcher; channels go by their L1 norm."""

from sentei.criteria.magnitude import Magnitude
from sentei.methods.base import METHODS
from sentei.methods.cards import card_of
from sentei.methods.composition import Composition
from sentei.search import SEARCHERS

for _name in SEARCHERS:
    _searcher = SEARCHERS[_name]()
    METHODS.register(_name)(
        Composition(
            card=card_of(
                _searcher,
                _searcher.source,
                needs="labels",
                cost="every candidate on the validation images, its norms measured anew",
            ),
            criterion=Magnitude(),
            searcher=_searcher,
        )
    )

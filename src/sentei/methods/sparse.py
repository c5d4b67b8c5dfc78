"""Methods that make channels removable while training: one for every sparsifier.

Each spends half of the epochs on sparse training and half on the recovery: as many in all as a
method that prunes a trained network and trains it again.
"""

from collections.abc import Mapping
from typing import Any

from sentei.allocate.global_ import Global
from sentei.compensate import Compensation
from sentei.compensate.absorb import Absorb
from sentei.criteria import CRITERIA
from sentei.methods.base import METHODS
from sentei.methods.cards import card_of
from sentei.methods.composition import Composition
from sentei.sparsify import SPARSIFIERS, Sparsifier
from sentei.sparsify.sfp import SFP

_COMPENSATIONS: Mapping[str, Compensation] = {"rsnli": Absorb()}
"""Sparsifier -> what its paper makes up for removed channels with."""


def _composition(
    sparsifier: Sparsifier,
    *,
    compensation: Compensation | None = None,
    **told: Any,  # noqa: ANN401 - fields of the card
) -> Composition:
    card = card_of(
        sparsifier,
        sparsifier.source,
        needs="training",
        when="during training",
        cost="half of the epochs",
        **told,
    )
    return Composition(
        card=card,
        criterion=CRITERIA[sparsifier.criterion](),
        scope=Global(),
        sparsifier=sparsifier,
        compensation=compensation,
    )


for _name in SPARSIFIERS:
    METHODS.register(_name)(
        _composition(SPARSIFIERS[_name](), compensation=_COMPENSATIONS.get(_name))
    )

METHODS.register("asfp")(
    _composition(
        SFP(asymptotic=True),
        summary="Soft filter pruning, of a share that grows from epoch to epoch",
        paper="He et al., Asymptotic Soft Filter Pruning",
        venue="TCYB",
        year=2020,
        arxiv="1808.07471",
    )
)
METHODS.register("sfp-fpgm")(
    _composition(
        SFP(criterion="fpgm"),
        summary="Soft filter pruning of the filters that others can replace",
        paper="He et al., Filter Pruning via Geometric Median",
        venue="CVPR",
        year=2019,
        arxiv="1811.00250",
    )
)

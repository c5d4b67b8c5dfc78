"""What every method must beat: chance, equal shares, and networks trained from nothing."""

from sentei.allocate import SCOPES
from sentei.allocate.local import Local
from sentei.criteria import CRITERIA
from sentei.criteria.fisher import Fisher
from sentei.criteria.magnitude import Magnitude
from sentei.criteria.random import Random
from sentei.methods.base import BASELINE, METHODS, Card
from sentei.methods.cards import inputs_of
from sentei.methods.composition import Composition
from sentei.pipeline.config import DEFAULT_CRITERION, DEFAULT_SCOPE

_RETHINKING = "Liu et al., Rethinking the Value of Network Pruning"

METHODS.register("random")(
    Composition(
        card=Card(summary="Channels at random, equal shares", section=BASELINE, cost="none"),
        criterion=Random(),
        scope=Local(),
    )
)
METHODS.register("uniform")(
    Composition(
        card=Card(summary="Smallest L1 norm, the same share of every group", section=BASELINE),
        criterion=Magnitude(),
        scope=Local(),
    )
)
METHODS.register("default")(
    Composition(
        card=Card(
            summary="Criterion and scope of `sentei prune` unless told otherwise; widths are rounded "
            "as the comparison says",
            section=BASELINE,
            **inputs_of(Fisher()),  # which `auto` chooses wherever it can
        ),
        criterion=CRITERIA[DEFAULT_CRITERION](),
        scope=SCOPES[DEFAULT_SCOPE](),
    )
)
METHODS.register("smaller-dense")(
    Composition(
        card=Card(
            summary="A narrower network of equal shares, trained from new weights",
            section=BASELINE,
            needs="training",
            when="before training",
            cost="none",
        ),
        criterion=Random(),
        scope=Local(),
        weights="new",
    )
)
for _name, _weights, _summary in (
    ("scratch-e", "new", "The widths of global L1, trained from new weights for as many epochs"),
    (
        "scratch-b",
        "new-same-compute",
        "The same for as many multiply-adds, at most twice the epochs",
    ),
):
    METHODS.register(_name)(
        Composition(
            card=Card(
                summary=_summary,
                section="2.7.1",
                paper=_RETHINKING,
                year=2019,
                venue="ICLR",
                arxiv="1810.05270",
                needs="training",
            ),
            criterion=Magnitude(),
            weights=_weights,  # type: ignore[arg-type]
        )
    )

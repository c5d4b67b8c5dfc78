"""The search: candidates of the refined and the base space, halved, against rivals."""

import math
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import numpy as np

from sentei.allocate import Budget, allocate
from sentei.criteria import score
from sentei.errors import BudgetError
from sentei.index.atoms import IntArray
from sentei.spaces.populate import derived, frozen_slabs, origin_of
from sentei.spaces.regime_data import NATURAL, RegimeData
from sentei.spaces.scene import Scene
from sentei.spaces.space import Slab
from sentei.spaces.study import Session
from sentei.spaces.subnets import Member, Row, Wish, choose

SEARCHED = ("search refined", "search base")
EAGLE_EYE = "EagleEye"
RIVALS: Mapping[str, str] = {
    "uniform L1": "local",
    "global L1": "global",
    "cost-aware L1": "cost-aware",
}
"""What the found subnetwork is compared with -> scope of the allocation."""

_LIMITS = {"macs": "macs", "params": "num_parameters"}


def _drawn(
    session: Session, level: float, name: str, num: int, slabs: tuple[Slab, ...]
) -> list[Member]:
    origin = origin_of(session.scene, level, name, num=num, slabs=slabs)
    return derived(session.scene, session.directory, origin, draws=session.draws, measures=False)


def search(
    session: Session, data: RegimeData, refined: tuple[Slab, ...], *, screens: bool
) -> list[Row]:
    """Search refined and base space at equal cost, train the finalists and their rivals in full.

    Where there is no refined space the base space alone is searched.

    Successive halving: candidates without training, by what the study screens by; the best of them trained
    shortly, by validation accuracy; the best of those for the full length, with every seed.

    Args:
        session: The study.
        data: The regime, with what was found without training.
        refined: Slabs of its refined space; none where nothing was refined. One that was searched
            before stays as it was.
        screens: What is known without training chooses what is trained; if not, the first drawn
            are.

    Returns:
        All rows.
    """
    level = data.level
    refined = frozen_slabs(session.scene, session.directory, level, SEARCHED[0]) or refined
    spaces: dict[str, tuple[Slab, ...]] = {SEARCHED[1]: ()}
    if refined:
        spaces = {SEARCHED[0]: refined, **spaces}
    rows: list[Row] = []
    finalists: list[Member] = []
    for name, own in spaces.items():
        members = _drawn(session, level, name, session.config.search.candidates, own)
        seen, best = _halving(session, members, screens=screens)
        rows += seen
        finalists += best
    contest = [*finalists, *eagle_eye(session.scene, data), *rivals(session, level)]
    settings = session.config.search
    wishes = [
        Wish(member=member, epochs=settings.epochs, replicate=seed)
        for seed in range(settings.seeds)
        for member in contest
    ]
    return [*rows, *session.run(wishes)]


def _halving(
    session: Session, members: Sequence[Member], *, screens: bool
) -> tuple[list[Row], list[Member]]:
    """Return the rows of two rungs, and the members that go on to the third."""
    settings = session.config.search
    screened = session.run([Wish(member=m, zero_cost=settings.zero_cost) for m in members])
    losses = [_untrained(row) if screens else 0.0 for row in screened]
    kept = _best(members, screened, losses, settings.trained)
    trained = session.run([Wish(member=m, epochs=session.config.protocol.epochs) for m in kept])
    errors = [-row["val_accuracy"] for row in trained]
    return [*screened, *trained], _best(kept, trained, errors, settings.finalists)


def _untrained(row: Row) -> float:
    """Return what a subnetwork is screened by; small is good."""
    if row["zero_cost"] is None:
        return float(row["val_loss"])
    return math.inf if row["score"] is None else -float(row["score"])


def _best(
    members: Sequence[Member], rows: Sequence[Row], values: Sequence[float], num: int
) -> list[Member]:
    """Return the members of the smallest values; those whose job failed have no row."""
    by_subnet = {member.facts["subnet"]: member for member in members}
    order = np.argsort(values, kind="stable")[:num]
    return [by_subnet[rows[i]["subnet"]] for i in order]


def eagle_eye(scene: Scene, data: RegimeData) -> list[Member]:
    """Return the natural recipe that is most accurate before any training; none where none was drawn.

    Source: Li et al., EagleEye, ECCV 2020, arXiv:2007.02491. Differences: its recipes come from the
    natural sampler of the study, and validation images choose, not a part of the training images.
    """
    rows = choose(data.rows, space=NATURAL, epochs=0, zero_cost=None, supernet=False)
    if not rows:
        return []
    best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    widths_G = np.array([best["widths"][name] for name in scene.dense])
    common = {"regime": data.level, "sampler": best["sampler"], "space": EAGLE_EYE}
    return scene.describe(widths_G[None], common)


def rivals(session: Session, level: float) -> list[Member]:
    """Return the subnetworks of the widths that the L1 norm gives at a regime, one a scope.

    Which channels stay is for the criterion of the protocol to say, as everywhere in a study.
    """
    common = {"regime": level, "sampler": "L1"}
    return [
        member
        for name, scope in RIVALS.items()
        for member in session.scene.describe(
            _rival(session.scene, level, scope)[None], {**common, "space": name}
        )
    ]


def _rival(scene: Scene, level: float, scope: str) -> IntArray:
    """Return the widths of a scope within 1 % of the budget; 2 % where steps are too coarse."""
    scores = score(scene.graph, "l1")
    allocated = partial(
        allocate,
        scene.graph,
        scores,
        budget=Budget(**{_LIMITS[scene.config.regime_by]: level}),
        scope=scope,
        floor=scene.config.space.floor,
        costs=scene.terrain.costs,
    )
    with suppress(BudgetError):
        return allocated(tolerance=0.01).widths
    return allocated(tolerance=0.02).widths


def contest(data: RegimeData) -> dict[str, list[Row]]:
    """Return the rows of the full trainings by method, the subnetwork found first; {} if none.

    The subnetwork found is the finalist of the refined space with the best mean validation
    accuracy; the best of the base space is a rival, or the one found where nothing was refined.
    """
    epochs = data.config.search.epochs
    found: dict[str, list[Row]] = {}
    for name in (*SEARCHED, EAGLE_EYE, *RIVALS):
        rows = choose(data.rows, space=name, epochs=epochs)
        by_subnet: dict[str, list[Row]] = {}
        for row in rows:
            by_subnet.setdefault(row["subnet"], []).append(row)
        complete = [own for own in by_subnet.values() if len(own) == data.config.search.seeds]
        if complete:
            found[name] = max(complete, key=_mean_val)
    return found if found.keys() & set(SEARCHED) and len(found) > 1 else {}


def _mean_val(rows: Sequence[Row]) -> float:
    return statistics.fmean(row["val_accuracy"] for row in rows)

"""Rounds of refinement: slabs from half a population, fresh draws inside, a placebo beside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sentei.spaces.conjectures.refined import diversity
from sentei.spaces.measured import Measured
from sentei.spaces.populate import derived, frozen_slabs, origin_of
from sentei.spaces.refine import (
    Refinement,
    halves,
    is_inside,
    mass_of,
    placebo,
    refine,
    winners_slabs,
)
from sentei.spaces.regime_data import FRESH_BASE, RegimeData, fresh_names
from sentei.spaces.space import Slab
from sentei.spaces.stats_compare import compare
from sentei.spaces.study import Session
from sentei.spaces.subnets import Row, Wish

Slabs = tuple[Slab, ...]


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one half of a population says about where to draw.

    Attributes:
        number: Of the round, from 1.
        slabs: The refined space, beside the slabs of the regime.
        sham: A space of as much probability elsewhere.
    """

    number: int
    slabs: Slabs
    sham: Slabs


def refine_rounds(session: Session, data: RegimeData) -> tuple[list[Row], Slabs]:
    """Refine the space of a regime, draw afresh from what comes out, and refine that again.

    A round ends the refinement where the drop has no valley and no winners crowd, where it would
    be no smaller, or where it is no better: its draws lose more than the last one's
    (Kolmogorov-Smirnov, one-sided) or differ too little from each other. The first is always
    drawn, for C4 to be judged.

    Returns:
        The rows of all fresh draws, and the slabs of the last space that was kept; none where
        nothing was refined.
    """
    rows: list[Row] = []
    kept: Slabs = ()
    for number in range(1, session.config.search.rounds + 1):
        own = replace(data, rows=[*data.rows, *rows])
        try:
            found = _next_round(session, own, number, kept)
        except ValueError:
            break  # nothing to refine by; the verdict on C1 says so of m
        rows += session.run(_wishes(session, data.level, found))
        if number > 1 and not _is_better(replace(data, rows=[*data.rows, *rows]), number):
            break
        kept = found.slabs
        if session.config.search.fresh == 0:
            break  # there is nothing to refine again
    return rows, kept


def _next_round(session: Session, data: RegimeData, number: int, current: Slabs) -> Round:
    """Return a round; what is frozen of its populations, perhaps one of two, stays as it is.

    Raises:
        ValueError: There is nothing to refine by; or one is not frozen and this session draws none.
    """
    scene, directory = session.scene, session.directory
    slabs, sham = (frozen_slabs(scene, directory, data.level, n) for n in fresh_names(number))
    if session.config.search.fresh and not session.draws and (slabs is None or sham is None):
        raise ValueError(f"round {number} was not drawn yet")
    if slabs is None:
        slabs = refined_slabs(data, number, current)
    if sham is None:
        sham = placebo_slabs(data, number, slabs, current)
    return Round(number=number, slabs=slabs, sham=sham)


def refined_slabs(data: RegimeData, number: int, current: Slabs = ()) -> Slabs:
    """Return the refined space of a round, from half of what the last one drew.

    Args:
        data: The regime, with the rows of earlier rounds.
        number: Of the round, from 1.
        current: The space of the last round.

    Raises:
        ValueError: There is nothing to refine by.
    """
    first, _ = _halves(data, number)
    return _narrower(_found(data, first, current), current)


def placebo_slabs(data: RegimeData, number: int, slabs: Slabs, current: Slabs = ()) -> Slabs:
    """Return a space of as much probability elsewhere; as :func:`refined_slabs`, of its ``slabs``.

    Raises:
        ValueError: They hold too much of the space for another to differ.
    """
    first, _ = _halves(data, number)
    ratio = next((slab for slab in slabs if slab.quantity == "ratio"), None)
    low, high = (ratio.low, ratio.high) if ratio else data.bounds
    # Only ends and mass of a refinement make a placebo.
    mass = mass_of(first, slabs)
    like = Refinement(low=low, high=high, optimum=low, factor=1.0, loss=0.0, mass=mass)
    return _met([*current, placebo(first, like, seed=data.config.seed).slab])


def held_out_losses(data: RegimeData, slabs: Slabs) -> tuple[float | None, float | None]:
    """Return the mean drop inside slabs and outside, of the half that did not set the first round.

    None where there are no recipes.
    """
    _, second = _halves(data, 1)
    recipes = second.averaged()
    inside_N = is_inside(recipes, slabs)
    inside, outside = (recipes.drop[chosen_N] for chosen_N in (inside_N, ~inside_N))
    return (
        float(inside.mean()) if inside.size else None,
        float(outside.mean()) if outside.size else None,
    )


def _halves(data: RegimeData, number: int) -> tuple[Measured, Measured]:
    name = fresh_names(number - 1)[0]
    population = data.stratified if number == 1 else data.measured(space=name)
    if population is None:
        raise ValueError(f"nothing was drawn from {name!r} to refine")
    return halves(population, seed=data.config.seed)


def _found(data: RegimeData, population: Measured, current: Slabs) -> list[Slab]:
    """Return a slab for each statistic that says something."""
    limits, wanted = data.config.thresholds, data.config.search.statistics
    bounds = next(((s.low, s.high) for s in current if s.quantity == "ratio"), data.bounds)
    setting = replace(data.setting, bounds=bounds)
    found = []
    if "ratio" in wanted:
        try:
            found.append(refine(population, setting).slab)
        except ValueError:
            if wanted == ("ratio",):
                raise
    stages = [f"stage:{name}" for name in population.stages]
    known = {"std": ["std"], "mean": ["mean"], "stages": stages}
    quantities = [q for statistic in wanted for q in known.get(statistic, [])]
    rule = limits.rule(data.noise)
    found += [
        one.slab for one in winners_slabs(population, setting, rule=rule, quantities=quantities)
    ]
    return found


def _narrower(found: Sequence[Slab], current: Slabs) -> Slabs:
    slabs = _met([*current, *found])
    if set(slabs) == set(current):
        raise ValueError("no statistic narrows the space further")
    return slabs


def _met(slabs: Sequence[Slab]) -> Slabs:
    """Return one slab a quantity: what all of it leave.

    Raises:
        ValueError: Two do not meet.
    """
    both: dict[str, Slab] = {}
    for slab in slabs:
        old = both.get(slab.quantity, slab)
        both[slab.quantity] = Slab(
            quantity=slab.quantity, low=max(old.low, slab.low), high=min(old.high, slab.high)
        )
    return tuple(both.values())


def _wishes(session: Session, level: float, found: Round) -> list[Wish]:
    """Return the training of fresh draws from refined and placebo space, and once from the base."""
    if session.config.search.fresh == 0:
        return []
    spaces: Mapping[str, Slabs] = dict(
        zip(fresh_names(found.number), (found.slabs, found.sham), strict=True)
    )
    if found.number == 1:
        spaces = {FRESH_BASE: (), **spaces}
    num, scene = session.config.search.fresh, session.scene
    origins = [origin_of(scene, level, name, num=num, slabs=own) for name, own in spaces.items()]
    members = [
        m
        for origin in origins
        for m in derived(scene, session.directory, origin, draws=session.draws)
    ]
    return [Wish(member=m, epochs=session.config.protocol.epochs) for m in members]


def _is_better(data: RegimeData, number: int) -> bool:
    """Return whether a round lost nothing against the last one: neither accuracy nor diversity."""
    limits = data.config.thresholds
    spaces = [FRESH_BASE, fresh_names(number - 1)[0], fresh_names(number)[0]]
    base, last, now = (data.measured(space=name) for name in spaces)
    if base is None or last is None or now is None:
        return False
    # "Better" of the last one: it has more recipes of small drops.
    worse = compare(
        last.averaged().drop, now.averaged().drop, resampling=data.config.resampling
    ).ks_better_p
    kept = diversity(now.averaged().keep) / diversity(base.averaged().keep)
    return worse >= limits.alpha and kept >= limits.diversity

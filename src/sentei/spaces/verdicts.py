"""All conjectures that the rows of a study can speak about, judged."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from sentei.report import space_schema as schema
from sentei.spaces.config import StudyConfig
from sentei.spaces.conjectures import (
    Site,
    Verdict,
    beats_rivals,
    optimal_ratio_exists,
    optimum_follows_design,
    ratio_is_sufficient,
    refinement_improves,
    same_optimum,
    spread_matters,
    winners_have_the_ratio,
)
from sentei.spaces.measured import Measured
from sentei.spaces.regime_data import (
    CONTROLS,
    FRESH_BASE,
    STRATIFIED,
    UNIFORM,
    RegimeData,
    fresh_names,
)
from sentei.spaces.rounds import held_out_losses

Unjudged: TypeAlias = dict[str, str]
"""Conjecture and scope without a verdict -> why."""

Accuracies: TypeAlias = Mapping[str, Sequence[float]]
"""Method -> test accuracy of every seed, in [0, 1]; the found subnetwork comes first."""

_Test: TypeAlias = tuple[str, str, Callable[[], Verdict]]


def judge(
    regimes: Sequence[RegimeData],
    contests: Mapping[float, Accuracies],
    *,
    dense_mcb: float,
) -> tuple[tuple[schema.Verdict, ...], Unjudged]:
    """Return a verdict for every conjecture and regime, and why others have none.

    Args:
        regimes: Of one network.
        contests: Regime -> what the subnetwork found there and its rivals reached.
        dense_mcb: MACs per parameter of the dense network.
    """
    found: list[schema.Verdict] = []
    unjudged: Unjudged = {}
    for scope, name, test in _tests(regimes, contests, dense_mcb):
        try:
            found.append(_shown(test(), scope))
        except ValueError as error:
            unjudged[f"{name}, {scope}"] = str(error)
    return tuple(sorted(found, key=lambda verdict: verdict.conjecture)), unjudged


def _tests(
    regimes: Sequence[RegimeData], contests: Mapping[float, Accuracies], dense_mcb: float
) -> Iterator[_Test]:
    for data in regimes:
        setting, trained = data.setting, data.stratified
        yield data.name, "C0", partial(_spread, data)
        if data.cells is not None:
            # STD and m are crossed there, so that neither stands in for the other.
            yield f"{data.name}, cells", "C0", partial(_spread, data, data.cells)
        yield data.name, "C1", partial(optimal_ratio_exists, trained, setting)
        yield data.name, "C3", partial(winners_have_the_ratio, trained, setting)
        yield data.name, "C4", partial(_refinement, data, 1)
        for number in range(2, data.config.search.rounds + 1):
            if fresh_names(number)[0] in data.fresh:
                yield f"{data.name}, round {number}", "C4", partial(_refinement, data, number)
        yield data.name, "C5", partial(_contest, data, contests.get(data.level, {}))
        yield data.name, "C6", partial(ratio_is_sufficient, trained, setting)
        for condition in CONTROLS:
            yield f"{data.name}, {condition}", "C7", partial(_control, data, condition)
    yield "all regimes", "C2", partial(_design, regimes, sites_of(regimes, dense_mcb=dense_mcb))


def _spread(data: RegimeData, drawn: Measured | None = None) -> Verdict:
    return spread_matters(
        data.of_all_spreads if drawn is None else drawn,
        data.setting,
        edges=(*data.config.population.std_edges, 1.0),
        uniform=data.measured(space=UNIFORM),
    )


def _refinement(data: RegimeData, number: int) -> Verdict:
    names = (FRESH_BASE, *fresh_names(number))
    base, refined, placebo = (data.measured(space=name) for name in names)
    if base is None or refined is None or placebo is None:
        raise ValueError(
            "no fresh recipes were drawn: search.regimes does not name this regime, or the drop has "
            "no valley in the ratio to refine around"
        )
    verdict = refinement_improves(base, refined, placebo, data.setting)
    slabs = data.slabs_of(names[1])
    if number > 1 or not slabs:
        return verdict
    inside, outside = held_out_losses(data, slabs)
    losses = " and ".join(
        f"{loss:.2f} points {where} the slabs"
        for loss, where in ((inside, "inside"), (outside, "outside"))
        if loss is not None
    )
    half = f"the half of the population that did not set the refinement loses {losses}"
    return dataclasses.replace(verdict, notes=(*verdict.notes, half))


def _contest(data: RegimeData, accuracies: Accuracies) -> Verdict:
    if not accuracies:
        raise ValueError("nothing was searched: search.regimes does not name this regime")
    ours, *rivals = accuracies
    return beats_rivals(
        accuracies[ours],
        {name: accuracies[name] for name in rivals},
        smallest_effect=data.setting.smallest_effect,
        thresholds=data.config.thresholds,
    )


def _control(data: RegimeData, condition: str) -> Verdict:
    ranking, weights = CONTROLS[condition]
    protocol = data.config.protocol
    if (ranking, weights) == (protocol.ranking, protocol.weights):
        raise ValueError("the protocol of the study itself is so: there is nothing to compare with")
    control = data.measured(space=STRATIFIED, ranking=ranking, weights=weights)
    if control is None:
        raise ValueError("no recipe was trained so: population.controls is 0")
    return same_optimum(data.stratified, control, data.setting, condition=condition)


def sites_of(
    regimes: Sequence[RegimeData], *, dense_mcb: float, checkpoint: str = ""
) -> list[Site]:
    """Return the optima of the regimes of one network.

    Args:
        regimes: Of one network.
        dense_mcb: MACs per parameter of the dense network.
        checkpoint: Which trained copy it is, where there may be several.
    """
    return [
        Site(
            network=data.network,
            regime=data.level,
            dense_mcb=dense_mcb,
            optimum=data.optimum,
            checkpoint=checkpoint,
        )
        for data in regimes
    ]


def judge_design(sites: Sequence[Site], config: StudyConfig, *, scope: str) -> schema.Verdict:
    """Return the verdict on C2 over optima of several studies.

    Raises:
        ValueError: They are too few.
    """
    found = optimum_follows_design(
        sites, thresholds=config.thresholds, resampling=config.resampling
    )
    return _shown(found, scope)


def _design(regimes: Sequence[RegimeData], sites: Sequence[Site]) -> Verdict:
    first = regimes[0].config
    return optimum_follows_design(sites, thresholds=first.thresholds, resampling=first.resampling)


def _shown(verdict: Verdict, scope: str) -> schema.Verdict:
    interval = verdict.interval
    return schema.Verdict(
        conjecture=verdict.conjecture,
        scope=scope,
        claim=verdict.claim,
        estimate=_finite(verdict.estimate),
        interval=None if interval is None else (interval.low, interval.high),
        level=None if interval is None else interval.level,
        test=verdict.test,
        p=_finite(verdict.p),
        verdict=verdict.verdict,
        power=verdict.power,
        checks=tuple(schema.Condition(text=c.text, holds=bool(c.holds)) for c in verdict.checks),
        notes=verdict.notes,
        numbers={name: _finite(value) for name, value in verdict.numbers.items()},
    )


def _finite(value: float | None) -> float | None:
    """Return a number that JSON has, or None."""
    return None if value is None or not math.isfinite(value) else float(value)

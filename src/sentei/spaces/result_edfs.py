"""The distributions of drops that a report compares: populations, strata, bins, fresh draws."""

from collections.abc import Mapping, Sequence

import numpy as np

from sentei.report.space_schema import SpaceResult
from sentei.spaces.measured import Measured
from sentei.spaces.regime_data import FRESH, NATURAL, STRATIFIED, RegimeData
from sentei.spaces.stats_base import FloatArray
from sentei.spaces.stats_compare import compare, holm
from sentei.spaces.stats_edf import dkw_epsilon
from sentei.spaces.subnets import choose

_FEWEST = 2  # subnetworks of a space that is shown


def space_results(data: RegimeData) -> tuple[SpaceResult, ...]:
    """Return the spaces of a regime, family by family; each is compared with its family's first."""
    trained = data.recipes
    one_shot = choose(data.rows, space=NATURAL, epochs=0)
    families: dict[str, dict[str, FloatArray]] = {
        "population, trained": {STRATIFIED: trained.drop},
        "populations, one shot": {
            NATURAL: np.array([row["drop"] for row in one_shot]),
            f"{STRATIFIED}, one shot": trained.one_shot_drop,
        },
        "strata of m": _strata(trained),
        "bins of STD": _bins(trained, data.config.population.std_edges),
        "refinement, fresh draws": _fresh(data),
    }
    found = [_family(data, family, drops) for family, drops in families.items()]
    return tuple(space for family in found for space in family)


def _strata(trained: Measured) -> dict[str, FloatArray]:
    parts = [trained.where(trained.stratum == number) for number in np.unique(trained.stratum)]
    return {f"m {own.ratio.min():.2f} to {own.ratio.max():.2f}": own.drop for own in parts}


def _bins(trained: Measured, edges: Sequence[float]) -> dict[str, FloatArray]:
    found = {}
    for low, high in zip(edges, [*edges[1:], np.inf], strict=True):
        label = f"{low:g} to {high:g}" if np.isfinite(high) else f"from {low:g}"
        found[f"STD {label}"] = trained.drop[(trained.std >= low) & (trained.std < high)]
    return found


def _fresh(data: RegimeData) -> dict[str, FloatArray]:
    measured = {name: data.measured(space=name) for name in FRESH}
    return {name: one.averaged().drop for name, one in measured.items() if one is not None}


def _family(data: RegimeData, family: str, drops: Mapping[str, FloatArray]) -> list[SpaceResult]:
    names = [name for name, values in drops.items() if len(values) >= _FEWEST]
    against = [
        compare(drops[name], drops[names[0]], resampling=data.config.resampling).ks_p
        for name in names[1:]
    ]
    p_values = [None, *holm(against)] if against else [None]
    return [
        _result(data, family, name, drops[name], reference=names[0] if p is not None else "", p=p)
        for name, p in zip(names, p_values, strict=False)
    ]


def _result(
    data: RegimeData,
    family: str,
    name: str,
    drops: FloatArray,
    *,
    reference: str,
    p: float | None,
) -> SpaceResult:
    population = data.config.population
    return SpaceResult(
        name=name,
        family=family,
        constraints=f"MACs {data.level:g} ± {data.config.window:g}",
        sampler=population.natural_sampler if name == NATURAL else population.stratified_sampler,
        drops=tuple(drops.tolist()),
        weights=(1.0,) * len(drops),
        minimum=float(drops.min()),
        mean=float(drops.mean()),
        low_quantile=float(np.quantile(drops, 0.05)),
        epsilon=dkw_epsilon(len(drops)),
        ks_p=p,
        reference=reference,
    )

"""The distributions of drops that a report compares: populations, strata, bins, fresh draws."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from sentei.report.space_schema import Band, Cells, SpaceResult
from sentei.spaces.config import PopulationConfig
from sentei.spaces.measured import Measured
from sentei.spaces.regime_data import NATURAL, STRATIFIED, RegimeData
from sentei.spaces.space import Slab
from sentei.spaces.stats_base import BoolArray, FloatArray, Resampling
from sentei.spaces.stats_compare import Comparison, compare, holm
from sentei.spaces.stats_edf import bootstrap_band, dkw_epsilon, edf
from sentei.spaces.strata import strata_of
from sentei.spaces.subnets import choose
from sentei.spaces.terrain import shown

_FEWEST = 2  # subnetworks of a space that is shown
_BAND = 200  # drops at which a bootstrap band is read, at most


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """What a space shows.

    Attributes:
        drops: Of its subnetworks, shape [N].
        weights: What each counts, shape [N]; None: all the same.
        log_share: Logarithm of the share of the regime that the space is; None: not known.
        slabs: What its subnetworks keep to, beside the slabs of the regime.
    """

    drops: FloatArray
    weights: FloatArray | None = None
    log_share: float | None = None
    slabs: tuple[Slab, ...] = ()


_Family: TypeAlias = dict[str, _Part]


def space_results(data: RegimeData) -> tuple[SpaceResult, ...]:
    """Return the spaces of a regime, family by family; each is compared with its family's first."""
    trained = data.recipes
    one_shot = choose(data.rows, space=NATURAL, epochs=0)
    families: dict[str, _Family] = {
        "population, trained": {
            STRATIFIED: _Part(drops=trained.drop, log_share=0.0),
            "weighted as the regime": _Part(
                drops=trained.drop, weights=trained.weight, log_share=0.0
            ),
        },
        "populations, one shot": {
            NATURAL: _Part(drops=np.array([row["drop"] for row in one_shot]), log_share=0.0),
            f"{STRATIFIED}, one shot": _Part(drops=trained.one_shot_drop, log_share=0.0),
        },
        "strata of m": _strata(data, trained),
        "bins of STD": _drawn(data, data.std_spaces) or _bins(trained, data.config.population),
        **_by_cell(data),
        "parameter buckets": _buckets(trained, data.config.space.bucket_edges),
        "refinement, fresh draws": _drawn(data, data.fresh),
    }
    found = [_family(data, family, parts) for family, parts in families.items()]
    return tuple(space for family in found for space in family)


def _strata(data: RegimeData, trained: Measured) -> _Family:
    """Return the drops of each stratum; a recipe's weight is its stratum's share, times their number."""
    found, num = {}, data.config.population.strata
    slabs = strata_of(data.bounds, num=num).slabs()
    for number in np.unique(trained.stratum).tolist():
        own_N = trained.stratum == number
        ratio = trained.ratio[own_N]
        found[f"m {ratio.min():.2f} to {ratio.max():.2f}"] = _Part(
            drops=trained.drop[own_N],
            log_share=math.log(trained.weight[own_N][0] / num),
            slabs=(slabs[number],),
        )
    return found


def _bins(trained: Measured, config: PopulationConfig) -> _Family:
    return {
        name: _part(
            trained,
            (trained.std >= low) & (trained.std < high),
            Slab(quantity="std", low=low, high=high),
        )
        for name, (low, high) in config.std_bins.items()
    }


def _by_cell(data: RegimeData) -> dict[str, _Family]:
    """Return a family a bin of STD: its cells, by m; nothing where none were drawn."""
    drawn = data.cells
    if drawn is None:
        return {}
    spreads, ratios = _names_of_bins(data, drawn)
    config = data.config.population
    bins = [Slab(quantity="std", low=low, high=high) for low, high in config.std_bins.values()]
    slabs = list(itertools.product(bins, strata_of(data.bounds, num=config.cell_bins).slabs()))
    found: dict[str, _Family] = {}
    for number in np.unique(drawn.stratum).tolist():
        spread, ratio = spreads[number // len(ratios)], ratios[number % len(ratios)]
        own_N = drawn.stratum == number
        share = float(drawn.weight[own_N][0]) / (len(spreads) * len(ratios))
        part = _Part(
            drops=drawn.drop[own_N],
            log_share=math.log(share) if share > 0 else None,
            slabs=slabs[number],
        )
        found.setdefault(f"cells of {spread}", {})[f"{spread}, {ratio}"] = part
    return found


def crossed(data: RegimeData) -> Cells | None:
    """Return the mean drop of every cell of STD by m; None where none were drawn."""
    drawn = data.cells
    if drawn is None:
        return None
    spreads, ratios = _names_of_bins(data, drawn)
    size = len(spreads) * len(ratios)
    counts = np.bincount(drawn.stratum, minlength=size)
    sums = np.bincount(drawn.stratum, weights=drawn.drop, minlength=size)
    means = [
        total / n if n else None for total, n in zip(sums.tolist(), counts.tolist(), strict=True)
    ]
    rows = [slice(start, start + len(ratios)) for start in range(0, size, len(ratios))]
    return Cells(
        spreads=tuple(spreads),
        ratios=tuple(ratios),
        counts=tuple(tuple(counts[row].tolist()) for row in rows),
        means=tuple(tuple(means[row]) for row in rows),
    )


def _names_of_bins(data: RegimeData, drawn: Measured) -> tuple[list[str], list[str]]:
    """Return the names of the bins of STD, and of m: as far as what was drawn from them reaches."""
    config = data.config.population
    own = [drawn.ratio[drawn.stratum % config.cell_bins == i] for i in range(config.cell_bins)]
    ratios = [f"m {m.min():.2f} to {m.max():.2f}" if m.size else f"m, bin {i}, empty"
              for i, m in enumerate(own, start=1)]  # fmt: skip
    return list(config.std_bins), ratios


def _buckets(trained: Measured, edges: Sequence[float]) -> _Family:
    """Return drops by the share of the parameters that is left; nothing without edges."""
    ends = [0.0, *edges, np.inf] if edges else []
    number_N = np.digitize(trained.params_left, edges)
    return {
        f"parameters {low:g} to {min(high, 1.0):g}": _part(
            trained,
            number_N == number,
            Slab(quantity="params", low=low, high=max(low, min(high, 1.0))),
        )
        for number, (low, high) in enumerate(itertools.pairwise(ends))
    }


def _part(trained: Measured, own_N: BoolArray, slab: Slab) -> _Part:
    """Return a part of a population, and by its weights which share of the regime it stands for."""
    share = float(trained.weight[own_N].sum() / trained.weight.sum())
    return _Part(
        drops=trained.drop[own_N],
        log_share=math.log(share) if share > 0 else None,
        slabs=(slab,),
    )


def _drawn(data: RegimeData, names: Sequence[str]) -> _Family:
    """Return spaces that recipes were drawn from and trained."""
    found = {}
    for name in names:
        first = choose(data.rows, space=name)[0]
        found[name] = _Part(
            drops=data.drops(name), log_share=first.get("log_share"), slabs=data.slabs_of(name)
        )
    return found


def _family(data: RegimeData, family: str, parts: _Family) -> list[SpaceResult]:
    names = [name for name, part in parts.items() if len(part.drops) >= _FEWEST]
    plain = [name for name in names[1:] if parts[name].weights is None]
    against = [
        compare(parts[name].drops, parts[names[0]].drops, resampling=data.config.resampling)
        for name in plain
    ]
    tests = zip(
        holm([one.ks_p for one in against]),
        holm([one.mann_whitney_p for one in against]),
        strict=True,
    )
    adjusted = {
        name: replace(one, ks_adjusted_p=ks, mann_whitney_p=ranks)
        for name, one, (ks, ranks) in zip(plain, against, tests, strict=True)
    }
    found = {name: _result(data, family, name, parts[name]) for name in names}
    return [
        _beside(found[name], adjusted[name], names[0]) if name in adjusted else found[name]
        for name in names
    ]


def _beside(result: SpaceResult, found: Comparison, reference: str) -> SpaceResult:
    """Return the result of a space with how it compares with the reference of its family."""
    mean, quantile = found.mean.interval, found.quantile.interval
    return replace(
        result,
        ks_p=found.ks_adjusted_p,
        mann_whitney_p=found.mann_whitney_p,
        cliffs_delta=found.cliffs_delta,
        mean_difference=found.mean.estimate,
        mean_interval=(mean.low, mean.high),
        quantile_difference=found.quantile.estimate,
        quantile_interval=(quantile.low, quantile.high),
        reference=reference,
    )


def _band(part: _Part, resampling: Resampling) -> Band:
    drops = np.unique(part.drops)
    chosen = np.linspace(0, drops.size - 1, min(drops.size, _BAND)).round().astype(int)
    grid = drops[chosen]
    # A distribution function counts what lies below: just above a drop that holds the drop.
    found = bootstrap_band(
        part.drops, np.nextafter(grid, np.inf), weights=part.weights, resampling=resampling
    )
    return Band(
        level=found.level,
        drops=tuple(grid.tolist()),
        low=tuple(found.low.tolist()),
        high=tuple(found.high.tolist()),
    )


def _result(data: RegimeData, family: str, name: str, part: _Part) -> SpaceResult:
    population = data.config.population
    shares = edf(part.drops, part.weights)
    return SpaceResult(
        name=name,
        family=family,
        constraints="; ".join(
            [
                f"{shown(data.config.regime_by)} {data.level:g} ± {data.config.window:g}",
                *(str(slab) for slab in (*data.slabs[1:], *part.slabs)),
            ]
        ),
        sampler=population.natural_sampler if name == NATURAL else population.stratified_sampler,
        drops=tuple(part.drops.tolist()),
        weights=(1.0,) * len(part.drops) if part.weights is None else tuple(part.weights.tolist()),
        minimum=shares.minimum,
        mean=shares.mean,
        low_quantile=float(shares.points[np.searchsorted(shares.weights.cumsum(), 0.05)])
        if part.weights is not None
        else float(np.quantile(part.drops, 0.05)),
        epsilon=dkw_epsilon(len(part.drops)) if part.weights is None else None,
        band=_band(part, data.config.resampling),
        log_volume=part.log_share,
    )

"""Noise, power, proxies and random searches of a regime as a report shows them."""

import dataclasses

import numpy as np

from sentei.report import space_schema as schema
from sentei.spaces.measured import Measured
from sentei.spaces.regime_data import FRESH, STRATIFIED, RegimeData
from sentei.spaces.simulate import Effect
from sentei.spaces.stats_base import FloatArray
from sentei.spaces.stats_edf import best_of_k_band
from sentei.spaces.stats_noise import Noise
from sentei.spaces.stats_power import optimum_power
from sentei.spaces.stats_proxy import Gate, proxy_check, rank_agreement
from sentei.spaces.subnets import choose

_FACTOR = 1.5  # distance from m* at which effects are stated
_LOSSES = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)  # points
_SIMULATIONS = 300
_KINDS = dict(zip(FRESH, ("base", "refined", "placebo"), strict=True))


def noise(data: RegimeData) -> schema.Noise | None:
    """Return noise and power of a regime; None where no subnetwork was trained twice."""
    found = data.noise
    if found is None:
        return None
    powers = _powers(data, found)
    enough = [loss for loss, power in zip(_LOSSES, powers, strict=True) if power >= 0.8]
    repeated = data.recipes.replicates > 1
    return schema.Noise(
        reliability=found.reliability,
        interval=(found.reliability_interval.low, found.reliability_interval.high),
        structure_sd=found.structure_sd,
        seed_sd=found.seed_sd,
        num_replicated=int(repeated.sum()),
        delta_min=data.config.thresholds.smallest_effect(found),
        effects=_LOSSES,
        powers=tuple(powers),
        test=f"Lind-Mehlum test of an interior optimum at level {data.config.thresholds.alpha:g}, "
        f"drop lost at {_FACTOR:g} m*",
        least_effect=min(enough, default=None),
    )


def _powers(data: RegimeData, found: Noise) -> list[float]:
    """Return the chance of each loss to be found by this population, with the optimum it shows."""
    observations = data.recipes.observations(covariates=("std",))
    optimum = data.optimum.ratio
    low, high = data.bounds
    inside = float(np.clip(optimum, low * 1.1, high / 1.1))
    simulation = dataclasses.replace(
        data.config.resampling, draws=_SIMULATIONS, level=1 - data.config.thresholds.alpha
    )
    powers = []
    for loss in _LOSSES:
        effect = Effect(
            curvature=loss / np.log(_FACTOR) ** 2,
            optimum=inside,
            structure=found.structure_sd,
            seed=found.seed_sd,
        )
        share = optimum_power(observations, effect, bounds=data.bounds, simulation=simulation)
        powers.append(share.value)
    return powers


def proxies(data: RegimeData) -> tuple[schema.Proxy, ...]:
    """Return the cheap scores there are beside the drop after training: one shot, and supernet."""
    trained = data.recipes
    found = [
        _proxy(data, trained, trained.one_shot_drop, "one shot", "drop before training"),
    ]
    shared = {
        row["subnet"]: row["drop"] for row in choose(data.rows, space=STRATIFIED, supernet=True)
    }
    names = [trained.subnets[recipe] for recipe in trained.recipe]
    if shared.keys() >= set(names):
        drops = np.array([shared[name] for name in names])
        found.append(_proxy(data, trained, drops, "supernet", "drop with shared weights"))
    return tuple(found)


def _proxy(
    data: RegimeData, trained: Measured, cheap: FloatArray, name: str, unit: str
) -> schema.Proxy:
    full = trained.observations(covariates=("std",))
    found = proxy_check(cheap, full, bounds=data.bounds, strata=trained.stratum)
    return schema.Proxy(
        name=name,
        regime=data.name,
        unit=f"{unit}, norms measured anew, percentage points",
        values=tuple(cheap.tolist()),
        drops=tuple(trained.drop.tolist()),
        tau=found.agreement.tau,
        interval=(found.agreement.interval.low, found.agreement.interval.high),
        level=found.agreement.interval.level,
        partial_tau=found.partial.tau,
        recall=found.recall,
        shift=found.shift.factor,
        shift_interval=(found.shift.interval.low, found.shift.interval.high),
        gate=_GATES[found.use],
    )


_GATES = {
    "substitute": "may stand in for training",
    "screen": "may choose what to train",
    "train": "says too little: train",
}


def may_screen(data: RegimeData) -> bool:
    """Return whether the drop before training may choose what a search trains, in this regime."""
    trained = data.recipes
    found = rank_agreement(trained.one_shot_drop, trained.drop, resampling=data.config.resampling)
    return Gate().use(found) != "train"


def search(data: RegimeData) -> schema.Search | None:
    """Return the expected best of k of the fresh draws; None where there are none."""
    curves = []
    for name, kind in _KINDS.items():
        measured = data.measured(space=name)
        if measured is None:
            continue
        drops = measured.averaged().drop
        counts = np.unique(np.geomspace(1, len(drops), 24).astype(int))
        band = best_of_k_band(drops, counts, resampling=data.config.resampling)
        curves.append(
            schema.BestOf(
                name=name,
                kind=kind,
                counts=tuple(counts.tolist()),
                best=tuple(band.curve.tolist()),
                low=tuple(band.low.tolist()),
                high=tuple(band.high.tolist()),
            )
        )
    if not curves:
        return None
    return schema.Search(
        level=data.config.resampling.level,
        seconds_each=seconds_each(data),
        curves=tuple(curves),
    )


def seconds_each(data: RegimeData) -> float:
    """Return the mean seconds that one trained subnetwork took."""
    rows = choose(data.rows, space=STRATIFIED, epochs=data.config.protocol.epochs)
    return float(np.mean([sum(row["seconds"].values()) for row in rows]))

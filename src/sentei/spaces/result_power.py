"""Noise, power and random searches of a regime as a report shows them."""

import dataclasses
import math

import numpy as np

from sentei.report import space_schema as schema
from sentei.spaces.payback import draws_to_reach
from sentei.spaces.regime_data import FRESH_BASE, STRATIFIED, RegimeData, fresh_names
from sentei.spaces.simulate import Effect
from sentei.spaces.stats_base import Resampling, Share
from sentei.spaces.stats_edf import best_of_k_band
from sentei.spaces.stats_noise import Noise
from sentei.spaces.stats_power import detectable_effect, optimum_power
from sentei.spaces.subnets import choose

_FACTOR = 1.5  # distance from m* at which effects are stated
_LOSSES = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)  # points
_SIMULATIONS = 300


def noise(data: RegimeData) -> schema.Noise | None:
    """Return noise and power of a regime; None where no subnetwork was trained twice."""
    found = data.noise
    if found is None:
        return None
    powers = _powers(data, found)
    repeated = data.recipes.replicates > 1
    return schema.Noise(
        reliability=found.reliability,
        interval=(found.reliability_interval.low, found.reliability_interval.high),
        structure_sd=found.structure_sd,
        seed_sd=found.seed_sd,
        num_replicated=int(repeated.sum()),
        delta_min=data.config.thresholds.smallest_effect(found),
        effects=_LOSSES,
        powers=tuple(one.value for one in powers),
        power_errors=tuple(one.mc_error for one in powers),
        test=f"Lind-Mehlum test of an interior optimum at level {data.config.thresholds.alpha:g}, "
        f"drop lost at {_FACTOR:g} m*",
        least_effect=_least_effect(data, found),
    )


def _powers(data: RegimeData, found: Noise) -> list[Share]:
    """Return the chance of each loss to be found by this population, with the optimum it shows."""
    observations = data.setting.observations(data.recipes)
    return [
        optimum_power(
            observations,
            _effect(data, found, loss),
            bounds=data.bounds,
            simulation=_simulation(data),
        )
        for loss in _LOSSES
    ]


def _least_effect(data: RegimeData, found: Noise) -> float | None:
    """Return the smallest loss found with power 0.8, to 1 %; None where none is."""
    try:
        least = detectable_effect(
            data.setting.observations(data.recipes),
            _effect(data, found, 1.0),
            bounds=data.bounds,
            factor=_FACTOR,
            simulation=_simulation(data),
        )
    except ValueError:
        return None
    return least.loss


def _effect(data: RegimeData, found: Noise, loss: float) -> Effect:
    low, high = data.bounds
    return Effect(
        curvature=loss / np.log(_FACTOR) ** 2,
        optimum=float(np.clip(data.optimum.ratio, low * 1.1, high / 1.1)),
        structure=found.structure_sd,
        seed=found.seed_sd,
    )


def _simulation(data: RegimeData) -> Resampling:
    return dataclasses.replace(
        data.config.resampling, draws=_SIMULATIONS, level=1 - data.config.thresholds.alpha
    )


def search(data: RegimeData) -> schema.Search | None:
    """Return the expected best of k of the fresh draws; None where there are none."""
    curves = []
    for name in data.fresh:
        drops = data.drops(name)
        counts = np.unique(np.geomspace(1, len(drops), 24).astype(int))
        band = best_of_k_band(drops, counts, resampling=data.config.resampling)
        curves.append(
            schema.BestOf(
                name=name,
                kind="base" if name == FRESH_BASE else name.split()[0],
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
        payoff=_payoff(data),
    )


def _payoff(data: RegimeData) -> schema.Payoff | None:
    """Return whether searches in the refined space save what the study of the regime cost."""
    refined = fresh_names(1)[0]
    if not {FRESH_BASE, refined} <= set(data.fresh):
        return None
    spaces = data.drops(FRESH_BASE), data.drops(refined)
    target = float(np.quantile(spaces[0], data.config.thresholds.winners))
    counts = [draws_to_reach(drops, target) for drops in spaces]
    known = [None if math.isinf(count) else count for count in counts]
    each = seconds_each(data)
    return schema.Payoff(
        drop=target,
        base_count=known[0],
        refined_count=known[1],
        study_seconds=sum(_seconds(data)),
        search_seconds=each,
        saved_seconds=None if None in known else (counts[0] - counts[1]) * each,
    )


def seconds_each(data: RegimeData) -> float:
    """Return the mean seconds that one trained subnetwork took."""
    return float(np.mean(_seconds(data)))


def _seconds(data: RegimeData) -> list[float]:
    rows = choose(data.rows, space=STRATIFIED, epochs=data.config.protocol.epochs)
    return [sum(row["seconds"].values()) for row in rows]

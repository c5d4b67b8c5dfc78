"""The drop over MACs per parameter as a report shows it: points, fit, optimum, winners, profile."""

# Shapes: N = subnetworks, L = points of a grid.

import math

import numpy as np

from sentei.report import space_schema as schema
from sentei.spaces.conjectures import Thresholds
from sentei.spaces.measured import Measured
from sentei.spaces.regime_data import UNIFORM, RegimeData
from sentei.spaces.stats_base import Observations, Resampling, generator, resampling_counts
from sentei.spaces.stats_optimum import Optimum, optimal_ratio_spline
from sentei.spaces.stats_regression import curve, resampled_coefficients
from sentei.spaces.stats_winners import winners_band

_GRID = 61  # points at which the fit is drawn


def population(data: RegimeData) -> schema.Population:
    """Return the trained population of a regime over m."""
    trained = data.recipes
    uniform = data.measured(space=UNIFORM)
    observations = data.setting.observations(trained)
    return schema.Population(
        attainable=data.bounds,
        points=tuple(_points(trained, "stratified")),
        uniform=None if uniform is None else _points(uniform.averaged(), UNIFORM)[0],
        fit=_fit(observations, data.bounds, data.config.resampling),
        optimum=_shown(data.optimum),
        winners=_winners(data, trained),
        spline=_spline(observations, data.bounds, data.config.resampling),
    )


def _shown(found: Optimum) -> schema.Optimum:
    return schema.Optimum(
        ratio=found.ratio,
        interval=(found.interval.low, found.interval.high),
        level=found.interval.level,
        drop=found.drop,
        at_bound=found.at_bound,
        method=f"{found.method} in log m with STD, {found.interval.method}",
    )


def _spline(
    observations: Observations, bounds: tuple[float, float], resampling: Resampling
) -> schema.Optimum | None:
    try:
        return _shown(optimal_ratio_spline(observations, bounds=bounds, resampling=resampling))
    except ValueError:
        return None  # too few recipes for a spline: the quadratic goes unchecked


def _points(measured: Measured, space: str) -> list[schema.Point]:
    names = [measured.subnets[recipe] for recipe in measured.recipe]
    columns = (measured.ratio, measured.drop, measured.std, measured.params_left)
    return [
        schema.Point(subnet=name, space=space, ratio=m, drop=e, std=s, params_left=p)
        for name, m, e, s, p in zip(names, *(c.tolist() for c in columns), strict=True)
    ]


def _fit(
    observations: Observations, bounds: tuple[float, float], resampling: Resampling
) -> schema.Fit:
    """Return the quadratic in log m with a pointwise bootstrap band, covariates at their means."""
    fit = curve(observations)
    logs_L = np.linspace(math.log(bounds[0]), math.log(bounds[1]), _GRID)
    at_LP = fit.value_weights(logs_L)
    counts_BN = resampling_counts(
        len(observations), resampling.draws, rng=generator(resampling.seed, "fit")
    )
    weights_N = observations.weights
    mass_BN = counts_BN if weights_N is None else counts_BN * weights_N
    draws_BP = resampled_coefficients(fit.problem.columns, observations.drop, mass_BN)
    tail = (1 - resampling.level) / 2
    low_L, high_L = np.quantile(draws_BP @ at_LP.T, [tail, 1 - tail], axis=0)
    return schema.Fit(
        method=f"quadratic in log m, pairs bootstrap, {100 * resampling.level:g} % pointwise",
        ratios=tuple(np.exp(logs_L).tolist()),
        drops=tuple((at_LP @ fit.problem.coefficients(observations.drop)).tolist()),
        low=tuple(low_L.tolist()),
        high=tuple(high_L.tolist()),
    )


def _winners(data: RegimeData, trained: Measured) -> schema.Winners:
    limits = data.config.thresholds
    rule = limits.rule(data.noise)
    band = winners_band(trained.ratio, trained.drop, rule=rule, resampling=data.config.resampling)
    return schema.Winners(
        rule=winners_shown(limits),
        level=band.level,
        median=band.median,
        band=(band.low, band.high),
        null=(band.null_low, band.null_high),
        p=band.p_value.value,
        p_error=band.p_value.mc_error,
    )


def winners_shown(limits: Thresholds) -> str:
    """Return who wins, in words."""
    return {
        "best1": "the best",
        "top_q": f"best {100 * limits.winners:g} %",
        "within_eps": "within the noise of one training of the best",
        "bootstrap_best": "best of resamples of a quarter",
    }[limits.winner_rule]


def profile(data: RegimeData) -> schema.Profile:
    """Return the keep ratios by depth of the best and the worst tenth of a population."""
    trained = data.recipes
    order = np.argsort(trained.drop, kind="stable")
    count = max(1, len(order) // 10)
    best, worst = trained.keep[order[:count]], trained.keep[order[-count:]]
    uniform = data.measured(space=UNIFORM)
    even = trained.keep.mean(axis=0) if uniform is None else uniform.averaged().keep[0]
    return schema.Profile(
        rule=f"the {count} best and the {count} worst of {len(order)}",
        groups=trained.groups,
        stages=tuple(data.stages[name] for name in trained.groups),
        winners=tuple(tuple(row) for row in best.tolist()),
        losers=tuple(tuple(row) for row in worst.tolist()),
        uniform=tuple(even.tolist()),
    )

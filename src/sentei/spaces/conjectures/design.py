"""C2: is the optimal ratio related to the design of the original network.

Shapes: K = sites, J = networks, B = bootstrap draws.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sentei.spaces.conjectures.base import Check, Thresholds, Verdict, judged
from sentei.spaces.stats_base import (
    DEFAULTS,
    FloatArray,
    Interval,
    Resampling,
    generator,
    percentile_interval,
    resampling_counts,
)
from sentei.spaces.stats_meta import MetaRegression, meta_regression, standard_error
from sentei.spaces.stats_optimum import Optimum
from sentei.spaces.stats_power import normal_power
from sentei.spaces.stats_regression import resampled_coefficients

_CLAIM = "the optimal ratio is related to the design of the original network"


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where an optimum was found.

    Attributes:
        network: Name of the network.
        regime: Share of the MACs left, in (0, 1).
        dense_mcb: MACs per parameter of the dense network, > 0.
        optimum: m* with its interval.
        checkpoint: Which trained copy of the network, if there are several.

    Raises:
        ValueError: ``dense_mcb`` is not positive.
    """

    network: str
    regime: float
    dense_mcb: float
    optimum: Optimum
    checkpoint: str = ""

    def __post_init__(self) -> None:
        if self.dense_mcb <= 0:
            raise ValueError(
                f"{self.network} has {self.dense_mcb} MACs per parameter; a positive number was "
                f"expected"
            )


def optimum_follows_design(
    sites: Sequence[Site],
    *,
    thresholds: Thresholds | None = None,
    resampling: Resampling = DEFAULTS,
) -> Verdict:
    """Judge C2: the optimal MACs per parameter depend on those of the dense network.

    The estimate is the slope of log mCB* on log mCB0 over networks: 0 is no relation, 1 a constant
    m*. mCB0 does not vary within a network, so its sites are first brought to the mean regime, by
    the slope within networks, and averaged; the networks are then the observations. Needed are
    enough networks and regimes, a slope whose interval excludes 0, and optima inside their bounds.
    Contradicting are m* near 1 everywhere (the law then is: keep the original ratio), and
    checkpoints of one network that disagree.

    Args:
        sites: The optima of several networks, regimes and perhaps checkpoints.
        thresholds: What counts; None for the defaults.
        resampling: How the bootstrap over networks draws; level of the intervals.

    Raises:
        ValueError: there are fewer than two sites, or an interval of an optimum has no width.
    """
    limits = thresholds or Thresholds()
    _check_sites(sites)
    together = meta_regression(_log_ratios(sites), _errors(sites))
    regime_slope, networks = _network_means(sites)
    fit = _slope(networks)
    enough = _enough(sites, limits)
    inside = Check(
        text=f"{sum(site.optimum.interior for site in sites)} of {len(sites)} optima are shown "
        f"inside their attainable bounds",
        holds=all(site.optimum.interior for site in sites),
    )
    stable, unstable = _checkpoints(sites, limits)
    keeps, kept = _keeps_original(together, limits, resampling.level)
    checks = [*enough, inside, stable, keeps]
    numbers = {
        "q": together.q,
        "q_p": together.q_p,
        "between_variance": together.variance,
        "mean_m_star": math.exp(float(together.coefficients[0])),
        "regime_slope": regime_slope,
    }
    estimate, interval, power = None, None, 0.0
    if fit is None:
        checks.append(
            Check(text="fewer than three networks, or all of one mCB0: no slope", holds=False)
        )
    else:
        estimate, interval = float(fit.coefficients[1]), fit.interval(1, level=resampling.level)
        error = float(fit.errors[1])
        # The power for a constant m*: mCB* in proportion to mCB0.
        power = normal_power(1.0, error, alpha=limits.alpha, dof=fit.dof)
        checks.append(
            Check(
                text=f"the interval of the slope, {interval.low:.2f} to {interval.high:.2f}, "
                f"excludes 0",
                holds=0 not in interval,
            )
        )
        over = _bootstrap(networks, fit.variance, resampling)
        numbers |= {"slope_bootstrap_low": over.low, "slope_bootstrap_high": over.high}
    complete = fit is not None and all(check.holds for check in enough)
    return Verdict(
        conjecture="C2",
        claim=_CLAIM,
        estimate=estimate,
        interval=interval,
        test="slope of log mCB* on log mCB0 over networks; Cochran's Q of log m*",
        p=together.q_p,
        verdict=judged(
            checks,
            contradicted=complete and (unstable or kept),
            power=power if complete and inside.holds and keeps.holds else 0.0,
            thresholds=limits,
        ),
        power=power if complete else 0.0,
        checks=tuple(checks),
        notes=(
            f"Q = {together.q:.1f} over {len(sites)} sites (p = {together.q_p:.3f}): m* "
            f"{'differs' if together.q_p < limits.alpha else 'is not shown to differ'} between them",
        ),
        numbers=numbers,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Networks:
    """One optimum a network, at the mean regime: logs, shapes [J]."""

    dense: FloatArray
    optimal: FloatArray
    errors: FloatArray


def _check_sites(sites: Sequence[Site]) -> None:
    if len(sites) < 2:
        raise ValueError(
            f"{len(sites)} optima were given; a relation needs at least two networks or regimes"
        )
    for site in sites:
        if site.optimum.interval.high <= site.optimum.interval.low:
            why = (
                f"it lies on a bound of what can be attained in {site.optimum.at_bound:.0%} of the "
                "resamples: there is no optimum to relate to the design"
                if site.optimum.at_bound > 0
                else "use more bootstrap draws or look at its population"
            )
            raise ValueError(
                f"m* of {site.network} at {site.regime} has an interval without width; {why}"
            )


def _log_ratios(sites: Sequence[Site]) -> FloatArray:
    return np.log([site.optimum.ratio for site in sites])


def _errors(sites: Sequence[Site]) -> FloatArray:
    return np.array([standard_error(site.optimum.interval, log=True) for site in sites])


def _network_means(sites: Sequence[Site]) -> tuple[float, _Networks]:
    """Return the slope of log m* in the regime within networks, and the networks without it."""
    names = list(dict.fromkeys(site.network for site in sites))
    of_K = np.array([names.index(site.network) for site in sites])
    value_K, error_K = _log_ratios(sites), _errors(sites)
    regime_K = np.array([site.regime for site in sites])
    weight_K = error_K**-2
    centre_J = np.bincount(of_K, weight_K * regime_K) / np.bincount(of_K, weight_K)
    mean_J = np.bincount(of_K, weight_K * value_K) / np.bincount(of_K, weight_K)
    apart_K = regime_K - centre_J[of_K]
    spread = float(weight_K @ apart_K**2)
    slope = float(weight_K @ (apart_K * (value_K - mean_J[of_K]))) / spread if spread > 0 else 0.0
    level_K = value_K - slope * (regime_K - regime_K.mean())
    dense, optimal, errors = [], [], []
    for number, name in enumerate(names):
        own = of_K == number
        first = next(site for site in sites if site.network == name)
        dense.append(math.log(first.dense_mcb))
        if own.sum() == 1:
            mean, error = level_K[own][0], error_K[own][0]
        else:
            fit = meta_regression(level_K[own], error_K[own])
            mean, error = fit.coefficients[0], fit.errors[0]
        optimal.append(float(mean) + dense[-1])
        errors.append(float(error))
    return slope, _Networks(
        dense=np.array(dense), optimal=np.array(optimal), errors=np.array(errors)
    )


def _slope(networks: _Networks) -> MetaRegression | None:
    """Return the regression over networks, or None where fewer than three differ."""
    if np.unique(networks.dense).size < 2 or networks.dense.size < 3:
        return None
    columns = np.column_stack([np.ones_like(networks.dense), networks.dense])
    return meta_regression(networks.optimal, networks.errors, columns)


def _enough(sites: Sequence[Site], limits: Thresholds) -> list[Check]:
    regimes: dict[str, set[float]] = {}
    for site in sites:
        regimes.setdefault(site.network, set()).add(site.regime)
    fewest = min(len(found) for found in regimes.values())
    return [
        Check(
            text=f"{len(regimes)} networks, {limits.networks} needed",
            holds=len(regimes) >= limits.networks,
        ),
        Check(
            text=f"{fewest} regimes of the network with fewest, {limits.regimes} needed",
            holds=fewest >= limits.regimes,
        ),
    ]


def _checkpoints(sites: Sequence[Site], limits: Thresholds) -> tuple[Check, bool]:
    """Return whether checkpoints of one network and regime agree, and whether they are shown not to."""
    cells: dict[tuple[str, float], list[Site]] = {}
    for site in sites:
        cells.setdefault((site.network, site.regime), []).append(site)
    repeated = [cell for cell in cells.values() if len(cell) > 1]
    if not repeated:
        return Check(text="no network was studied from two checkpoints", holds=True), False
    p = min(meta_regression(_log_ratios(cell), _errors(cell)).q_p for cell in repeated)
    p = min(1.0, p * len(repeated))  # Bonferroni over the cells
    return Check(text=f"checkpoints of one network agree (p = {p:.3f})", holds=p >= limits.alpha), (
        p < limits.alpha
    )


def _keeps_original(
    together: MetaRegression, limits: Thresholds, level: float
) -> tuple[Check, bool]:
    """Return whether m* differs from 1, and whether it is shown to be about 1 everywhere."""
    interval = together.interval(0, level=level)
    margin = math.log(limits.factor)
    text = (
        f"mean m* is {math.exp(float(together.coefficients[0])):.2f}, "
        f"{math.exp(interval.low):.2f} to {math.exp(interval.high):.2f}: not just 1 everywhere"
    )
    same = 0 in interval and together.q_p >= limits.alpha
    return Check(text=text, holds=not same), same and interval.within(-margin, margin)


def _bootstrap(networks: _Networks, variance: float, resampling: Resampling) -> Interval:
    """Return the interval of the slope over resampled networks that differ in mCB0."""
    num = networks.dense.size
    counts_BJ = resampling_counts(num, resampling.draws, rng=generator(resampling.seed, "networks"))
    spread_B = np.array([np.ptp(networks.dense[counts > 0]) for counts in counts_BJ])
    columns = np.column_stack([np.ones(num), networks.dense - networks.dense.mean()])
    mass_BJ = counts_BJ[spread_B > 0] / (networks.errors**2 + variance)
    slopes_B = resampled_coefficients(columns, networks.optimal, mass_BJ)[:, 1]
    return percentile_interval(slopes_B, level=resampling.level, method="bootstrap over networks")

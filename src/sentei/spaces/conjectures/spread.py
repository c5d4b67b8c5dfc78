"""C0: does the spread of a recipe's pruning ratios matter in a regime."""

import itertools

import numpy as np
from scipy import stats

from sentei.spaces.conjectures.base import Check, Setting, Verdict, judged
from sentei.spaces.measured import Measured
from sentei.spaces.stats_base import FloatArray, Interval
from sentei.spaces.stats_compare import compare_all
from sentei.spaces.stats_power import normal_power
from sentei.spaces.stats_regression import curve


def spread_matters(
    measured: Measured,
    setting: Setting,
    *,
    edges: tuple[float, ...],
    uniform: Measured | None = None,
    least: int = 10,
) -> Verdict:
    """Judge C0: recipes of different spread (STD) differ in a regime, and not through the ratio.

    It needs two bins of STD whose distributions of drops differ (Kolmogorov-Smirnov with Holm's
    correction) and whose 5 % quantiles differ by more than the smallest effect, and a slope in STD
    with log m and its square held. The estimate is that slope times the range of STD (5 to 95 %).

    Args:
        measured: A population with different STD; replicates are averaged.
        setting: Thresholds, noise.
        edges: Edges of the bins of STD.
        uniform: The uniform recipe, the control, whether it is among the others or not; None where
            it was not evaluated.
        least: Fewest recipes of a bin that is compared.

    Raises:
        ValueError: fewer than two bins hold enough recipes.
    """
    limits = setting.thresholds
    recipes = measured.averaged()
    bins = _bins(recipes, edges, least)
    found = compare_all(bins, quantile_level=limits.winners, resampling=setting.resampling)
    gaps = {
        pair: abs(one.quantile.estimate)
        for pair, one in found.items()
        if one.ks_adjusted_p < limits.alpha
    }
    widest = max(gaps, key=lambda pair: gaps[pair], default=None)
    effect, interval, p, error = _partial_effect(recipes, setting)
    checks = (
        Check(
            text="no two bins of STD differ"
            if widest is None
            else f"the best 5 % of STD {widest[0]} and {widest[1]} differ by {gaps[widest]:.2f} "
            f"points, {setting.smallest_effect:.2f} matter",
            holds=widest is not None and gaps[widest] > setting.smallest_effect,
        ),
        Check(text=f"slope in STD with log m held: p = {p:.4f}", holds=p < limits.alpha),
    )
    power = normal_power(setting.smallest_effect, error, alpha=limits.alpha)
    return Verdict(
        conjecture="C0",
        claim="the spread of the pruning ratios matters in a regime",
        estimate=effect,
        interval=interval,
        test="drop over the range of STD with log m held; KS of STD bins with Holm's correction",
        p=p,
        verdict=judged(
            checks,
            contradicted=interval.within(-setting.smallest_effect, setting.smallest_effect),
            power=power,
            thresholds=limits,
        ),
        power=power,
        checks=checks,
        notes=_uniform_note(recipes, uniform),
        numbers={f"ks_p {one} {other}": c.ks_adjusted_p for (one, other), c in found.items()},
    )


def _bins(recipes: Measured, edges: tuple[float, ...], least: int) -> dict[str, FloatArray]:
    bins = {}
    for low, high in itertools.pairwise(edges):
        drops = recipes.drop[(recipes.std >= low) & (recipes.std < high)]
        if drops.size >= least:
            bins[f"{low:g}-{high:g}"] = drops
    if len(bins) < 2:
        raise ValueError(
            f"{len(bins)} bins of STD hold {least} recipes or more; two are needed: evaluate more "
            f"recipes, or pass other edges"
        )
    return bins


def _partial_effect(recipes: Measured, setting: Setting) -> tuple[float, Interval, float, float]:
    """Return the drop over the range of STD with log m held, its interval, p-value and error."""
    others = tuple(name for name in setting.covariates if name != "std")
    observations = setting.observations(recipes, covariates=(*others, "std"))
    fit = curve(observations)
    low, high = np.quantile(recipes.std, [0.05, 0.95])
    pick = np.eye(fit.problem.columns.shape[1])[-1] * (high - low) / recipes.std.std()
    estimate, error = (float(one) for one in fit.problem.contrast(observations.drop, pick))
    level = setting.resampling.level
    reach = float(stats.t.ppf((1 + level) / 2, fit.problem.dof)) * error
    interval = Interval(low=estimate - reach, high=estimate + reach, level=level, method="HC3 t")
    p = float(2 * stats.t.sf(abs(estimate) / max(error, 1e-300), fit.problem.dof))
    return estimate, interval, p, error


def _uniform_note(recipes: Measured, uniform: Measured | None) -> tuple[str, ...]:
    if uniform is None:
        return ("the uniform recipe was not evaluated",)
    loss = float(uniform.averaged().drop.mean())
    # By name: the rounding of widths leaves the uniform recipe a spread of its own.
    names = {uniform.subnets[recipe] for recipe in uniform.recipe}
    others_N = np.array([recipes.subnets[recipe] not in names for recipe in recipes.recipe])
    better = float(np.mean(recipes.drop[others_N] > loss))
    return (f"the uniform recipe loses {loss:.2f} points, less than {better:.0%} of the others",)

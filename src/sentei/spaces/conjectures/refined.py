"""C4: does refining a space to near-optimal ratios improve it and shorten searches.

Shapes: N = recipes of a population, G = groups.
"""

import numpy as np
from scipy.spatial.distance import pdist

from sentei.spaces.conjectures.base import Check, Setting, Verdict, judged
from sentei.spaces.measured import Measured
from sentei.spaces.payback import draws_to_reach
from sentei.spaces.stats_base import FloatArray
from sentei.spaces.stats_compare import compare, difference
from sentei.spaces.stats_edf import expected_best
from sentei.spaces.stats_meta import standard_error
from sentei.spaces.stats_power import normal_power


def refinement_improves(
    base: Measured, refined: Measured, placebo: Measured, setting: Setting
) -> Verdict:
    """Judge C4 on fresh recipes: refining to near-optimal ratios improves a space.

    The refined population must dominate the base (one-sided Kolmogorov-Smirnov), have a smaller
    mean drop, a better expected best of ``best_of``, and a smaller mean drop than a placebo, a
    slab of equal probability mass elsewhere; and it must keep enough of the base's diversity, the
    mean distance between recipes. The estimate is the difference of the means. Contradicting are a
    mean shown not to be better by the smallest effect over base or placebo, and diversity lost.

    Args:
        base: Fresh recipes of the base space; replicates are averaged.
        refined: Fresh recipes of the refined space, none of which set the refinement.
        placebo: Fresh recipes of the placebo.
        setting: Thresholds, resampling.

    Raises:
        ValueError: a population is smaller than ``best_of``.
    """
    limits = setting.thresholds
    spaces = {"base": base, "refined": refined, "placebo": placebo}
    averaged = {name: one.averaged() for name, one in spaces.items()}
    for name, one in averaged.items():
        if len(one) < limits.best_of:
            raise ValueError(
                f"the {name} population has {len(one)} recipes; at least best_of = "
                f"{limits.best_of} are needed"
            )
    drops = {name: one.drop for name, one in averaged.items()}
    against = compare(drops["refined"], drops["base"], resampling=setting.resampling)
    sham = difference(
        drops["refined"], drops["placebo"], statistic=np.mean, resampling=setting.resampling
    )
    best = {name: float(expected_best(drop, [limits.best_of])[0]) for name, drop in drops.items()}
    spread = diversity(averaged["refined"].keep) / diversity(averaged["base"].keep)
    mean = against.mean
    kept = Check(
        text=f"recipes keep {spread:.0%} of the distance of the base's, {limits.diversity:.0%} "
        f"needed",
        holds=spread >= limits.diversity,
    )
    checks = (
        Check(
            text=f"Kolmogorov-Smirnov's p that the refined space is better: {against.ks_better_p:.4f}",
            holds=against.ks_better_p < limits.alpha,
        ),
        Check(text=f"mean drop {mean.estimate:+.2f} points", holds=mean.interval.high < 0),
        Check(
            text=f"expected best of {limits.best_of}: {best['refined']:.2f} in the refined, "
            f"{best['base']:.2f} in the base space",
            holds=best["refined"] < best["base"],
        ),
        Check(
            text=f"mean drop {sham.estimate:+.2f} points against the placebo",
            holds=sham.interval.high < 0,
        ),
        kept,
    )
    power = min(
        normal_power(setting.smallest_effect, standard_error(one.interval), alpha=limits.alpha)
        for one in (mean, sham)
    )
    target = float(np.quantile(drops["base"], limits.winners))
    least = -setting.smallest_effect
    return Verdict(
        conjecture="C4",
        claim="refining to near-optimal ratios improves the population and shortens searches",
        estimate=mean.estimate,
        interval=mean.interval,
        test="mean drop, refined less base, on fresh recipes; one-sided Kolmogorov-Smirnov",
        p=against.ks_better_p,
        verdict=judged(
            checks,
            contradicted=mean.interval.low > least or sham.interval.low > least or not kept.holds,
            power=power,
            thresholds=limits,
        ),
        power=power,
        checks=checks,
        numbers={
            "placebo_difference": sham.estimate,
            "placebo_low": sham.interval.low,
            "placebo_high": sham.interval.high,
            "diversity": spread,
            "target": target,
            **{f"best_{name}": value for name, value in best.items()},
            **{f"draws_{name}": draws_to_reach(drop, target) for name, drop in drops.items()},
        },
    )


def diversity(keep_NG: FloatArray) -> float:
    """Return the mean distance of two recipes."""
    return float(pdist(keep_NG).mean())

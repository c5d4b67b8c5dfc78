"""C6: given the MACs and their ratio to the parameters, does the finer allocation matter."""

from sentei.spaces.conjectures.base import Check, Setting, Verdict, judged
from sentei.spaces.measured import Measured
from sentei.spaces.stats_base import Interval
from sentei.spaces.stats_power import normal_power
from sentei.spaces.stats_variance import explained_variance


def ratio_is_sufficient(
    measured: Measured, setting: Setting, *, folds: int = 5, trees: int = 100
) -> Verdict:
    """Judge C6: the ratio says about all that an allocation of given MACs decides.

    The share of the explainable variance, R^2 over the reliability of a training, that log m
    explains must reach the threshold, and the mean pruning ratios of the stages must not raise it
    by more than ``gain`` times. Contradicting are an interval below the threshold, and stages that
    are shown to raise it by more. The power is that of finding a share at the threshold.

    Args:
        measured: A population; replicates are averaged.
        setting: Noise, thresholds, resampling. Without noise all variance counts as explainable.
        folds: Outer folds, as in :func:`~sentei.spaces.stats_variance.explained_variance`.
        trees: Boosted trees of the model of the whole recipe.

    Raises:
        ValueError: there are too few recipes, or no variance is structure.
    """
    limits = setting.thresholds
    ceiling = 1.0 if setting.noise is None else setting.noise.reliability
    if ceiling <= 0:
        raise ValueError(
            "the reliability is 0: recipes differ no more than trainings of one recipe, so there "
            "is nothing to explain; train longer or repeat more"
        )
    found = explained_variance(
        measured, gain=limits.gain, folds=folds, trees=trees, resampling=setting.resampling
    )
    share = found.ratio / ceiling
    interval = Interval(
        low=found.ratio_interval.low / ceiling,
        high=found.ratio_interval.high / ceiling,
        level=found.ratio_interval.level,
        method=f"{found.ratio_interval.method}, reliability taken as known",
    )
    resolved = ceiling >= limits.reliability
    checks = (
        Check(
            text=f"log m explains {share:.2f} of the explainable variance, {limits.explained:.2f} "
            f"needed",
            holds=share >= limits.explained and interval.low > 0,
        ),
        Check(
            text=f"stages explain {found.stages / ceiling:.2f}, at most {limits.gain:g} times as "
            f"much allowed",
            holds=found.stages <= limits.gain * found.ratio,
        ),
        Check(
            text=f"the reliability is {ceiling:.2f}, {limits.reliability:.2f} needed",
            holds=resolved,
        ),
    )
    power = normal_power(limits.explained, found.ratio_error / ceiling, alpha=limits.alpha)
    return Verdict(
        conjecture="C6",
        claim="given MACs and their ratio to parameters, finer allocation matters little",
        estimate=share,
        interval=interval,
        test="share of the explainable variance held out that log m explains; cross-validation",
        p=None,
        verdict=judged(
            checks,
            contradicted=resolved
            and (interval.high < limits.explained or found.gain_interval.low > 0),
            power=power if resolved else 0.0,
            thresholds=limits,
        ),
        power=power,
        checks=checks,
        notes=()
        if setting.noise
        else ("no recipe was trained twice: all variance counts as explainable",),
        numbers={
            "r2_ratio": found.ratio,
            "r2_stages": found.stages,
            "r2_recipe": found.recipe,
            "ceiling": ceiling,
        },
    )

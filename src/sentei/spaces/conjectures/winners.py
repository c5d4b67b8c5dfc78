"""C3: do the winners of a population have approximately the optimal ratio."""

from sentei.spaces.conjectures.base import (
    Check,
    Setting,
    Verdict,
    band_note,
    band_numbers,
    judged,
)
from sentei.spaces.measured import Measured
from sentei.spaces.stats_power import normal_power
from sentei.spaces.stats_split import split_concentration
from sentei.spaces.stats_winners import winners_band


def winners_have_the_ratio(measured: Measured, setting: Setting, *, splits: int = 200) -> Verdict:
    """Judge C3: the winners have approximately the optimal ratio.

    m* comes from one half of the population and the winners from the other, over many splits. The
    winners must be nearer to m* than the rest, by the interval of the AUC and by permutation. The
    power is that of finding the AUC of the thresholds with the standard error found.

    Args:
        measured: A stratified population; replicates are averaged.
        setting: Bounds, thresholds.
        splits: Number of random splits, >= 2.

    Raises:
        ValueError: there are too few recipes.
    """
    limits = setting.thresholds
    recipes = measured.averaged()
    found = split_concentration(
        setting.observations(recipes),
        bounds=setting.bounds,
        share=limits.winners,
        splits=splits,
        resampling=setting.resampling,
    )
    band = winners_band(
        recipes.ratio,
        recipes.drop,
        rule=limits.rule(setting.noise),
        resampling=setting.resampling,
    )
    checks = (
        Check(
            text=f"the interval of the AUC starts at {found.interval.low:.2f}, above .5",
            holds=found.interval.low > 0.5,
        ),
        Check(
            text=f"permuted drops reach this AUC with p = {found.p_value.value:.3f}, "
            f"Monte-Carlo error {found.p_value.mc_error:.3f}",
            holds=found.p_value.value < limits.alpha,
        ),
    )
    power = normal_power(limits.auc - 0.5, found.error, alpha=limits.alpha)
    return Verdict(
        conjecture="C3",
        claim="winners have approximately the optimal ratio",
        estimate=found.auc,
        interval=found.interval,
        test="AUC of the distance to m* of the other half, winners against the rest; permutation",
        p=found.p_value.value,
        verdict=judged(checks, contradicted=False, power=power, thresholds=limits),
        power=power,
        checks=checks,
        notes=(band_note(band),),
        numbers={"p_error": found.p_value.mc_error, **band_numbers(band)},
    )

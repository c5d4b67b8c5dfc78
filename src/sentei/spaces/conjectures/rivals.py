"""C5: does the subnetwork that was found beat other pruning at as many MACs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import ArrayLike
from scipy import stats

from sentei.spaces.conjectures.base import Check, Thresholds, Verdict, judged
from sentei.spaces.stats_base import FloatArray, Interval, checked, same_length
from sentei.spaces.stats_compare import holm
from sentei.spaces.stats_power import mean_power


@dataclass(frozen=True, kw_only=True)
class Rival:
    """One comparison of the found subnetwork with a rival.

    Attributes:
        name: The rival.
        gain: Mean accuracy gained over it, in percentage points.
        interval: Its paired t interval.
        p: p-value of the paired t-test, two-sided.
        power: Power of that test for the smallest effect that matters.
    """

    name: str
    gain: float
    interval: Interval
    p: float
    power: float


def beats_rivals(
    accuracy: ArrayLike,
    rivals: Mapping[str, ArrayLike],
    *,
    smallest_effect: float,
    thresholds: Thresholds | None = None,
) -> Verdict:
    """Judge C5: the found subnetwork beats every rival at as many MACs.

    All were pruned to the same MACs, trained alike and with the same seeds; test accuracies are
    paired by seed. Every rival must be beaten after Holm's correction. The estimate is the gain
    over the nearest rival, and the power that of the weakest comparison. With fewer seeds than the
    thresholds ask the verdict is inconclusive.

    Args:
        accuracy: Test accuracy of the found subnetwork for every seed, in [0, 1].
        rivals: Name -> test accuracies for the same seeds in the same order.
        smallest_effect: Smallest gain that matters, > 0 percentage points.
        thresholds: What counts; None for the defaults.

    Raises:
        ValueError: there are no rivals, fewer than two seeds, or lengths differ.
    """
    limits = thresholds or Thresholds()
    if not rivals:
        raise ValueError("no rivals were given; pass the accuracies of at least one method")
    ours = checked("accuracy", accuracy, least=2)
    compared = [
        _compared(name, ours - _same_seeds(name, values, ours), smallest_effect, limits)
        for name, values in rivals.items()
    ]
    adjusted = holm([one.p for one in compared])
    checks = [
        Check(
            text=f"{one.gain:+.2f} points over {one.name} (p = {p:.4f})",
            holds=one.gain > 0 and p < limits.alpha,
        )
        for one, p in zip(compared, adjusted, strict=True)
    ]
    seeds = Check(text=f"{ours.size} seeds, {limits.seeds} needed", holds=ours.size >= limits.seeds)
    nearest = min(compared, key=lambda one: one.gain)
    power = min(one.power for one in compared)
    lost = any(one.gain < 0 and p < limits.alpha for one, p in zip(compared, adjusted, strict=True))
    return Verdict(
        conjecture="C5",
        claim="the found subnetwork beats other pruning at as many MACs",
        estimate=nearest.gain,
        interval=nearest.interval,
        test=f"accuracy gained over {nearest.name}, in points; paired t with Holm's correction",
        p=max(adjusted),
        verdict=judged(
            (seeds, *checks),
            contradicted=seeds.holds and lost,
            power=power if seeds.holds else 0.0,
            thresholds=limits,
        ),
        power=power,
        checks=(seeds, *checks),
        numbers={f"gain over {one.name}": one.gain for one in compared},
    )


def _same_seeds(name: str, values: ArrayLike, ours: FloatArray) -> FloatArray:
    theirs = checked(name, values)
    same_length(accuracy=ours, **{name: theirs})
    return theirs


def _compared(name: str, gains: FloatArray, smallest_effect: float, limits: Thresholds) -> Rival:
    points = 100 * gains
    mean, spread = float(points.mean()), float(points.std(ddof=1))
    error = spread / math.sqrt(points.size)
    reach = float(stats.t.ppf(1 - limits.alpha / 2, points.size - 1)) * error
    # Seeds that all agree leave no error: the sign of the gain decides.
    p = float(2 * stats.t.sf(abs(mean) / max(error, 1e-300), points.size - 1)) if mean else 1.0
    return Rival(
        name=name,
        gain=mean,
        interval=Interval(
            low=mean - reach, high=mean + reach, level=1 - limits.alpha, method="paired t"
        ),
        p=p,
        power=mean_power(smallest_effect, spread, points.size, alpha=limits.alpha)
        if spread > 0
        else 1.0,
    )

"""C1 and C7: is there an optimal ratio in a regime, and is it a property of the architecture."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from sentei.spaces.conjectures.base import (
    Check,
    Setting,
    Thresholds,
    Verdict,
    band_note,
    band_numbers,
    judged,
)
from sentei.spaces.measured import Measured
from sentei.spaces.simulate import Effect
from sentei.spaces.stats_base import Interval, Observations, Resampling, Share, check_bounds
from sentei.spaces.stats_existence import (
    flatness,
    lind_mehlum,
    monotone_or_quadratic,
    two_lines,
)
from sentei.spaces.stats_optimum import (
    Optimum,
    Shift,
    extra_drop,
    optimal_ratio,
    optimum_shift,
)
from sentei.spaces.stats_power import optimum_power
from sentei.spaces.stats_regression import curve
from sentei.spaces.stats_winners import BootstrapBest, winners_band


def optimal_ratio_exists(measured: Measured, setting: Setting) -> Verdict:
    r"""Judge C1: in a regime there is an optimal ratio m* of MACs to parameters.

    It needs a valley by Lind and Mehlum's test and by two lines, a quadratic that beats every
    monotone curve, an interval of m* clear of the attainable bounds, at least the smallest effect
    lost at m* over and times ``factor``, and a valley on test images too. Where such a ratio cannot
    be attained, the loss is that at the bound before it: nothing is extrapolated. A curve shown
    flat, or whose loss is shown smaller on both sides, contradicts it. The power is that of both
    tests for just that loss, with the noise found and the optimum a quarter or three quarters up
    the attainable range of log m, whichever is less.

    Args:
        measured: A population stratified by the ratio; replicates are averaged.
        setting: Bounds, noise, thresholds.

    Raises:
        ValueError: there are too few recipes.
    """
    limits = setting.thresholds
    recipes = measured.averaged()
    observations = setting.observations(recipes)
    valley = lind_mehlum(observations, bounds=setting.bounds)
    lines = two_lines(observations)
    shape = monotone_or_quadratic(observations, bounds=setting.bounds)
    best = optimal_ratio(observations, bounds=setting.bounds, resampling=setting.resampling)
    flat = flatness(observations, bounds=setting.bounds, margin=setting.smallest_effect)
    edges = _edges(best.ratio, setting)
    # Both come from one curvature; at the farther edge more of it is seen.
    near, far = sorted((edge / best.ratio for edge in edges), key=lambda one: abs(math.log(one)))
    loss, loss_interval = edge_loss(observations, setting, factor=far)
    tested = setting.observations(recipes, "test_drop")
    test_curvature = float(curve(tested).problem.coefficients(tested.drop)[2])
    band = winners_band(
        recipes.ratio, recipes.drop, rule=BootstrapBest(), resampling=setting.resampling
    )
    checks = (
        Check(
            text=f"Lind and Mehlum's p = {valley.p_value:.4f}", holds=valley.p_value < limits.alpha
        ),
        Check(text=f"two lines' p = {lines.p_value:.4f}", holds=lines.p_value < limits.alpha),
        Check(
            text=f"the preferred curve is {shape.preferred}", holds=shape.preferred == "quadratic"
        ),
        Check(text="the interval of m* stays clear of the attainable bounds", holds=best.interior),
        Check(
            text=_loss_text(edges, best, setting),
            holds=edge_loss(observations, setting, factor=near)[0] >= setting.smallest_effect,
        ),
        Check(text=f"curvature on test images is {test_curvature:.2f}", holds=test_curvature > 0),
    )
    power = _power(observations, setting)
    # A valley that is there but perhaps too shallow is no failure to find one.
    unseen = 0.0 if all(check.holds for check in checks[:4]) else power.value
    return Verdict(
        conjecture="C1",
        claim="in a regime there is an optimal ratio of MACs to parameters",
        estimate=best.ratio,
        interval=best.interval,
        test="m* of the quadratic; Lind and Mehlum's test",
        p=valley.p_value,
        verdict=judged(
            checks,
            contradicted=flat.p_value < limits.alpha
            or loss_interval.high < setting.smallest_effect
            or test_curvature <= 0 < loss_interval.low,
            power=unseen,
            thresholds=limits,
        ),
        power=power.value,
        checks=checks,
        notes=(band_note(band), *_reliability_note(setting)),
        numbers={  # of the loss at the farther edge
            "loss": loss,
            "loss_low": loss_interval.low,
            "loss_high": loss_interval.high,
            "two_lines_p": lines.p_value,
            "flatness_p": flat.p_value,
            "at_bound": best.at_bound,
            "power_error": power.mc_error,
            **band_numbers(band),
        },
    )


def _edges(optimum: float, setting: Setting) -> tuple[float, float]:
    """Return the ratios below and above m* at which its loss is read, both attainable."""
    low, high = setting.bounds
    factor = setting.thresholds.factor
    return max(low, optimum / factor), min(high, optimum * factor)


def _loss_text(edges: Sequence[float], best: Optimum, setting: Setting) -> str:
    read = " and ".join(
        f"{extra_drop(best.curvature or 0.0, edge / best.ratio):.2f} points at m = {edge:.2f}"
        f"{' (as far as can be attained)' if edge in setting.bounds else ''}"
        for edge in edges
    )
    return f"lost are {read}; {setting.smallest_effect:.2f} matter"


def edge_loss(
    observations: Observations, setting: Setting, *, factor: float
) -> tuple[float, Interval]:
    r"""Return the drop lost at ``factor`` times m*, :math:`\kappa (\ln factor)^2`, with interval.

    Args:
        observations: A population.
        setting: Level of the interval.
        factor: Distance from m*, > 0.
    """
    fit = curve(observations)
    square = np.eye(fit.problem.columns.shape[1])[2]
    curvature, error = fit.problem.contrast(observations.drop, square)
    level = setting.resampling.level
    reach = float(stats.t.ppf((1 + level) / 2, fit.problem.dof)) * float(error)
    return extra_drop(float(curvature), factor), Interval(
        low=extra_drop(float(curvature) - reach, factor),
        high=extra_drop(float(curvature) + reach, factor),
        level=level,
        method="HC3 t",
    )


def same_optimum(
    measured: Measured, control: Measured, setting: Setting, *, condition: str
) -> Verdict:
    """Judge C7 for one control: m* is the same where the weights play no part.

    It is supported where there is an m* to compare, inside the attainable bounds, the interval of
    its shift lies within ``factor`` both ways, and the control's m* lies in the interval of m*. It
    is contradicted where the interval of the shift excludes no shift and the control's m* lies
    outside that of m*. Where there is no such m*, or all that can be attained lies within
    ``factor``, the study cannot tell. The power is the chance to show an equal m* equal.

    Args:
        measured: A population under the usual protocol.
        control: Recipes under the control: random ranking, or trained from new weights.
        setting: Bounds, thresholds.
        condition: Name of the control, for the text.

    Raises:
        ValueError: there are too few recipes.
    """
    limits = setting.thresholds
    usual = setting.observations(measured.averaged())
    other = setting.observations(control.averaged())
    best = optimal_ratio(usual, bounds=setting.bounds, resampling=setting.resampling)
    shift = optimum_shift(
        other, usual, bounds=setting.bounds, paired=False, resampling=setting.resampling
    )
    moved = shift.factor * best.ratio
    low, high = setting.bounds
    there = Check(
        text="under the usual protocol the interval of m* stays clear of the attainable bounds",
        holds=best.interior,
    )
    room = Check(
        text=f"m* could move by a factor of {high / low:.2f}, more than {limits.factor}",
        holds=high / low > limits.factor,
    )
    inside = Check(
        text=f"the interval of the shift lies within a factor of {limits.factor}",
        holds=shift.interval.within(1 / limits.factor, limits.factor),
    )
    covered = Check(
        text=f"m* under {condition}, {moved:.2f}, lies in the interval of m*, "
        f"{best.interval.low:.2f} to {best.interval.high:.2f}",
        holds=moved in best.interval,
    )
    comparable = there.holds and room.holds
    return Verdict(
        conjecture="C7",
        claim=f"the optimal ratio is that of the architecture, not of the weights ({condition})",
        estimate=shift.factor,
        interval=shift.interval,
        test="factor by which m* moves; equivalence by its bootstrap interval",
        p=None,
        verdict=judged(
            (there, room, inside, covered),
            contradicted=comparable and 1 not in shift.interval and not covered.holds,
            # A shift that is not shown small need not be large.
            power=0.0,
            thresholds=limits,
        ),
        power=_power_of_equality(best, shift, limits) if comparable else 0.0,
        checks=(there, room, inside, covered),
        notes=(f"{len(usual)} recipes under the usual protocol, {len(other)} under {condition}",),
        numbers={"m_star": best.ratio, "m_star_control": moved},
    )


def _power_of_equality(best: Optimum, shift: Shift, limits: Thresholds) -> float:
    """Return the chance that an m* that does not move is shown not to, and lies in its interval."""
    error = max(shift.error, 1e-300)
    # Two one-sided tests leave an estimate this much room.
    room = math.log(limits.factor) - float(stats.norm.ppf(1 - limits.alpha / 2)) * error
    low = max(-room, math.log(best.interval.low / best.ratio))
    high = min(room, math.log(best.interval.high / best.ratio))
    return max(0.0, float(stats.norm.cdf(high / error) - stats.norm.cdf(low / error)))


def _power(observations: Observations, setting: Setting) -> Share:
    """Return the power of both tests of a valley for the smallest effect that matters."""
    fit = curve(observations)
    limits = setting.thresholds
    error = float(fit.problem.squared_error(observations.drop)) / fit.problem.dof
    simulation = Resampling(
        draws=setting.rounds, level=1 - limits.alpha, seed=setting.resampling.seed
    )
    low, high = check_bounds(setting.bounds)
    powers = []
    # Both are as far from their nearer bound, which may be nearer than the factor.
    reach = min(math.log(limits.factor), 0.25 * (high - low))
    for place in (0.25, 0.75):
        effect = Effect(
            curvature=setting.smallest_effect / reach**2,
            optimum=math.exp(low + place * (high - low)),
            structure=math.sqrt(error),
            seed=0,
        )
        found = optimum_power(
            observations, effect, bounds=setting.bounds, both=True, simulation=simulation
        )
        powers.append(found)
    return min(powers, key=lambda one: one.value)


def _reliability_note(setting: Setting) -> tuple[str, ...]:
    noise, least = setting.noise, setting.thresholds.reliability
    if noise is None:
        return ("no recipe was trained twice: the noise of a training is unknown",)
    if noise.reliability < least:
        return (
            f"population not resolved: only {noise.reliability:.2f} of the variance is structure; "
            f"train longer or repeat more",
        )
    return ()

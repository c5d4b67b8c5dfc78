"""A smaller space around the optimal ratio, and a placebo as small somewhere else.

Shapes: N = recipes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sentei.spaces.conjectures.base import Setting
from sentei.spaces.measured import Measured
from sentei.spaces.space import Slab
from sentei.spaces.stats_base import BoolArray, FloatArray, generator
from sentei.spaces.stats_optimum import extra_drop, optimal_ratio
from sentei.spaces.stats_winners import WinnerRule, winners_band


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """A slab of the ratio around an optimum.

    Attributes:
        low: Smallest ratio of the slab.
        high: Largest ratio of the slab.
        optimum: m* it is built around.
        factor: rho: the slab is m* / rho to m* rho, cut at the attainable bounds.
        loss: Predicted extra drop at a factor of rho, in percentage points.
        mass: Share of the population, by sampling weight, inside the slab, in [0, 1].
    """

    low: float
    high: float
    optimum: float
    factor: float
    loss: float
    mass: float

    @property
    def slab(self) -> Slab:
        """The constraint for a sampler."""
        return Slab(quantity="ratio", low=self.low, high=self.high)


def refine(measured: Measured, setting: Setting) -> Refinement:
    r"""Return the slab of ratios that lose less than the smallest effect, or are not told apart.

    .. math:: \rho = \max(e^{\sqrt{\delta / \kappa}},\ m^* / m_{low},\ m_{high} / m^*)

    with delta the smallest effect, kappa the curvature of the drop in log m, and m_low to m_high
    the interval of m*. Pass one half of a population and confirm on the other half and on fresh
    recipes.

    Args:
        measured: A population; replicates are averaged.
        setting: Bounds, covariates, smallest effect, resampling.

    Raises:
        ValueError: the drop has no valley in the ratio, so there is nothing to refine around.
    """
    recipes = measured.averaged()
    best = optimal_ratio(
        setting.observations(recipes),
        bounds=setting.bounds,
        resampling=setting.resampling,
    )
    curvature = best.curvature or 0.0
    if curvature <= 0:
        raise ValueError(
            f"the drop has no valley in the ratio (curvature {curvature:.2f}); the space cannot be "
            f"refined by it"
        )
    factor = max(
        math.exp(math.sqrt(setting.smallest_effect / curvature)),
        best.ratio / best.interval.low,
        best.interval.high / best.ratio,
    )
    low = max(setting.bounds[0], best.ratio / factor)
    high = min(setting.bounds[1], best.ratio * factor)
    inside_N = (recipes.ratio >= low) & (recipes.ratio <= high)
    return Refinement(
        low=low,
        high=high,
        optimum=best.ratio,
        factor=factor,
        loss=extra_drop(curvature, factor),
        mass=float(recipes.weight @ inside_N / recipes.weight.sum()),
    )


def mass_of(measured: Measured, slabs: Sequence[Slab]) -> float:
    """Return the share of a population, by sampling weight, inside slabs of its statistics.

    Raises:
        ValueError: a quantity is unknown.
    """
    recipes = measured.averaged()
    inside_N = is_inside(recipes, slabs)
    return float(recipes.weight @ inside_N / recipes.weight.sum())


def is_inside(recipes: Measured, slabs: Sequence[Slab]) -> BoolArray:
    """Return which entries of a population slabs of its statistics hold, shape [N]."""
    inside_N = np.ones(len(recipes), np.bool_)
    for slab in slabs:
        values_N = _values(recipes, slab.quantity)
        inside_N &= (values_N >= slab.low) & (values_N <= slab.high)
    return inside_N


def placebo(
    measured: Measured, refinement: Refinement, *, seed: int, overlap: float = 0.5
) -> Refinement:
    """Return a random slab that holds as large a share of the population as the refinement.

    The slab starts at a random quantile of the ratio, by sampling weight. Starts that share more
    than ``overlap`` of the slab with the refinement are left out: they would not be placebos.

    Args:
        measured: The population of the base space.
        refinement: What to match.
        seed: Root of the random stream.
        overlap: Largest shared part of a slab, in [0, 1).

    Returns:
        The slab; its ``optimum`` is its middle on a log scale, its ``loss`` 0: nothing is
        predicted.

    Raises:
        ValueError: the refinement holds no recipe, or too many for another slab to differ.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}; a share in [0, 1) was expected")
    recipes = measured.averaged()
    order = np.argsort(recipes.ratio, kind="stable")
    ratio_N, weight_N = recipes.ratio[order], recipes.weight[order] / recipes.weight.sum()
    below = float(weight_N @ (ratio_N < refinement.low))
    start = _start(below, refinement.mass, overlap, rng=generator(seed, "placebo"))
    heights_N = np.cumsum(weight_N)
    ends = np.searchsorted(heights_N, [start + 1e-12, start + refinement.mass - 1e-12])
    low, high = ratio_N[np.minimum(ends, ratio_N.size - 1)].tolist()
    inside_N = (ratio_N >= low) & (ratio_N <= high)
    return Refinement(
        low=low,
        high=high,
        optimum=math.sqrt(low * high),
        factor=math.sqrt(high / low),
        loss=0.0,
        mass=float(weight_N @ inside_N),
    )


def _start(below: float, mass: float, overlap: float, *, rng: np.random.Generator) -> float:
    """Return where a slab of this mass starts, on the scale of cumulated weight."""
    distance = (1 - overlap) * mass
    left, right = max(0.0, below - distance), max(0.0, 1 - mass - (below + distance))
    if mass <= 0 or left + right <= 0:
        raise ValueError(
            f"the refinement holds {mass:.0%} of the population; no other slab of that share "
            f"differs enough from it: sample the base space more widely, or allow more overlap"
        )
    place = float(rng.random()) * (left + right)
    return place if place < left else below + distance + (place - left)


@dataclass(frozen=True, kw_only=True)
class WinnersSlab:
    """A statistic whose winners lie closer together than chance has it.

    Attributes:
        quantity: ``std``, ``mean`` or ``stage:NAME``.
        low: Lower edge of the winners' band.
        high: Upper edge.
        null_low: Lower edge of the band of permuted populations.
        null_high: Their upper edge.
        p: Share of permuted populations whose band is as narrow.
    """

    quantity: str
    low: float
    high: float
    null_low: float
    null_high: float
    p: float

    @property
    def slab(self) -> Slab:
        """The constraint for a sampler; an edge that rounding took below 0 is 0."""
        return Slab(quantity=self.quantity, low=max(0.0, self.low), high=max(0.0, self.high))


def winners_slabs(
    measured: Measured,
    setting: Setting,
    *,
    rule: WinnerRule,
    quantities: Sequence[str] = ("std", "mean"),
) -> tuple[WinnersSlab, ...]:
    """Return the winners' bands that are narrower than those of permuted populations.

    Args:
        measured: A population; replicates are averaged.
        setting: Level of the test, resampling.
        rule: Who wins.
        quantities: Statistics to look at: ``std``, ``mean``, ``stage:NAME``.

    Raises:
        ValueError: a quantity is unknown.
    """
    recipes = measured.averaged()
    found = []
    # Bonferroni: one band in many is narrow by chance.
    alpha = setting.thresholds.alpha / max(1, len(quantities))
    for quantity in quantities:
        values_N = _values(recipes, quantity)
        # The band is that of a positive ratio; its logarithm is the quantity.
        band = winners_band(
            np.exp(values_N), recipes.drop, rule=rule, resampling=setting.resampling
        )
        if band.narrower_than_chance(alpha):
            found.append(
                WinnersSlab(
                    quantity=quantity,
                    low=math.log(band.low),
                    high=math.log(band.high),
                    null_low=math.log(band.null_low),
                    null_high=math.log(band.null_high),
                    p=band.p_value.value,
                )
            )
    return tuple(found)


def halves(measured: Measured, *, seed: int) -> tuple[Measured, Measured]:
    """Return two random halves of the recipes of a population, replicates kept together.

    The first sets a refinement, the second tests it.
    """
    labels = np.unique(measured.recipe)
    chosen = generator(seed, "halves").permutation(labels)[: labels.size // 2]
    first_N = np.isin(measured.recipe, chosen)
    return measured.where(first_N), measured.where(~first_N)


def _values(recipes: Measured, quantity: str) -> FloatArray:
    stages = {f"stage:{name}": column for column, name in enumerate(recipes.stages)}
    if quantity in stages:
        return recipes.stage_means[:, stages[quantity]]
    plain = {"ratio": recipes.ratio, "std": recipes.std, "mean": recipes.mean}
    if quantity not in plain:
        raise ValueError(
            f"{quantity!r} is no quantity of the population; choose from "
            f"{', '.join([*plain, *stages])}"
        )
    return plain[quantity]

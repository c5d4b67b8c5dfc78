"""Simulated populations whose optimum is known: what a design of a study can and cannot show.

Shapes: N = recipes, R = simulated populations.
"""

import math
from dataclasses import dataclass

import numpy as np

from sentei.spaces.stats_base import FloatArray, IntArray, Observations, check_bounds, generator


@dataclass(frozen=True, kw_only=True)
class Effect:
    r"""How the drop of a recipe comes about.

    .. math:: e = level + \kappa (\ln m - \ln m^*)^2 + \epsilon_{recipe} + \epsilon_{seed}

    Args:
        curvature: kappa in percentage points, >= 0; 0 is no effect of the ratio.
        optimum: m*, > 0.
        level: Drop at the optimum in percentage points.
        structure: Standard deviation of what else differs between recipes, >= 0 points.
        seed: Standard deviation between trainings of one recipe, >= 0 points.

    Raises:
        ValueError: a value is out of range.
    """

    curvature: float = 0.0
    optimum: float = 1.0
    level: float = 3.0
    structure: float = 0.30
    seed: float = 0.15

    def __post_init__(self) -> None:
        for name in ("curvature", "structure", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; a number >= 0 was expected")
        if self.optimum <= 0:
            raise ValueError(f"optimum is {self.optimum}; a ratio > 0 was expected")

    def expected(self, log_ratio: FloatArray) -> FloatArray:
        """Return the expected drop at ``log_ratio``, of its shape."""
        return self.level + self.curvature * (log_ratio - math.log(self.optimum)) ** 2


@dataclass(frozen=True, kw_only=True)
class Design:
    """Which ratios a population has.

    Args:
        num: Number of recipes, >= 1.
        bounds: Attainable bounds of m, 0 < low < high.
        strata: Equal strata of log m between the bounds, each with as many recipes; 0 for a
            natural population, log-normal around 1 and cut at the bounds.
        log_spread: Standard deviation of log m of a natural population, > 0.

    Raises:
        ValueError: a value is out of range.
    """

    num: int
    bounds: tuple[float, float]
    strata: int = 8
    log_spread: float = 0.105

    def __post_init__(self) -> None:
        check_bounds(self.bounds)
        for name, least in (("num", 1), ("strata", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; at least {least} is needed")
        if self.log_spread <= 0:
            raise ValueError(f"log_spread is {self.log_spread}; a positive number was expected")

    def log_ratios(self, rng: np.random.Generator) -> FloatArray:
        """Return the log m of a new population, shape [N]; ``rng`` is advanced."""
        low, high = check_bounds(self.bounds)
        if not self.strata:
            return np.clip(rng.normal(0, self.log_spread, self.num), low, high)
        stratum = np.arange(self.num) % self.strata
        return low + (high - low) * (stratum + rng.random(self.num)) / self.strata


def simulated_drops(
    log_ratio: FloatArray, effect: Effect, *, rng: np.random.Generator, rounds: int
) -> FloatArray:
    """Return the drops of ``rounds`` populations with the ratios ``log_ratio``, shape [N, R].

    Every recipe is trained once. ``rng`` is advanced.
    """
    noise = math.hypot(effect.structure, effect.seed)
    shape = (log_ratio.size, rounds)
    return effect.expected(log_ratio)[:, None] + noise * rng.standard_normal(shape)


def simulate(design: Design, effect: Effect, *, seed: int) -> Observations:
    """Return one simulated population, every recipe trained once."""
    rng = generator(seed, "simulate")
    log_N = design.log_ratios(rng)
    drop_N = simulated_drops(log_N, effect, rng=rng, rounds=1)[:, 0]
    return Observations(drop=drop_N, ratio=np.exp(log_N))


def simulate_replicates(
    log_ratio: FloatArray, effect: Effect, *, replicates: IntArray, seed: int
) -> tuple[FloatArray, IntArray]:
    """Return the drops of recipes that are trained several times, and whose they are.

    Args:
        log_ratio: Shape [N].
        effect: How the drops come about.
        replicates: Trainings of every recipe, >= 1, shape [N].
        seed: Root of the random stream.

    Returns:
        Drops and numbers of the recipes, both of shape [sum of replicates].
    """
    rng = generator(seed, "simulate replicates")
    centre_N = effect.expected(log_ratio) + rng.normal(0, effect.structure, log_ratio.size)
    recipe = np.repeat(np.arange(log_ratio.size), replicates)
    return centre_N[recipe] + rng.normal(0, effect.seed, recipe.size), recipe

"""Simulated populations of pruned networks whose optimum is known.

Noise as measured once on such populations: structure .30 and seed .15 percentage points.
"""

import math
from typing import Any

import numpy as np

from sentei.spaces.measured import Measured
from sentei.spaces.simulate import Design, Effect, simulate, simulated_drops
from sentei.spaces.stats_base import FloatArray, Observations

BOUNDS = (0.59, 2.49)  # attainable ratios of ResNet-56 at half the MACs
LOG_BOUNDS = (math.log(BOUNDS[0]), math.log(BOUNDS[1]))
KAPPA = 3.1  # half a percentage point lost at a factor of 1.5 from the optimum


def design(num: int, *, stratified: bool = True) -> Design:
    """Return a population spread over the attainable range, or as natural sampling spreads it."""
    return Design(num=num, bounds=BOUNDS, strata=8 if stratified else 0)


def log_ratios(num: int, rng: np.random.Generator, *, stratified: bool) -> FloatArray:
    """Return the log m of a population."""
    return design(num, stratified=stratified).log_ratios(rng)


def drops(
    log_N: FloatArray, rng: np.random.Generator, *, kappa: float, optimum: float = 0.85
) -> FloatArray:
    """Return noisy drops of a population whose expected drop is a parabola in log m."""
    effect = Effect(curvature=kappa, optimum=optimum)
    return simulated_drops(log_N, effect, rng=rng, rounds=1)[:, 0]


def population(
    num: int, seed: int, *, kappa: float, stratified: bool = True, optimum: float = 0.85
) -> Observations:
    """Return a simulated population of ``num`` recipes."""
    effect = Effect(curvature=kappa, optimum=optimum)
    return simulate(design(num, stratified=stratified), effect, seed=seed)


def measured(
    num: int, seed: int, *, kappa: float, stratified: bool = True, optimum: float = 0.85
) -> Measured:
    """Return a simulated population as a study measures it: 4 groups in 2 stages, STD at random.

    Test drops share the structure of the recipes and have noise of their own.
    """
    drawn = population(num, seed, kappa=kappa, stratified=stratified, optimum=optimum)
    rng = np.random.default_rng([seed, 1])
    keep = rng.uniform(0.1, 1, (num, 4))
    whole = np.zeros(num, np.int64)
    return Measured(
        network="net",
        regime=0.5,
        subnets=tuple(f"s{number}" for number in range(num)),
        recipe=np.arange(num),
        replicates=whole + 1,
        drop=drawn.drop,
        test_drop=drawn.drop + rng.normal(0, 0.1, num),
        one_shot_drop=10 + 2 * drawn.drop + rng.normal(0, 0.5, num),
        ratio=drawn.ratio,
        std=rng.uniform(0, 0.4, num),
        mean=1 - keep.mean(1),
        macs_left=np.full(num, 0.5),
        params_left=0.5 / drawn.ratio,
        weight=np.ones(num),
        stratum=np.arange(num) % 8 if stratified else whole - 1,
        stage_means=1 - np.column_stack([keep[:, :2].mean(1), keep[:, 2:].mean(1)]),
        stages=("one", "two"),
        keep=keep,
        groups=("a", "b", "c", "d"),
    )


def row(subnet: int = 0, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON values
    """Return the row of an evaluated subnetwork of two groups and two stages, with changes."""
    return {
        "subnet": f"s{subnet}",
        "network": "net",
        "regime": 0.5,
        "space": "base",
        "sampler": "strata",
        "stratum": 0,
        "weight": 1.0,
        "widths": {"a": 4, "b": 3},
        "macs_left": 0.5,
        "params_left": 0.4,
        "ratio": 1.25,
        "std": 0.1,
        "mean": 0.3,
        "stage_means": {"one": 0.2, "two": 0.4},
        "epochs": 1,
        "replicate": 0,
        "weights": "kept",
        "ranking": "criterion",
        "val_accuracy": 0.90,
        "val_loss": 0.3,
        "test_accuracy": 0.89,
        "one_shot": {"val_accuracy": 0.80, "val_loss": 0.6},
        "curve": [],
        "drop": 2.0,
        "test_drop": 2.5,
        "seconds": {},
    } | changes

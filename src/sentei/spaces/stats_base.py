"""What every statistic of a population needs: checked arrays, intervals, seeded resampling.

Shapes: N = recipes of a population, B = draws of a bootstrap, permutation or simulation.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sentei.seeding import derive_seed

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower end.
        high: Upper end, >= ``low``.
        level: Confidence level, in (0, 1).
        method: How it was made, in a few words.
    """

    low: float
    high: float
    level: float
    method: str

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def within(self, low: float, high: float) -> bool:
        """Return whether the whole interval lies strictly between ``low`` and ``high``."""
        return low < self.low and self.high < high


@dataclass(frozen=True, kw_only=True)
class Share:
    """A probability estimated from random draws: a p-value or a power.

    Attributes:
        value: The estimate, in [0, 1].
        mc_error: Its Monte-Carlo standard error, ``sqrt(p (1 - p) / draws)``.
        draws: Number of draws, >= 1.
    """

    value: float
    mc_error: float
    draws: int


def share_of(hits: int, draws: int) -> Share:
    """Return the share ``hits / draws`` with its Monte-Carlo standard error."""
    value = hits / draws
    return Share(value=value, mc_error=math.sqrt(value * (1 - value) / draws), draws=draws)


def permutation_p(null_B: FloatArray, observed: float) -> Share:
    """Return the p-value ``(1 + #{null >= observed}) / (B + 1)`` of a large ``observed``.

    The observed arrangement counts as one of the permutations, which makes the test exact. For a
    small observed value pass both with the sign changed.

    Example:
        >>> permutation_p(np.array([1.0, 2.0, 3.0]), 2.5).value
        0.5
    """
    # A statistic that repeats the observed one up to rounding is as extreme as it.
    slack = 1e-12 * max(1.0, abs(observed))
    hits = int(np.count_nonzero(null_B >= observed - slack))
    return share_of(hits + 1, null_B.size + 1)


def checked(name: str, values: ArrayLike, *, least: int = 1) -> FloatArray:
    """Return ``values`` as a finite float64 vector of ``least`` or more elements.

    Raises:
        ValueError: it is not one-dimensional, too short, or holds a NaN or an infinity.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(
            f"{name} has shape {array.shape}; a vector of one number a recipe was expected"
        )
    if array.size < least:
        raise ValueError(f"{name} holds {array.size} values; at least {least} are needed")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise ValueError(
            f"{name}[{bad[0]}] is {array[bad[0]]}; leave out the recipes that have no result"
        )
    return array


def same_length(**arrays: FloatArray | IntArray) -> int:
    """Return the common length of the named vectors.

    Raises:
        ValueError: their lengths differ.
    """
    lengths = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the lengths differ: {lengths}; pass one value a recipe in each")
    return next(iter(lengths.values()))


def check_fraction(name: str, value: float) -> None:
    """Refuse a fraction outside (0, 1).

    Raises:
        ValueError: ``value`` is not in (0, 1).
    """
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}; a number between 0 and 1 was expected")


@dataclass(frozen=True, kw_only=True, eq=False)
class Observations:
    """A measured population in one regime.

    Attributes:
        drop: Accuracy drop of every recipe in percentage points, shape [N]; large is bad.
        ratio: MACs per parameter relative to the dense network, m > 0, shape [N].
        covariates: Name -> what else differs between the recipes (spread of the pruning ratios,
            their mean, exact MACs), shape [N] each.
        weights: Precision of every drop up to a factor, > 0, shape [N] (number of replicates, if
            noise dominates); None for equal weights.

    Raises:
        ValueError: lengths differ, a value is not finite, a ratio or weight is not positive.
    """

    drop: FloatArray
    ratio: FloatArray
    covariates: Mapping[str, FloatArray] = field(default_factory=dict)
    weights: FloatArray | None = None

    def __post_init__(self) -> None:
        vectors = {"drop": checked("drop", self.drop), "ratio": checked("ratio", self.ratio)}
        positive = {"ratio": vectors["ratio"]}
        if self.weights is not None:
            positive["weights"] = vectors["weights"] = checked("weights", self.weights)
        covariates = {name: checked(name, values) for name, values in self.covariates.items()}
        same_length(**vectors, **covariates)
        for name, values in positive.items():
            if values.min() <= 0:
                raise ValueError(f"the smallest value of {name} is {values.min()}; all must be > 0")
        for name, values in vectors.items():
            object.__setattr__(self, name, values)
        object.__setattr__(self, "covariates", covariates)

    def __len__(self) -> int:
        return self.drop.size

    @property
    def log_ratio(self) -> FloatArray:
        """Natural logarithm of the ratio, shape [N]."""
        return np.log(self.ratio)


def check_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    """Return the logarithms of attainable bounds of the ratio.

    Raises:
        ValueError: they are not ``0 < low < high``.
    """
    low, high = bounds
    if not 0 < low < high:
        raise ValueError(f"the attainable bounds are {bounds}; 0 < low < high was expected")
    return math.log(low), math.log(high)


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return the generator of the stream ``names`` under ``seed``."""
    return np.random.default_rng(derive_seed(seed, "spaces", *names))


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How a bootstrap draws.

    Args:
        draws: Number of resamples, >= 1.
        level: Confidence level, in (0, 1).
        seed: Root of the random stream.

    Raises:
        ValueError: a value is out of range.
    """

    draws: int = 2000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        check_fraction("level", self.level)
        if self.draws < 1:
            raise ValueError(f"draws is {self.draws}; at least 1 is needed")


DEFAULTS = Resampling()


def resampling_counts(
    num: int, draws: int, *, rng: np.random.Generator, clusters: ArrayLike | None = None
) -> FloatArray:
    """Return how often each observation occurs in each bootstrap resample, shape [B, N].

    Args:
        num: Number of observations N, >= 1.
        draws: Number of resamples B, >= 1.
        rng: Where the draws come from; it is advanced.
        clusters: Label of every observation, shape [N]; whole clusters are drawn, so that the
            replicates of a recipe stay together. None draws single observations.

    Raises:
        ValueError: ``clusters`` has another length, or ``draws`` is not positive.
    """
    if draws < 1:
        raise ValueError(f"{draws} bootstrap draws were asked for; at least 1 is needed")
    if clusters is None:
        return rng.multinomial(num, np.full(num, 1 / num), size=draws).astype(np.float64)
    labels, index_N = np.unique(np.asarray(clusters), return_inverse=True)
    if index_N.size != num:
        raise ValueError(f"there are {index_N.size} cluster labels for {num} observations")
    of_cluster = rng.multinomial(labels.size, np.full(labels.size, 1 / labels.size), size=draws)
    return of_cluster[:, index_N].astype(np.float64)


def percentile_interval(samples_B: FloatArray, *, level: float, method: str) -> Interval:
    """Return the central interval that holds ``level`` of the samples."""
    low, high = np.quantile(samples_B, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(low=low, high=high, level=level, method=method)

"""What a study of a space costs, and whether the searches it shortens pay for it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sentei.spaces.stats_base import checked
from sentei.spaces.stats_edf import expected_best

_TRAINING = 3  # a backward pass costs two forward passes
_FLOPS = 2  # of one multiply-add


@dataclass(frozen=True, kw_only=True)
class CostModel:
    r"""Seconds of a study from its MACs.

    .. math::
        C = n (c_{prune} + c_{bn} + c_{val})
        + n_{ft} E \cdot 3 F N_{train} \cdot 2 / \theta + \ldots

    Args:
        macs: F, multiply-adds of one forward pass of a subnetwork, > 0.
        throughput: theta, sustained floating-point operations a second, > 0.
        train_images: Images of an epoch, >= 0.
        recalibration_images: Forward passes that set the batch norms, >= 0.
        val_images: Forward passes that score, >= 0.
        prune_seconds: Seconds to prune one network, >= 0.

    Raises:
        ValueError: a value is out of range.
    """

    macs: float
    throughput: float
    train_images: int
    recalibration_images: int
    val_images: int
    prune_seconds: float = 0.0

    def __post_init__(self) -> None:
        for name in ("macs", "throughput"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; a positive number was expected")
        for name in ("train_images", "recalibration_images", "val_images", "prune_seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; a number >= 0 was expected")

    @property
    def one_shot_seconds(self) -> float:
        """Seconds to prune, recalibrate and score one subnetwork."""
        images = self.recalibration_images + self.val_images
        return self.prune_seconds + _FLOPS * self.macs * images / self.throughput

    @property
    def epoch_seconds(self) -> float:
        """Seconds of one epoch of training."""
        return _TRAINING * _FLOPS * self.macs * self.train_images / self.throughput

    def study_seconds(self, num: int, *, trained: int = 0, epochs: int = 0) -> float:
        """Return the seconds of ``num`` one-shot scores and ``trained`` trainings of ``epochs``."""
        return num * self.one_shot_seconds + trained * epochs * self.epoch_seconds


def draws_to_reach(drops: ArrayLike, target: float) -> float:
    """Return the fewest random draws whose expected best drop is at most ``target``.

    Args:
        drops: Drops of a population, shape [N]; draws are without replacement.
        target: Wanted drop.

    Returns:
        An integer in [1, N], or infinity if no recipe of the population is as good.

    Example:
        >>> draws_to_reach([1.0, 2.0, 4.0], 1.5)
        2
    """
    drop_N = checked("drops", drops)
    best_N = expected_best(drop_N, np.arange(1, drop_N.size + 1))
    reached = np.flatnonzero(best_N <= target + 1e-12)
    return int(reached[0]) + 1 if reached.size else math.inf


@dataclass(frozen=True, kw_only=True)
class Payback:
    """Both sides of the inequality by which a refinement pays.

    Attributes:
        study_seconds: What the study of the space cost, for one search.
        saved_seconds: What a search in the refined space saves.
        base_draws: Draws that a search in the base space needs.
        refined_draws: Draws that a search in the refined space needs.
    """

    study_seconds: float
    saved_seconds: float
    base_draws: float
    refined_draws: float

    @property
    def pays(self) -> bool:
        """Whether the search saves more than the study cost."""
        return self.study_seconds < self.saved_seconds

    @property
    def text(self) -> str:
        """The inequality with its numbers."""
        sign = "<" if self.pays else ">="
        return (
            f"study {self.study_seconds:.0f} s {sign} ({self.base_draws:g} - "
            f"{self.refined_draws:g}) draws saved = {self.saved_seconds:.0f} s: the refinement "
            f"{'pays' if self.pays else 'does not pay'}"
        )


def payback(
    base: ArrayLike,
    refined: ArrayLike,
    *,
    target: float,
    study_seconds: float,
    search_seconds: float,
    searches: int = 1,
) -> Payback:
    r"""Return whether :math:`C_{study} / searches < (k_{base}(q) - k_{refined}(q)) c_{search}`.

    Args:
        base: Drops of fresh recipes of the base space, shape [N].
        refined: Drops of fresh recipes of the refined space, shape [N].
        target: q, the wanted drop.
        study_seconds: What the study cost, >= 0.
        search_seconds: Cost of one draw of a search, > 0.
        searches: Searches that share the study, >= 1; more than one only where the optimum was
            shown to carry over.

    Raises:
        ValueError: a value is out of range, or neither space reaches the target.
    """
    if study_seconds < 0 or search_seconds <= 0 or searches < 1:
        raise ValueError(
            f"study_seconds is {study_seconds}, search_seconds {search_seconds}, searches "
            f"{searches}; >= 0, > 0 and >= 1 were expected"
        )
    draws = draws_to_reach(base, target), draws_to_reach(refined, target)
    if math.isinf(min(draws)):
        raise ValueError(f"no recipe of either space reaches a drop of {target}; aim lower")
    return Payback(
        study_seconds=study_seconds / searches,
        saved_seconds=(draws[0] - draws[1]) * search_seconds,
        base_draws=draws[0],
        refined_draws=draws[1],
    )

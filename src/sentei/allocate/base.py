"""What a scope is: the order in which channels of different groups go."""

# Shapes: G = groups, C = channels of one group.

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from sentei.criteria.base import FloatArray
from sentei.graph import Graph
from sentei.registry import Registry

Normalization = Literal["none", "mean", "max", "sum", "l2", "standard"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """What a scope may look at.

    Attributes:
        graph: Its groups are those of the scores; its model holds the weights.
        scores: Scores of every group in the order of removal, ascending, G arrays [C].
        comparable: Scores of different groups can be compared as they are.
        savings: Share of the budgeted costs that one channel of each group saves in the whole
            network, mean over the budgets, shape [G], >= 0.
        num_weights: Elements of parameters that one channel of each group owns in the whole
            network, mean over its channels, shape [G], > 0.
    """

    graph: Graph = field(repr=False)
    scores: tuple[FloatArray, ...]
    comparable: bool
    savings: FloatArray
    num_weights: FloatArray


@dataclass(frozen=True, kw_only=True)
class Scope(ABC):
    """Orders the channels of all groups; its fields are its configuration."""

    @abstractmethod
    def keys(self, ranking: Ranking) -> list[FloatArray]:
        """Return a finite key for every channel, G arrays [C]: the lowest key goes first.

        Within a group the keys must be in the order of the scores.
        """


SCOPES: Registry[Callable[..., Scope]] = Registry("scope")
"""Name -> what builds the scope; all its fields have defaults."""


def check_normalization(name: str | None) -> None:
    """Refuse an unknown normalization.

    Raises:
        ValueError: It is neither None nor one of :data:`Normalization`.
    """
    if name is not None and name not in get_args(Normalization):
        raise ValueError(
            f"normalization={name!r}; expected None or one of {', '.join(get_args(Normalization))}"
        )


def normalized(ranking: Ranking, name: Normalization | None) -> list[FloatArray]:
    """Return the scores of every group, put on one scale.

    Args:
        ranking: The scores.
        name: Divide by the mean, maximum, sum or Euclidean norm of the absolute scores of the
            group; ``standard`` subtracts the mean and divides by the standard deviation; None is
            ``none`` where scores are comparable as they are, else ``max``. A divisor of 0
            divides nothing.
    """
    if name is None:
        name = "none" if ranking.comparable else "max"
    return [_normalize(scores_C, name) for scores_C in ranking.scores]


def _normalize(scores_C: FloatArray, name: Normalization) -> FloatArray:
    if name == "none":
        return scores_C
    if name == "standard":
        return (scores_C - scores_C.mean()) / (float(scores_C.std()) or 1.0)
    sizes = np.abs(scores_C)
    divisors = {
        "mean": sizes.mean(),
        "max": sizes.max(),
        "sum": sizes.sum(),
        "l2": np.linalg.norm(sizes),
    }
    return scores_C / (float(divisors[name]) or 1.0)

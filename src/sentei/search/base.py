"""What a searcher is: from a problem to the widths it found best."""

# Shapes: G = groups.

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from sentei.allocate import Budget
from sentei.allocate.grid import RoundTo
from sentei.cost import CostModel
from sentei.criteria import Scores
from sentei.criteria.base import Source
from sentei.graph import Graph
from sentei.index.atoms import IntArray
from sentei.registry import Registry


class Evaluate(Protocol):
    """Judges a candidate on validation images; larger is better."""

    def __call__(self, widths: IntArray, *, num_steps: int = 0) -> float:
        """Return the accuracy in [0, 1] of the network with these widths.

        Its channels are those of the highest scores, its batch norms are measured anew.

        Args:
            widths: Channels each group keeps, integers [G].
            num_steps: Steps of training before it is judged, >= 0.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """What is searched.

    Attributes:
        graph: The graph.
        scores: Of its channels: within a group the lowest go first.
        costs: Compiled costs of the graph.
        budget: What the result may cost.
        floor: Least share of a group that stays, in [0, 1].
        tolerance: How far below its limit the binding cost may end, relative, in [0, 1).
        round_to: Widths of pruned groups are multiples of it, >= 1; by group name, 1 for others.
        evaluate: Judges a candidate.
        seed: Of all draws: the same problem gives the same answer.
    """

    graph: Graph
    scores: Scores
    costs: CostModel = field(repr=False)
    budget: Budget
    floor: float
    tolerance: float
    evaluate: Evaluate = field(repr=False)
    round_to: RoundTo = 1
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Searcher(ABC):
    """Finds widths that meet a budget; its fields are its configuration.

    Attributes:
        source: Where it comes from.
    """

    source: ClassVar[Source]

    @abstractmethod
    def search(self, problem: Problem) -> IntArray:
        """Return the channels each group keeps, integers [G].

        The budget is met within the tolerance of the problem.

        Raises:
            BudgetError: No candidate meets the budget.
        """


SEARCHERS: Registry[Callable[..., Searcher]] = Registry("searcher")
"""Name -> what builds the searcher; all its fields have defaults."""

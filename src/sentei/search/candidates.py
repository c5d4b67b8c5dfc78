"""What searchers share: widths at the budget, and the best of those that were judged."""

# Shapes: G = groups, C = channels of one group.

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sentei.allocate import Scope, allocate
from sentei.allocate.global_ import Global
from sentei.criteria import Scores
from sentei.criteria.base import FloatArray
from sentei.errors import BudgetError
from sentei.index.atoms import IntArray
from sentei.search.base import Problem


@dataclass(kw_only=True, eq=False)
class Contest:
    """Judges candidates and remembers the best; of equal ones the first.

    Attributes:
        problem: What is searched.
        num_steps: Steps of training before a candidate is judged, >= 0.
    """

    problem: Problem
    num_steps: int = 0
    _best: tuple[float, IntArray] | None = field(default=None, init=False)
    _refusal: BudgetError | None = field(default=None, init=False)

    def enter(self, make_widths: Callable[[], IntArray]) -> float:
        """Return the accuracy of a candidate; -inf, unjudged, where it cannot meet the budget.

        Args:
            make_widths: Returns its widths, integers [G], or raises a BudgetError.
        """
        try:
            widths = make_widths()
        except BudgetError as error:
            self._refusal = self._refusal or error
            return -np.inf
        accuracy = self.problem.evaluate(widths, num_steps=self.num_steps)
        if self._best is None or accuracy > self._best[0]:
            self._best = accuracy, widths
        return accuracy

    def winner(self) -> IntArray:
        """Return the widths of the best candidate, [G]; at least one must have entered.

        Raises:
            BudgetError: No candidate met the budget; the message is that of the first.
        """
        if self._best is None:
            assert self._refusal is not None, "nobody entered"
            raise self._refusal
        return self._best[1]


def widths_along(problem: Problem, factors_G: FloatArray) -> IntArray:
    """Return widths [G] that meet the budget and remove shares in proportion to the factors.

    Args:
        problem: What is searched.
        factors_G: One number > 0 a group; twice the factor loses twice the share.

    Raises:
        BudgetError: The budget cannot be met in this direction.
    """
    by_group = {
        g.name: _shares(problem.scores.by_group[g.name]) / factor
        for g, factor in zip(problem.graph.groups, factors_G, strict=True)
    }
    direction = Scores(criterion="direction", by_group=by_group, comparable=True)
    return widths_at_budget(problem, direction, Global(normalization="none"))


def widths_at_budget(problem: Problem, scores: Scores, scope: Scope) -> IntArray:
    """Return the widths [G] at which the order of a scope meets the budget of a problem.

    Raises:
        BudgetError: They end too far from the budget.
    """
    found = allocate(
        problem.graph,
        scores,
        budget=problem.budget,
        scope=scope,
        round_to=problem.round_to,
        floor=problem.floor,
        tolerance=problem.tolerance,
        costs=problem.costs,
    )
    return found.widths


def _shares(scores_C: FloatArray) -> FloatArray:
    """Return the share of its group that goes before each channel, in (0, 1)."""
    shares = np.empty(len(scores_C))
    shares[np.argsort(scores_C, kind="stable")] = (np.arange(len(scores_C)) + 0.5) / len(scores_C)
    return shares

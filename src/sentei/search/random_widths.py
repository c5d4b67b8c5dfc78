"""Random widths at the budget, the best of which is kept."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sentei.allocate import allocate
from sentei.allocate.global_ import Global
from sentei.criteria import Scores
from sentei.criteria.base import FloatArray, Source
from sentei.errors import BudgetError
from sentei.index.atoms import IntArray
from sentei.search.base import SEARCHERS, Problem, Searcher


@dataclass(frozen=True, kw_only=True)
class RandomWidths(Searcher):
    """Random shares of every group that meet the budget; the most accurate candidate wins.

    A candidate draws a factor from U(``low``, 1) for each group and removes channels of all
    groups in proportion to it, until the budget is met. Its channels are those of the lowest
    scores, its batch norms are measured anew, and it is judged on the validation images.

    Source: Li et al., EagleEye, ECCV 2020, arXiv:2007.02491 (adaptive batch norm as the judge);
    random widths alone: Li et al., Revisiting Random Channel Pruning, CVPR 2022,
    arXiv:2205.05676.
    Difference: there ratios are drawn until their cost happens to fall into a window; here a
    direction is drawn and followed to the budget. The papers draw up to a thousand candidates.

    Args:
        num_candidates: How many, >= 1.
        low: Least factor, in (0, 1]; 1 makes all candidates uniform.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Li et al., EagleEye, ECCV", year=2020, arxiv="2007.02491", section="2.3.1"
    )
    num_candidates: int = 16
    low: float = 0.2

    def __post_init__(self) -> None:
        if self.num_candidates < 1:
            raise ValueError(f"num_candidates={self.num_candidates}; expected at least 1")
        if not 0 < self.low <= 1:
            raise ValueError(f"low={self.low}; expected a factor in (0, 1]")

    def search(self, problem: Problem) -> IntArray:
        """Return the widths of the most accurate candidate, [G]; of equal ones the first."""
        rng = np.random.default_rng(problem.seed)
        found: list[IntArray] = []
        refusals: list[BudgetError] = []
        for _ in range(self.num_candidates):
            factors_G = rng.uniform(self.low, 1.0, len(problem.graph.groups))
            try:
                found.append(widths_along(problem, factors_G))
            except BudgetError as error:
                refusals.append(error)
        if not found:
            raise refusals[0]
        accuracies = [problem.evaluate(widths) for widths in found]
        return found[int(np.argmax(accuracies))]


def widths_along(problem: Problem, factors_G: FloatArray) -> IntArray:
    """Return widths [G] that meet the budget and remove shares in proportion to the factors.

    Args:
        problem: What is searched.
        factors_G: One number > 0 a group; twice the factor loses twice the share.

    Raises:
        BudgetError: The budget cannot be met in this direction.
    """
    graph = problem.graph
    by_group = {
        g.name: _shares(problem.scores.by_group[g.name]) / factor
        for g, factor in zip(graph.groups, factors_G, strict=True)
    }
    found = allocate(
        graph,
        Scores(criterion="direction", by_group=by_group, comparable=True),
        budget=problem.budget,
        scope=Global(normalization="none"),
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


SEARCHERS.register("eagleeye")(RandomWidths)

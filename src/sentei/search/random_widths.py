"""Random widths at the budget, the best of which is kept."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from sentei.criteria.base import Source
from sentei.index.atoms import IntArray
from sentei.search.base import SEARCHERS, Problem, Searcher
from sentei.search.candidates import Contest, widths_along


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
        contest = Contest(problem=problem)
        for _ in range(self.num_candidates):
            factors_G = rng.uniform(self.low, 1.0, len(problem.graph.groups))
            contest.enter(partial(widths_along, problem, factors_G))
        return contest.winner()


SEARCHERS.register("eagleeye")(RandomWidths)

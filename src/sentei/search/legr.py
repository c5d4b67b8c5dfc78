"""One ranking of all channels, learned: an affine map of the scores of each group, evolved."""

# Shapes: G = groups, C = channels of one group.

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np

from sentei.allocate import Ranking, Scope
from sentei.allocate.base import normalized
from sentei.criteria.base import FloatArray, Source
from sentei.index.atoms import IntArray
from sentei.search.base import SEARCHERS, Problem, Searcher
from sentei.search.candidates import Contest, widths_at_budget


@SEARCHERS.register("legr")
@dataclass(frozen=True, kw_only=True)
class LeGR(Searcher):
    r"""Affine maps of the scores of each group, evolved: the lowest of the whole network go.

    .. math:: k_{gc} = a_g s_{gc} + b_g \sigma_g

    where s are the scores on the scale of :class:`~sentei.allocate.global_.Global` and
    :math:`\sigma_g` is their standard deviation in the group. Evolution is regularised: the
    population starts with random maps, log a and b from N(0, 1), and last, so that it lives
    longest, a = 1 and b = 0: the scores as they are. Each further candidate is the best of a few drawn members, changed in some groups: N(0, t) is added to
    log a and N(0, 1) to b, with t = 1 - i / (1.25 ``num_candidates``) for candidate i. It takes
    the place of the oldest member. The best candidate of all is returned.

    The defaults are small. Where scores hardly differ within a group, most maps empty whole
    groups, and hundreds of candidates are needed to do better than a = 1, b = 0.

    Source: Chin et al., Learned Global Ranking, CVPR 2020, arXiv:1904.12368, as in the authors'
    program: 400 candidates, population 64, tournament 16, a tenth of the layers changed.
    Difference: fitness is the accuracy, there the loss; scores of a group stand for those of a
    layer; the budget is met exactly, without a rule for what is left of a layer but the floor of
    the problem; groups to change are drawn without replacement, and at least one is, which small
    networks need.

    Args:
        num_candidates: How many in all, the first population included, >= ``population``.
        population: Members alive at once, >= 1.
        tournament: Members drawn, of which the best is changed, in [1, ``population``].
        mutated: Share of the groups that change, in (0, 1].
        num_steps: Steps of training before a candidate is judged, >= 0; the paper takes 200.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Chin et al., Learned Global Ranking, CVPR",
        year=2020,
        arxiv="1904.12368",
        section="2.3.2",
    )
    num_candidates: int = 32
    population: int = 8
    tournament: int = 4
    mutated: float = 0.1
    num_steps: int = 0

    def __post_init__(self) -> None:
        if self.population < 1:
            raise ValueError(f"population={self.population}; expected at least 1")
        if self.num_candidates < self.population:
            raise ValueError(
                f"num_candidates={self.num_candidates}; expected at least the population, "
                f"{self.population}"
            )
        if not 1 <= self.tournament <= self.population:
            raise ValueError(
                f"tournament={self.tournament}; expected from 1 to the population, "
                f"{self.population}"
            )
        if not 0 < self.mutated <= 1:
            raise ValueError(f"mutated={self.mutated}; expected a share of the groups in (0, 1]")
        if self.num_steps < 0:
            raise ValueError(f"num_steps={self.num_steps}; expected at least 0")

    def search(self, problem: Problem) -> IntArray:
        """Return the widths of the most accurate candidate, [G]; of equal ones the first."""
        rng = np.random.default_rng(problem.seed)
        contest = Contest(problem=problem, num_steps=self.num_steps)
        members: deque[tuple[float, Affine]] = deque(maxlen=self.population)
        for number in range(self.num_candidates):
            if number < self.population:
                member = self._founder(rng, number, len(problem.graph.groups))
            else:
                member = self._child(rng, number, members)
            make_widths = partial(widths_at_budget, problem, problem.scores, member)
            members.append((contest.enter(make_widths), member))
        return contest.winner()

    def _founder(self, rng: np.random.Generator, number: int, num_groups: int) -> "Affine":
        log_scales_G, shifts_G = rng.normal(size=(2, num_groups)) * (number < self.population - 1)
        return Affine(log_scales=log_scales_G, shifts=shifts_G)

    def _child(
        self, rng: np.random.Generator, number: int, members: "deque[tuple[float, Affine]]"
    ) -> "Affine":
        drawn = rng.choice(len(members), self.tournament, replace=False)
        parent = max((members[i] for i in drawn), key=lambda m: m[0])[1]
        num_groups = len(parent.shifts)
        changed = np.zeros(num_groups)
        count = max(1, int(self.mutated * num_groups))
        changed[rng.choice(num_groups, count, replace=False)] = 1.0
        step = 1 - number / (1.25 * self.num_candidates)
        return Affine(
            log_scales=parent.log_scales + changed * rng.normal(0.0, step, num_groups),
            shifts=parent.shifts + changed * rng.normal(size=num_groups),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine(Scope):
    """Normalized scores of each group, scaled and shifted.

    Args:
        log_scales: Logarithm of the factor of each group, [G].
        shifts: What is then added, in standard deviations of the normalized scores, [G].
    """

    log_scales: FloatArray = field(repr=False)
    shifts: FloatArray = field(repr=False)

    def keys(self, ranking: Ranking) -> list[FloatArray]:
        """Return ``exp(log_scale) * score + shift * std`` of each channel, G arrays [C]."""
        found = zip(normalized(ranking, None), self.log_scales, self.shifts, strict=True)
        return [np.exp(log_scale) * own + shift * own.std() for own, log_scale, shift in found]

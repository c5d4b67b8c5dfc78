"""LeGR: evolution of affine maps finds a hidden optimum, at the budget, repeatably."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from sentei import Budget
from sentei.allocate import Ranking, allocate
from sentei.criteria import Scores
from sentei.errors import BudgetError
from sentei.index.atoms import IntArray
from sentei.search import Problem, legr
from sentei.search.candidates import widths_at_budget
from sentei.search.legr import Affine, LeGR
from tests.support.toy_search import hidden_problem, problem, random_widths, shares


def test_the_best_of_all_candidates_is_returned_and_beats_the_mean_of_random_ones() -> None:
    for seed in range(4):
        judge, own = hidden_problem(seed)

        found = LeGR().search(own)

        assert judge.distance(found) == min(judge.distance(w) for w in judge.seen)
        random = np.mean([judge.distance(w) for w in random_widths(own, 32)])
        assert judge.distance(found) < random


def test_evolution_comes_nearer_than_as_many_founders() -> None:
    evolved: list[float] = []
    founders: list[float] = []
    for seed in range(4):
        for population, distances in ((16, evolved), (100, founders)):
            judge, own = hidden_problem(seed)
            found = LeGR(num_candidates=100, population=population).search(own)
            distances.append(judge.distance(found))

    assert np.mean(evolved) < np.mean(founders)


def test_as_many_candidates_are_judged_as_configured_all_within_the_budget() -> None:
    judge, own = hidden_problem(0)

    LeGR(num_candidates=20, num_steps=7).search(own)

    assert len(judge.seen) == 20
    assert judge.num_steps == [7] * 20
    assert all(0.45 <= s <= 0.5 for s in shares(own, judge.seen))


def test_the_last_founder_is_the_global_allocation_without_a_map() -> None:
    judge, own = hidden_problem(0)

    LeGR(num_candidates=8, population=8).search(own)

    plain = allocate(
        own.graph,
        own.scores,
        budget=own.budget,
        scope="global",
        floor=own.floor,
        tolerance=0.1,
    )
    assert judge.seen[-1].tolist() == plain.widths.tolist()


def test_the_oldest_member_makes_room() -> None:
    # With one member alive, every candidate is a child of the one before it, however bad.
    judge, own = hidden_problem(0)
    maps: list[Affine] = []

    def remember(problem: Problem, scores: Scores, member: Affine) -> IntArray:
        maps.append(member)
        return widths_at_budget(problem, scores, member)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(legr, "widths_at_budget", remember)
        LeGR(num_candidates=10, population=1, tournament=1, mutated=0.25).search(own)

    accuracies = [-judge.distance(w) for w in judge.seen]
    assert any(b < a for a, b in pairwise(accuracies))
    assert all((a.shifts != b.shifts).sum() == 2 for a, b in pairwise(maps))  # of 8 groups


def test_keys_are_scaled_scores_plus_a_shift_in_standard_deviations() -> None:
    own = problem()
    ranking = Ranking(
        graph=own.graph,
        scores=(np.array([1.0, 3.0]), np.array([2.0, 6.0])),
        comparable=True,
        savings=np.ones(2),
        num_weights=np.ones(2),
    )

    keys = Affine(log_scales=np.log([2.0, 0.5]), shifts=np.array([3.0, -1.0])).keys(ranking)

    # Standard deviations 1 and 2.
    np.testing.assert_allclose(keys[0], [2 * 1 + 3, 2 * 3 + 3], rtol=1e-12)
    np.testing.assert_allclose(keys[1], [0.5 * 2 - 2, 0.5 * 6 - 2], rtol=1e-12)


def test_the_seed_decides() -> None:
    runs = []
    for seed in (1, 1, 2):
        judge, own = hidden_problem(0)
        LeGR().search(replace(own, seed=seed))
        runs.append([w.tolist() for w in judge.seen])

    assert runs[0] == runs[1] != runs[2]


def test_a_budget_out_of_reach_is_refused() -> None:
    with pytest.raises(BudgetError, match="cannot be met"):
        LeGR().search(replace(problem(), budget=Budget(macs=1e-6)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"population": 0}, "population=0; expected at least 1"),
        ({"num_candidates": 7}, "num_candidates=7; expected at least the population, 8"),
        ({"tournament": 0}, "tournament=0; expected from 1 to the population, 8"),
        ({"tournament": 9}, "tournament=9; expected from 1 to the population, 8"),
        ({"mutated": 0.0}, r"mutated=0\.0; expected a share"),
        ({"num_steps": -1}, "num_steps=-1; expected at least 0"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LeGR(**fields)  # type: ignore[arg-type]

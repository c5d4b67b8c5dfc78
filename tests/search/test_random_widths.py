"""Random widths: at the budget, the best kept, repeatable."""

from dataclasses import replace

import numpy as np
import pytest

from sentei import Budget
from sentei.errors import BudgetError
from sentei.search.candidates import widths_along
from sentei.search.random_widths import RandomWidths
from tests.support.toy_search import Judge, problem, shares


def test_the_candidate_that_the_judge_likes_most_is_kept() -> None:
    judge = Judge(np.array([2, 5, 3, 4])[: len(problem().graph.groups)])
    own = problem(judge)

    found = RandomWidths(num_candidates=12).search(own)

    assert len(judge.seen) <= 12
    best = min(np.abs(w - judge.hidden).sum() for w in judge.seen)
    assert np.abs(found - judge.hidden).sum() == best
    assert best < np.mean([np.abs(w - judge.hidden).sum() for w in judge.seen])


def test_every_candidate_meets_the_budget() -> None:
    judge = Judge(problem().graph.widths)
    own = problem(judge)

    RandomWidths(num_candidates=12).search(own)

    assert all(0.45 <= s <= 0.5 for s in shares(own, judge.seen))


def test_the_seed_decides() -> None:
    searcher = RandomWidths(num_candidates=6)

    first, again = searcher.search(problem(seed=1)), searcher.search(problem(seed=1))

    assert first.tolist() == again.tolist()


def test_a_budget_out_of_reach_is_refused() -> None:
    with pytest.raises(BudgetError, match="cannot be met"):
        RandomWidths(num_candidates=2).search(replace(problem(), budget=Budget(macs=1e-6)))


def test_twice_the_factor_loses_more() -> None:
    own = problem()
    factors = np.ones(len(own.graph.groups))
    factors[0] = 4.0

    more, even = widths_along(own, factors), widths_along(own, np.ones(len(factors)))

    assert more[0] < even[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"num_candidates": 0}, "num_candidates=0; expected"), ({"low": 0.0}, r"low=0\.0; expected")],
)
def test_fields_out_of_range_are_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomWidths(**fields)  # type: ignore[arg-type]

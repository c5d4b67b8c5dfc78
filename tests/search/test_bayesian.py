"""Bayesian search: a hidden optimum approached, at the budget, repeatably, in silence."""

import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from sentei import Budget
from sentei.errors import BudgetError, ConfigError
from sentei.search import bayesian
from sentei.search.bayesian import Bayesian, Model
from sentei.search.candidates import widths_along
from tests.support.toy_search import hidden_problem, problem, random_widths, shares


def test_a_missing_optuna_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(ConfigError, match=r"needs Optuna.*pip install 'sentei\[search\]'"):
        Bayesian().search(problem())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_candidates": 0}, "num_candidates=0; expected at least 1"),
        ({"num_random": 0}, "num_random=0; expected at least 1"),
        ({"low": 0.0}, r"low=0\.0; expected a factor in \(0, 1\)"),
        ({"low": 1.0}, r"low=1\.0; expected a factor in \(0, 1\)"),
        ({"model": "cma"}, "model='cma'; expected gp or tpe"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Bayesian(**fields)


class TestWithOptuna:
    @pytest.fixture(autouse=True)
    def optuna(self) -> ModuleType:
        module: ModuleType = pytest.importorskip("optuna")
        return module

    @pytest.mark.parametrize("model", ["gp", "tpe"])
    def test_the_best_candidate_is_returned_and_beats_the_mean_of_random_ones(
        self, model: Model
    ) -> None:
        judge, own = hidden_problem(1)

        found = Bayesian(model=model, num_candidates=14, num_random=6).search(own)

        assert len(judge.seen) == 14
        assert all(0.45 <= s <= 0.5 for s in shares(own, judge.seen))
        assert judge.distance(found) == min(judge.distance(w) for w in judge.seen)
        random = np.mean([judge.distance(w) for w in random_widths(own, 24)])
        assert judge.distance(found) < random

    @pytest.mark.parametrize("model", ["gp", "tpe"])
    def test_the_seed_decides(self, model: Model) -> None:
        runs = []
        for seed in (1, 1, 2):
            judge, own = hidden_problem(0)
            searcher = Bayesian(model=model, num_candidates=8, num_random=5)
            searcher.search(replace(own, seed=seed))
            runs.append([w.tolist() for w in judge.seen])

        assert runs[0] == runs[1] != runs[2]

    def test_the_first_candidate_is_uniform(self) -> None:
        judge, own = hidden_problem(0)

        Bayesian(num_candidates=1).search(own)

        assert judge.seen[0].tolist() == widths_along(own, np.ones(len(own.graph.groups))).tolist()

    def test_directions_that_cannot_meet_the_budget_are_not_judged(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        judge, own = hidden_problem(0)
        calls = []

        def every_other(*arguments: Any) -> Any:  # noqa: ANN401 - as widths_along
            calls.append(arguments)
            if len(calls) % 2:
                raise BudgetError("not here")
            return widths_along(*arguments)

        monkeypatch.setattr(bayesian, "widths_along", every_other)
        Bayesian(num_candidates=10, num_random=4).search(own)

        assert (len(calls), len(judge.seen)) == (10, 5)

    def test_a_budget_out_of_reach_is_refused(self) -> None:
        with pytest.raises(BudgetError, match="cannot be met"):
            Bayesian(num_candidates=2).search(replace(problem(), budget=Budget(macs=1e-6)))

    def test_optuna_is_silent_and_as_talkative_as_before_afterwards(
        self, optuna: ModuleType, capfd: pytest.CaptureFixture[str]
    ) -> None:
        before = optuna.logging.get_verbosity()

        Bayesian(num_candidates=2).search(hidden_problem(0)[1])

        assert capfd.readouterr() == ("", "")
        assert optuna.logging.get_verbosity() == before

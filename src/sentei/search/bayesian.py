"""Bayesian optimization of how fast each group shrinks."""

# Shapes: G = groups.

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import ClassVar, Literal, get_args

import numpy as np

from sentei.criteria.base import Source
from sentei.errors import ConfigError
from sentei.index.atoms import IntArray
from sentei.search.base import SEARCHERS, Problem, Searcher
from sentei.search.candidates import Contest, widths_along
from sentei.seeding import derive_seed

Model = Literal["gp", "tpe"]


@SEARCHERS.register("bayesian")
@dataclass(frozen=True, kw_only=True)
class Bayesian(Searcher):
    """A model of the accuracy says which shares of the groups to try next; the best are kept.

    A candidate is a factor in [``low``, 1] for each group, on a logarithmic scale: channels of
    all groups go in proportion to it until the budget is met. The first candidate is uniform,
    the next ones are random, and all others are those that Optuna expects most of. A direction
    that cannot meet the budget is a failed trial.

    Source: Fan et al., Bayesian optimization with clustering and rollback, ECCV 2022,
    arXiv:2109.10591.
    Difference: every group has its own factor, where the paper clusters layers to search few
    dimensions and then rolls the clustering back; the model is Optuna's.

    Args:
        num_candidates: How many, >= 1.
        num_random: How many of them, the first included, before the model is asked, >= 1.
        low: Least factor, in (0, 1).
        model: Of the accuracy: ``gp``, a Gaussian process, or ``tpe``, tree-structured Parzen
            estimators.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Fan et al., Bayesian optimization with clustering and rollback, ECCV",
        year=2022,
        arxiv="2109.10591",
        section="2.4.3",
    )
    num_candidates: int = 16
    num_random: int = 8
    low: float = 0.2
    model: Model = "gp"

    def __post_init__(self) -> None:
        for name in ("num_candidates", "num_random"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; expected at least 1")
        if not 0 < self.low < 1:
            raise ValueError(f"low={self.low}; expected a factor in (0, 1)")
        if self.model not in get_args(Model):
            raise ValueError(f"model={self.model!r}; expected {' or '.join(get_args(Model))}")

    def search(self, problem: Problem) -> IntArray:
        """Return the widths of the most accurate candidate, [G]; of equal ones the first.

        Raises:
            BudgetError: No candidate meets the budget.
            ConfigError: Optuna is not installed.
        """
        optuna = _import_optuna()
        samplers = {"gp": optuna.samplers.GPSampler, "tpe": optuna.samplers.TPESampler}
        seed = derive_seed(problem.seed, "optuna") % 2**32  # as many as Optuna takes
        sampler = samplers[self.model](seed=seed, n_startup_trials=self.num_random)
        contest = Contest(problem=problem)
        names = [g.name for g in problem.graph.groups]
        with _silent(optuna):
            study = optuna.create_study(direction="maximize", sampler=sampler)
            study.enqueue_trial(dict.fromkeys(names, 1.0))
            for _ in range(self.num_candidates):
                trial = study.ask()
                factors = [trial.suggest_float(name, self.low, 1.0, log=True) for name in names]
                accuracy = contest.enter(partial(widths_along, problem, np.array(factors)))
                if np.isneginf(accuracy):
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
                else:
                    study.tell(trial, accuracy)
        return contest.winner()


def _import_optuna() -> ModuleType:
    try:
        return importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the searcher 'bayesian' needs Optuna, which cannot be imported ({error}); "
            "install it: pip install 'sentei[search]'"
        ) from error


@contextmanager
def _silent(optuna: ModuleType) -> Iterator[None]:
    """Let Optuna log errors only, then as much as before."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)

"""A search whose optimum is known: a judge that likes widths near a hidden vector."""

from dataclasses import replace
from functools import cache

import numpy as np
from torch import nn

from sentei import Budget, score, trace
from sentei.cost import CostModel
from sentei.criteria import Scores
from sentei.index.atoms import IntArray
from sentei.search import Problem
from sentei.search.candidates import widths_along
from tests.support.nets import ResidualNet, example, fill


class Judge:
    """Likes widths near a hidden vector; remembers what it saw."""

    def __init__(self, hidden: IntArray) -> None:
        self.hidden = hidden
        self.seen: list[IntArray] = []
        self.num_steps: list[int] = []

    def __call__(self, widths: IntArray, *, num_steps: int = 0) -> float:
        self.seen.append(widths)
        self.num_steps.append(num_steps)
        return -self.distance(widths)

    def distance(self, widths: IntArray) -> float:
        return float(np.abs(widths - self.hidden).sum())


def problem(judge: Judge | None = None, seed: int = 0) -> Problem:
    graph = trace(fill(ResidualNet()), example(1, 3, 8, 8))
    return Problem(
        graph=graph,
        scores=score(graph, "l1"),
        costs=CostModel.of(graph),
        budget=Budget(macs=0.5),
        floor=0.1,
        tolerance=0.1,
        evaluate=judge or Judge(graph.widths // 2),
        seed=seed,
    )


def shares(own: Problem, seen: list[IntArray]) -> list[float]:
    """Return the multiply-adds of each candidate as a share of the whole network's."""
    return [own.costs.macs(w) / own.costs.macs(own.graph.widths) for w in seen]


def random_widths(own: Problem, count: int) -> list[IntArray]:
    """Return widths in random directions, at the budget."""
    rng = np.random.default_rng(12345)
    num_groups = len(own.graph.groups)
    return [widths_along(own, rng.uniform(0.2, 1.0, num_groups)) for _ in range(count)]


def chain(num_layers: int = 8, width: int = 16) -> nn.Module:
    """Return convolutions in a row, one group each: wide enough that widths are many."""
    layers: list[nn.Module] = []
    for inputs in (3, *[width] * (num_layers - 1)):
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


@cache
def chain_problem() -> Problem:
    """Return a problem of eight groups whose scores are spread evenly over (0.05, 1)."""
    rng = np.random.default_rng(5)
    graph = trace(fill(chain()), example(1, 3, 8, 8))
    by_group = {g.name: rng.uniform(0.05, 1.0, g.width) for g in graph.groups}
    return Problem(
        graph=graph,
        scores=Scores(criterion="spread", by_group=by_group, comparable=False),
        costs=CostModel.of(graph),
        budget=Budget(macs=0.5),
        floor=0.1,
        tolerance=0.1,
        evaluate=Judge(graph.widths),
    )


def hidden_problem(seed: int) -> tuple[Judge, Problem]:
    """Return a problem whose optimum is one random allocation at the budget, and its judge."""
    own = chain_problem()
    rng = np.random.default_rng(100 + seed)
    judge = Judge(widths_along(own, rng.uniform(0.2, 1.0, len(own.graph.groups))))
    return judge, replace(own, evaluate=judge, seed=seed)

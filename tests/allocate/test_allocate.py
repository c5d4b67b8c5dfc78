"""Allocations: budgets are met, and what cannot be met is said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sentei.allocate import (
    SCOPES,
    Allocation,
    Budget,
    Ranking,
    Scope,
    allocate,
    check_reachable,
    plan,
    plan_widths,
)
from sentei.cost import CostModel
from sentei.criteria import Scores, score
from sentei.criteria.base import FloatArray
from sentei.errors import BudgetError, PruningError, UnknownNameError
from sentei.graph import Graph, trace
from sentei.index.atoms import IntArray
from tests.support.nets import DepthwiseNet, GroupedNet, PlainNet, ResidualNet, example, fill

NETS: dict[str, nn.Module] = {
    "plain": PlainNet(40, 56),
    "residual": ResidualNet(48, 32),
    "depthwise": DepthwiseNet(64),
    "grouped": GroupedNet(48, 64, 4),
}


@cache
def graph_of(name: str) -> Graph:
    return trace(fill(NETS[name]), example(1, 3, 8, 8))


@cache
def costs_of(name: str) -> CostModel:
    return CostModel.of(graph_of(name))


def random_scores(graph: Graph, seed: int, *, comparable: bool = True) -> Scores:
    generator = np.random.default_rng(seed)
    return Scores(
        criterion="test",
        by_group={g.name: generator.random(g.width) for g in graph.groups},
        comparable=comparable,
    )


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Costs that are sums of channel prices: exact optima by hand."""

    prices: list[float]
    constant: float = 0.0
    others: Mapping[str, list[float]] = field(default_factory=dict)

    def costs(self, widths: IntArray, *, names: Sequence[str]) -> dict[str, FloatArray]:
        return {n: self.constant + widths @ np.array(self._of(n)) for n in names}

    def group_saving(self, name: str, widths: IntArray) -> FloatArray:
        return np.broadcast_to(self._of(name), widths.shape).astype(np.float64)

    def _of(self, name: str) -> list[float]:
        return list(self.others.get(name, self.prices))


def line_graph(*widths: int) -> Graph:
    """A chain of linear layers, one group a width."""
    sizes = (2, *widths, 3)
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    return trace(nn.Sequential(*layers), torch.zeros(1, 2))


def ordered_scores(graph: Graph, *values: list[float]) -> Scores:
    by_group = {g.name: np.array(v) for g, v in zip(graph.groups, values, strict=True)}
    return Scores(criterion="test", by_group=by_group, comparable=True)


# Budgets are met --------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", list(SCOPES))
@pytest.mark.parametrize("name", list(NETS))
@settings(max_examples=40)  # for each scope and network; some scopes take long
@given(seed=st.integers(0, 10**6), share=st.floats(0.2, 0.95))
def test_macs_end_within_the_tolerance_below_the_limit(
    name: str, scope: str, seed: int, share: float
) -> None:
    graph, costs = graph_of(name), costs_of(name)

    found = allocate(
        graph,
        random_scores(graph, seed),
        budget=Budget(macs=share),
        scope=scope,
        tolerance=0.1,
        costs=costs,
    )

    limit = share * costs.macs(graph.widths)
    assert 0.9 * limit <= costs.macs(found.widths) <= limit


@pytest.mark.parametrize("cost", ["num_parameters", "weight_bytes", "activation_bytes"])
def test_other_costs_are_met(cost: str) -> None:
    graph, costs = graph_of("residual"), costs_of("residual")

    found = allocate(
        graph,
        random_scores(graph, 0),
        budget=Budget.parse(f"{cost}=0.5"),
        tolerance=0.03,
        costs=costs,
    )

    share = costs.costs(found.widths, names=(cost,))[cost] / found.before[cost]
    assert 0.97 * 0.5 <= share <= 0.5


def test_default_tolerance_is_met_on_a_network_of_many_groups() -> None:
    graph = line_graph(60, 70, 80, 90, 50)
    costs = CostModel.of(graph)

    found = allocate(graph, score(graph, "l1"), budget=Budget(macs=0.37))

    assert 0.995 * 0.37 <= costs.macs(found.widths) / costs.macs(graph.widths) <= 0.37


@given(seed=st.integers(0, 10**6))
def test_of_several_limits_all_hold_and_one_binds(seed: int) -> None:
    graph, costs = graph_of("plain"), costs_of("plain")
    names = ("macs", "num_parameters", "activation_bytes")

    found = allocate(
        graph,
        random_scores(graph, seed),
        budget=Budget(macs=0.5, num_parameters=0.45, activation_bytes=0.7),
        tolerance=0.05,
        costs=costs,
    )

    after = costs.costs(found.widths, names=names)
    loads = [after[n] / found.targets[n] for n in names]
    assert 0.95 <= max(loads) <= 1


def test_absolute_limit_is_in_the_unit_of_the_cost() -> None:
    graph = line_graph(10, 10)

    found = allocate(
        graph,
        random_scores(graph, 0),
        budget=Budget(macs=110),
        costs=Linear(prices=[10, 10]),
    )

    assert found.targets == {"macs": 110}
    assert found.widths.sum() == 11


@pytest.mark.parametrize("limit", [1.0, 10**9])
def test_budget_that_the_network_meets_removes_nothing(limit: float) -> None:
    graph = graph_of("grouped")

    found = plan(graph, random_scores(graph, 0), budget=Budget(macs=limit), round_to=7)

    assert found.removed == {}


# Which groups -----------------------------------------------------------------------------------


def test_global_removes_the_lowest_of_all_groups() -> None:
    graph = line_graph(4, 4)
    scores = ordered_scores(graph, [1, 9, 3, 8], [2, 7, 6, 5])

    found = plan(graph, scores, budget=Budget(macs=5), costs=Linear(prices=[1, 1]))

    assert dict(found.removed) == {"0": (0, 2), "1": (0,)}


def test_local_removes_the_same_share_of_every_group() -> None:
    graph = line_graph(8, 16, 40)

    found = allocate(
        graph,
        random_scores(graph, 3),
        budget=Budget(macs=48),
        scope="local",
        costs=Linear(prices=[1, 1, 1]),
    )

    assert found.widths.tolist() == [6, 12, 30]


def test_cost_aware_takes_more_from_the_expensive_group() -> None:
    graph = line_graph(10, 10)
    same = list(np.linspace(0.1, 1, 10))

    found = allocate(
        graph,
        ordered_scores(graph, same, same),
        budget=Budget(macs=60),
        scope="cost-aware",
        costs=Linear(prices=[10, 1]),
    )

    # A channel of the first group owns 2 + 1 + 10 elements, one of the second 10 + 1 + 3, and
    # saves a tenth: its keys are (14 / 13) * 10 times as high. The first five shares of what is
    # left, up to 0.5 / 4.5, are below 10.8 * 0.1 / 5.5, the first of the second group.
    assert found.widths.tolist() == [5, 10]


def test_equal_scores_go_in_the_order_of_groups_and_channels() -> None:
    graph = line_graph(4, 4)
    scores = ordered_scores(graph, [1, 1, 1, 1], [1, 1, 1, 1])

    found = plan(graph, scores, budget=Budget(macs=6), scope="global", costs=Linear(prices=[1, 1]))

    assert dict(found.removed) == {"0": (0, 1)}


def test_floor_protects_every_group() -> None:
    graph = line_graph(10, 10)
    scores = ordered_scores(graph, [0.0] * 10, list(np.arange(1.0, 11)))

    found = allocate(graph, scores, budget=Budget(macs=12), floor=0.3, costs=Linear(prices=[1, 1]))

    assert found.widths.tolist() == [3, 9]
    assert found.notes == ("0: as narrow as floor=0.3 lets them be",)


def test_floor_is_a_share_of_the_dense_widths_where_they_are_given() -> None:
    graph = line_graph(4, 6)
    scores = ordered_scores(graph, [0.0] * 4, list(np.arange(1.0, 7)))

    def widths(dense_widths: dict[str, int] | None) -> list[int]:
        found = allocate(
            graph,
            scores,
            budget=Budget(macs=5),
            floor=0.3,
            costs=Linear(prices=[1, 1]),
            dense_widths=dense_widths,
        )
        return found.widths.tolist()

    # 0.3 of 4 and of 6 channels is 2 channels, of 10 it is 3.
    assert widths(None) == [2, 3]
    assert widths({"0": 10}) == [3, 2]


# Widths -----------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6), share=st.floats(0.3, 0.9))
def test_widths_are_multiples_and_still_meet_the_budget(seed: int, share: float) -> None:
    graph, costs = graph_of("plain"), costs_of("plain")

    found = allocate(
        graph,
        random_scores(graph, seed),
        budget=Budget(macs=share),
        round_to=4,
        tolerance=0.2,
        costs=costs,
    )

    assert not (found.widths % 4).any()
    assert costs.macs(found.widths) <= share * costs.macs(graph.widths)


def test_multiples_can_be_given_by_group() -> None:
    graph = line_graph(12, 12)

    found = allocate(
        graph,
        random_scores(graph, 0),
        budget=Budget(macs=13),
        round_to={"1": 6},
        costs=Linear(prices=[1, 1]),
    )

    assert found.widths.sum() == 13
    assert found.widths[1] in {6, 12}


def test_group_without_a_multiple_below_its_width_stays_and_is_noted() -> None:
    graph = line_graph(6, 32)

    found = allocate(
        graph,
        random_scores(graph, 0),
        budget=Budget(macs=22),
        round_to=8,
        tolerance=0.01,
        costs=Linear(prices=[1, 1]),
    )

    assert found.widths.tolist() == [6, 16]
    assert found.notes[0] == "0: no multiple of round_to=8 below the width; kept whole"


@pytest.mark.parametrize(("round_to", "multiple"), [(1, 4), (6, 12), (8, 8)])
def test_rows_stay_equal_under_rounding(round_to: int, multiple: int) -> None:
    graph, costs = graph_of("grouped"), costs_of("grouped")
    rows = {g.name: g.rows for g in graph.groups}

    found = plan(
        graph,
        random_scores(graph, 1),
        budget=Budget(macs=0.5),
        round_to=round_to,
        tolerance=0.3,
        costs=costs,
    )

    assert {r is None for r in rows.values()} == {False}
    for group, width in zip(graph.groups, found.widths.tolist(), strict=True):
        assert width % multiple == 0 or width == group.width
        keep = found.keep[group.first : group.first + group.width]
        assert group.rows is not None
        assert len(set(np.bincount(group.rows[keep]).tolist())) == 1


def test_lowest_of_each_row_go() -> None:
    graph = graph_of("grouped")
    group = graph.groups[0]
    assert group.rows is not None
    widths = graph.widths.copy()
    widths[0] -= 8

    scores = random_scores(graph, 2)
    found = plan_widths(graph, scores, widths)

    own = scores.by_group[group.name]
    expected = [
        c
        for row in range(4)
        for c in sorted(np.flatnonzero(group.rows == row), key=lambda c: own[c])[:2]
    ]
    assert dict(found.removed) == {group.name: tuple(sorted(int(c) for c in expected))}


def test_impossible_widths_are_refused() -> None:
    graph = graph_of("grouped")

    with pytest.raises(PruningError, match=r"width 46 is not possible; .*, a multiple of 4"):
        plan_widths(graph, random_scores(graph, 0), graph.widths - 2)
    with pytest.raises(PruningError, match=r"widths have shape \[1\]; expected one for each"):
        plan_widths(graph, random_scores(graph, 0), np.array([8]))


# What cannot be met -----------------------------------------------------------------------------


def test_target_below_the_floor_names_the_lowest_reachable() -> None:
    graph = line_graph(10, 10)

    with pytest.raises(BudgetError, match=r"macs: a limit of 3 .*: 4 \(0\.2000\) is the lowest"):
        allocate(
            graph,
            random_scores(graph, 0),
            budget=Budget(macs=3),
            floor=0.2,
            costs=Linear(prices=[1, 1]),
        )


def test_what_no_scores_reach_is_known_without_scores() -> None:
    graph, costs = line_graph(10, 10), Linear(prices=[1, 1])

    check_reachable(graph, "macs=4", floor=0.2, costs=costs)
    with pytest.raises(BudgetError, match=r"macs: a limit of 3 .*: 4 \(0\.2000\) is the lowest"):
        check_reachable(graph, "macs=3", floor=0.2, costs=costs)
    # A multiple of 4 that is at least 2 is 4, of each of two groups.
    with pytest.raises(
        BudgetError, match=r"8 \(0\.4000\) is the lowest that floor=0\.2 and round_to=4"
    ):
        check_reachable(graph, "macs=7", floor=0.2, round_to=4, costs=costs)


@given(seed=st.integers(0, 10**6), limit=st.integers(30, 120))
def test_small_networks_get_a_close_allocation_exactly_when_there_is_one(
    seed: int, limit: int
) -> None:
    graph = line_graph(4, 5)
    costs = Linear(prices=[17, 13])
    points = sorted({17 * a + 13 * b for a, b in product(range(1, 5), range(1, 6))})
    close = [p for p in points if 0.97 * limit <= p <= limit]

    def run() -> Allocation:
        return allocate(
            graph,
            random_scores(graph, seed),
            budget=Budget(macs=limit),
            tolerance=0.03,
            costs=costs,
        )

    if close:
        assert run().after["macs"] in close
    else:
        below = max(p for p in points if p < limit)
        above = min(p for p in points if p > limit)
        with pytest.raises(BudgetError, match=rf"below has macs={below} .* above macs={above} \("):
            run()


def test_nothing_close_in_a_large_space_is_said_with_its_neighbours() -> None:
    graph = line_graph(40, 40, 40)
    costs = Linear(prices=[100, 100, 100])

    with pytest.raises(BudgetError, match=r"macs=5500 \(0\.4583\), the nearest above macs=5600"):
        allocate(graph, random_scores(graph, 0), budget=Budget(macs=5590), costs=costs)


def test_graph_without_groups_can_only_meet_what_it_costs() -> None:
    graph = trace(nn.Linear(3, 2), torch.zeros(1, 3))
    scores = Scores(criterion="test", by_group={})

    assert plan(graph, scores, budget=Budget(macs=1.0)).removed == {}
    with pytest.raises(BudgetError, match="in 0 groups"):
        plan(graph, scores, budget=Budget(macs=0.5))


def test_scores_of_another_graph_are_refused() -> None:
    with pytest.raises(PruningError, match=r"group 1: scores have shape \[10\]; expected 9"):
        plan(line_graph(10, 9), random_scores(line_graph(10, 10), 0), budget=Budget(macs=0.5))


def test_unknown_names_are_answered() -> None:
    graph = line_graph(10, 9)
    scores, budget = random_scores(graph, 0), Budget(macs=0.5)

    with pytest.raises(UnknownNameError, match="unknown scope 'globl'"):
        plan(graph, scores, budget=budget, scope="globl")
    with pytest.raises(UnknownNameError, match="no group 'conv9'"):
        plan(graph, scores, budget=budget, round_to={"conv9": 8})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"floor": 1.5}, "floor=1.5; expected a share"),
        ({"tolerance": 1.0}, "tolerance=1.0; expected a share"),
        ({"round_to": 0}, "round_to=0 for 0; expected at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    graph = line_graph(10, 9)

    with pytest.raises(ValueError, match=message):
        plan(graph, random_scores(graph, 0), budget=Budget(macs=0.5), **options)  # type: ignore[arg-type]


def test_peak_is_met_where_steps_are_fine_enough() -> None:
    graph, costs = graph_of("residual"), costs_of("residual")

    found = allocate(
        graph,
        random_scores(graph, 0),
        budget=Budget(peak_activation_bytes=0.6),
        tolerance=0.05,
        costs=costs,
    )

    share = costs.peak_activation_bytes(found.widths) / found.before["peak_activation_bytes"]
    assert 0.95 * 0.6 <= share <= 0.6


def test_allocation_prints_costs_groups_and_notes() -> None:
    graph = line_graph(10, 10)

    found = allocate(
        graph,
        ordered_scores(graph, [0.0] * 10, [1.0] * 10),
        budget=Budget(macs=0.55),
        costs=Linear(prices=[1, 1]),
    )

    assert str(found).split("\n") == [
        "macs: 20 -> 11 (55.00%), limit 11",
        f"  {'0':40s}    10 ->     1",
        "0: as narrow as floor=0.1 lets them be",
    ]


def test_weights_of_a_channel_are_counted_by_hand() -> None:
    # Linear layers 2 -> 4 -> 5 -> 3: a row, its bias and a column of the next layer.
    class Looking(Scope):
        def keys(self, ranking: Ranking) -> list[FloatArray]:
            found.append(ranking.num_weights.tolist())
            return list(ranking.scores)

    found: list[list[float]] = []
    graph = line_graph(4, 5)

    allocate(
        graph, random_scores(graph, 0), budget=Budget(macs=0.9), scope=Looking(), tolerance=0.5
    )

    assert found == [[2 + 1 + 5, 4 + 1 + 3]]

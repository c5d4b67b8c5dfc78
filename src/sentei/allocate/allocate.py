"""Allocate: scores and a budget in, a width for each group out; and the plan that follows.

The scope orders all channels. Removing them one by one in that order is a path along which every
cost falls, so bisection finds the first point that meets the budget. Where one step is too coarse
for the tolerance, groups get steps back as long as the budget holds.
"""

# Shapes: N = allocations, G = groups, J = costs with a limit.

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Protocol

import numpy as np

from sentei.allocate.base import SCOPES, Ranking, Scope
from sentei.allocate.budget import Budget
from sentei.allocate.grid import Grid, RoundTo, check_widths, make_grid
from sentei.allocate.path import Path, ascending_scores
from sentei.cost import CostModel
from sentei.criteria import Scores
from sentei.criteria.base import FloatArray
from sentei.errors import BudgetError, PruningError, check_type
from sentei.graph import Graph
from sentei.graph.groups import lowest
from sentei.index.atoms import BoolArray, IntArray
from sentei.surgery import Plan

_POINTS = 64  # points of the path costed at once
_STARTS = 32  # points of the path from which a closer allocation is looked for
_HIDDEN = 256  # steps given back that no cost shows
_FEW = 2**14  # so many allocations are all tried

# When nothing else comes close: samples of each radius (steps of a group), and how many groups
# move in a sample.
_RADII = (1, 2, 4, 8)
_SAMPLES = 4096
_MOVED = 6


class Costs(Protocol):
    """What counts costs: a :class:`~sentei.cost.CostModel`."""

    def costs(self, widths: IntArray, *, names: Sequence[str]) -> Mapping[str, Any]:
        """Return costs by name, arrays [N] for widths [N, G]."""

    def group_saving(self, name: str, widths: IntArray) -> FloatArray:
        """Return what one channel of each group costs, shape [G]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Allocation:
    """How many channels each group keeps.

    Attributes:
        graph: The graph.
        widths: Channels each group keeps, shape [G].
        before: Costs of the whole network, by cost with a limit.
        after: Costs with these widths.
        targets: The limits, in the units of the costs.
        notes: What a user should know: groups kept whole, groups at the floor, repairs.
    """

    graph: Graph = field(repr=False)
    widths: IntArray
    before: Mapping[str, float]
    after: Mapping[str, float]
    targets: Mapping[str, float]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        costs = [
            f"{name}: {self.before[name]:.0f} -> {self.after[name]:.0f} "
            f"({self.after[name] / self.before[name]:.2%}), limit {target:.0f}"
            for name, target in self.targets.items()
        ]
        groups = [
            f"  {g.name:40s} {g.width:5d} -> {width:5d}"
            for g, width in zip(self.graph.groups, self.widths.tolist(), strict=True)
            if width < g.width
        ]
        return "\n".join([*costs, *groups, *self.notes])


def plan(  # noqa: PLR0913  (one verb of the public interface; everything after scores is named)
    graph: Graph,
    scores: Scores,
    *,
    budget: Budget | str,
    scope: str | Scope = "cost-aware",
    round_to: RoundTo = 1,
    floor: float = 0.1,
    tolerance: float = 0.005,
    costs: Costs | None = None,
) -> Plan:
    """Return which channels go to meet a budget: :func:`allocate`, then the lowest scores.

    Args:
        graph: The graph.
        scores: Of its channels; low is removed first.
        budget: What the result may cost, such as ``Budget(macs=0.5)`` or ``"macs=0.5"``.
        scope: What orders the channels of different groups, or its name.
        round_to: Widths of pruned groups are multiples of it, >= 1; by group name, 1 for others.
        floor: Least share of a group that stays, in [0, 1]; 0 leaves one channel (a row).
        tolerance: How far below its limit the binding cost may end, relative, in [0, 1).
        costs: Compiled costs of ``graph``; by default compiled here.

    Raises:
        BudgetError: No allocation meets the budget within the tolerance.
        PruningError: The scores do not fit the graph.
        TypeError: The graph, the scores or the budget are something else.
        ValueError: A number is out of range.
        UnknownNameError: There is no such scope or group.
    """
    allocation = allocate(
        graph,
        scores,
        budget=budget,
        scope=scope,
        round_to=round_to,
        floor=floor,
        tolerance=tolerance,
        costs=costs,
    )
    return plan_widths(graph, scores, allocation.widths)


def plan_widths(graph: Graph, scores: Scores, widths: IntArray) -> Plan:
    """Return the plan that keeps the highest scores of each group.

    Equal scores go in the order of the channels. Where rows must stay equal, the choice is made
    in each row.

    Args:
        graph: The graph.
        scores: Of its channels.
        widths: Channels each group keeps, integers [G].

    Raises:
        PruningError: The scores do not fit the graph, or a group cannot have its width.
    """
    widths = np.asarray(widths, dtype=np.int64)
    values = _fitting(graph, scores)
    check_widths(graph, widths)
    keep = np.ones(graph.num_channels, dtype=np.bool_)
    for group, own, width in zip(graph.groups, values, widths.tolist(), strict=True):
        gone = (group.width - width) // group.num_rows
        keep[group.first + lowest(group, own, gone)] = False
    return Plan.of_checked(graph, keep)


def allocate(  # noqa: PLR0913  (one verb of the public interface; see plan)
    graph: Graph,
    scores: Scores,
    *,
    budget: Budget | str,
    scope: str | Scope = "cost-aware",
    round_to: RoundTo = 1,
    floor: float = 0.1,
    tolerance: float = 0.005,
    costs: Costs | None = None,
    dense_widths: Mapping[str, int] | None = None,
) -> Allocation:
    """Return how many channels each group keeps to meet a budget.

    Every cost ends at or below its limit, and the one that binds at ``limit * (1 - tolerance)``
    or above; a budget that the whole network meets removes nothing.

    Args:
        graph: The graph; :func:`plan` describes the arguments that are not here.
        scores: Of its channels.
        budget: What the result may cost.
        scope: What orders the channels of different groups.
        round_to: Widths of pruned groups are multiples of it.
        floor: Least share of a group that stays.
        tolerance: How far below its limit the binding cost may end.
        costs: Compiled costs of ``graph``.
        dense_widths: What the floor is a share of, by group name, where earlier rounds have
            pruned the network; a group that is not named, by default every one: its width.

    Raises:
        BudgetError: No allocation meets the budget within the tolerance; the message gives the
            nearest ones, or the lowest cost that the floor leaves reachable.
        PruningError: The scores do not fit the graph.
        ValueError: A number is out of range.
        UnknownNameError: There is no such scope or group.
    """
    check_type("graph", graph, Graph)
    check_type("scores", scores, Scores)
    budget = Budget.of(budget)
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance={tolerance}; expected a share of the limit in [0, 1)")
    chosen = SCOPES[scope]() if isinstance(scope, str) else scope
    values = _fitting(graph, scores)
    grid = make_grid(graph, round_to=round_to, floor=floor, dense_widths=dense_widths)
    meter = _meter(CostModel.of(graph) if costs is None else costs, graph, budget)
    ranking = Ranking(
        graph=graph,
        scores=tuple(ascending_scores(g, own) for g, own in zip(graph.groups, values, strict=True)),
        comparable=scores.comparable,
        savings=meter.savings(graph.widths),
        num_weights=_num_weights(graph),
    )
    _check_reachable(grid, meter, f"floor={floor} and round_to={round_to}")
    path = Path(grid=grid, keys=chosen.keys(ranking))
    search = _Search(path=path, meter=meter, tolerance=tolerance)
    widths, repaired = search.run()
    before = {g.name: (dense_widths or {}).get(g.name, g.width) for g in graph.groups}
    return Allocation(
        graph=graph,
        widths=widths,
        before=meter.before,
        after=meter.costs_of(widths),
        targets=meter.targets,
        notes=(*grid.notes, *_notes(before, grid, widths, floor), *repaired),
    )


def check_reachable(
    graph: Graph,
    budget: Budget | str,
    *,
    round_to: RoundTo = 1,
    floor: float = 0.1,
    costs: Costs | None = None,
) -> None:
    """Refuse a budget that no allocation meets, whatever the scores; :func:`plan` has the arguments.

    Raises:
        BudgetError: The narrowest widths cost more; the message gives the lowest cost.
        ValueError: A number is out of range.
        UnknownNameError: There is no such group.
    """
    budget = Budget.of(budget)
    grid = make_grid(graph, round_to=round_to, floor=floor)
    meter = _meter(CostModel.of(graph) if costs is None else costs, graph, budget)
    _check_reachable(grid, meter, f"floor={floor} and round_to={round_to}")


def _fitting(graph: Graph, scores: Scores) -> list[FloatArray]:
    """Return the scores in the order of the groups, checked."""
    values = [np.asarray(scores.by_group.get(g.name, ()), dtype=np.float64) for g in graph.groups]
    fit = all(own.shape == (g.width,) for g, own in zip(graph.groups, values, strict=True))
    # One look at all of them: most are finite, and a call a group would take longer.
    if fit and np.isfinite(np.concatenate([np.empty(0), *values])).all():
        return values
    for group, own in zip(graph.groups, values, strict=True):
        if own.shape != (group.width,) or not np.isfinite(own).all():
            raise PruningError(
                f"group {group.name}: scores have shape {list(own.shape)}; expected "
                f"{group.width} finite numbers; score the graph you plan for"
            )
    return values


def _notes(
    before: Mapping[str, int], grid: Grid, widths: IntArray, floor: float
) -> tuple[str, ...]:
    at_floor = [
        name
        for (name, whole), own, width in zip(
            before.items(), grid.choices, widths.tolist(), strict=True
        )
        if width == own[0] < whole
    ]
    if not at_floor:
        return ()
    names = ", ".join(at_floor[:3]) + (f" and {len(at_floor) - 3} more" if at_floor[3:] else "")
    return (f"{names}: as narrow as floor={floor} lets them be",)


def _num_weights(graph: Graph) -> FloatArray:
    """Return how many elements of parameters one channel of each group owns, mean, shape [G]."""
    sizes = {v.name: math.prod(v.shape) for v in graph.recording.values if v.kind == "param"}
    owned = [
        sum(sizes.get(m.tensor, 0) * float((m.channels >= 0).mean()) for m in group.members)
        for group in graph.groups
    ]
    return np.array(owned) / graph.widths


# Costs against limits ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class _Meter:
    """The costs that have a limit.

    Attributes:
        model: Counts them.
        before: Costs of the whole network.
        targets: Their limits.
    """

    model: Costs
    before: Mapping[str, float]
    targets: Mapping[str, float]

    def costs_NJ(self, widths_NG: IntArray) -> FloatArray:
        found = self.model.costs(widths_NG, names=tuple(self.targets))
        return np.stack([found[name] for name in self.targets], axis=1).astype(np.float64)

    def loads(self, widths_NG: IntArray) -> FloatArray:
        """Return the largest of cost / limit, shape [N]: at most 1 meets the budget."""
        limits_J = np.array(list(self.targets.values()))
        return (self.costs_NJ(widths_NG) / limits_J).max(axis=1)

    def costs_of(self, widths_G: IntArray) -> dict[str, float]:
        return dict(zip(self.targets, self.costs_NJ(widths_G[None])[0].tolist(), strict=True))

    def savings(self, widths_G: IntArray) -> FloatArray:
        """Return the share of the limited costs that a channel saves, mean over them, [G]."""
        shares = [self.model.group_saving(n, widths_G) / self.before[n] for n in self.targets]
        return np.mean(shares, axis=0)

    def describe(self, widths_G: IntArray) -> str:
        costs = self.costs_of(widths_G)
        return ", ".join(f"{n}={v:.0f} ({v / self.before[n]:.4f})" for n, v in costs.items())


def _meter(model: Costs, graph: Graph, budget: Budget) -> _Meter:
    names = tuple(budget.limits)
    found = model.costs(graph.widths[None], names=names)
    before = {name: float(found[name][0]) for name in names}
    return _Meter(model=model, before=before, targets=budget.targets(before))


def _check_reachable(grid: Grid, meter: _Meter, rules: str) -> None:
    narrowest = np.array([own[0] for own in grid.choices], dtype=np.int64)
    lowest = meter.costs_of(narrowest)
    for name, target in meter.targets.items():
        if lowest[name] > target:
            dense = meter.before[name]
            raise BudgetError(
                f"{name}: a limit of {target:.0f} ({target / dense:.4f} of the original) cannot be "
                f"met: {lowest[name]:.0f} ({lowest[name] / dense:.4f}) is the lowest that {rules} "
                f"leave reachable in {len(grid.choices)} groups; raise the limit, or lower the floor"
            )


# The search -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class _Search:
    """Looks for widths whose load lies in [1 - tolerance, 1]."""

    path: Path
    meter: _Meter
    tolerance: float

    def run(self) -> tuple[IntArray, tuple[str, ...]]:
        """Return widths that meet the budget, and a note if they leave the path.

        Raises:
            BudgetError: There are none, or none was found.
        """
        point = self._first_that_fits()
        start = self.path.widths(np.array([point]))[0]
        if point == 0 or self._is_close(start):
            return start, ()
        found = self._fill(start, num_hidden=_HIDDEN)
        if not self._is_close(found):
            found = self._try_all() if self._are_few else self._try_more(point, found)
        if not self._is_close(found):
            raise BudgetError(self._explain(point, found))
        changed = int((found != start).sum())
        return found, (f"{changed} groups differ from the order of the scores to end closer",)

    @property
    def _are_few(self) -> bool:
        return self.path.grid.num_allocations <= _FEW

    def _is_close(self, widths_G: IntArray) -> bool:
        return bool(self._close(self.meter.loads(widths_G[None]))[0])

    def _close(self, loads_N: FloatArray) -> BoolArray:
        return (loads_N <= 1) & (loads_N >= 1 - self.tolerance)

    def _first_that_fits(self) -> int:
        """Return the first point of the path that meets the budget; the last one does."""
        low, high = 0, self.path.length
        while low < high:
            points = np.unique(np.linspace(low, high, _POINTS).astype(np.int64))
            place = int(np.argmax(self.meter.loads(self.path.widths(points)) <= 1))
            high = int(points[place])
            low = int(points[place - 1]) + 1 if place else high
        return high

    def _fill(self, widths_G: IntArray, *, num_hidden: int = 0) -> IntArray:
        """Return the widths with steps given back, the most important first, until close.

        Args:
            widths_G: Widths that meet the budget.
            num_hidden: Most steps to give back that do not bring the load up: a maximum over
                operators hides them until others follow.
        """
        load = float(self.meter.loads(widths_G[None])[0])
        while load < 1 - self.tolerance:
            wider = self.path.wider(widths_G)
            loads = self.meter.loads(wider) if len(wider) else np.empty(0)
            picks = np.flatnonzero((loads <= 1) & (loads > load))
            if not len(picks) and num_hidden:
                num_hidden -= 1
                picks = np.flatnonzero(loads == load)
            if not len(picks):
                break
            widths_G, load = wider[picks[0]], float(loads[picks[0]])
        return widths_G

    def _try_more(self, point: int, best: IntArray) -> IntArray:
        """Return the closest of fills from points further down and from one step aside."""
        further = np.arange(point + 1, min(point + _STARTS, self.path.length) + 1)
        starts = np.concatenate([self.path.widths(further), self.path.narrower(best)])
        for start in np.unique(starts, axis=0)[::-1]:
            found = self._fill(start)
            loads = self.meter.loads(np.stack([best, found]))
            best = found if loads[1] > loads[0] else best
            if self._is_close(best):
                return best
        return self._try_around(best)

    def _try_around(self, best: IntArray) -> IntArray:
        """Return the close allocation of least damage near ``best``, or ``best``.

        Steps up in one group and down in another reach loads that steps in one direction jump
        over. The samples are the same in every run.
        """
        choices = self.path.grid.choices
        at = [int(np.searchsorted(own, w)) for own, w in zip(choices, best, strict=True)]
        rng = np.random.default_rng(0)
        for radius in _RADII:
            moves_NG = rng.integers(-radius, radius + 1, size=(_SAMPLES, len(best)))
            moves_NG[rng.random(moves_NG.shape) > _MOVED / len(best)] = 0
            near_NG = np.stack(
                [
                    own[np.clip(start + moves, 0, len(own) - 1)]
                    for own, start, moves in zip(choices, at, moves_NG.T, strict=True)
                ],
                axis=1,
            )
            close = near_NG[self._close(self.meter.loads(near_NG))]
            if len(close):
                return close[np.argmin(self.path.damage(close))]
        return best

    def _try_all(self) -> IntArray:
        """Return, of all allocations, the close one with the least damage, or the closest."""
        every = self._all_allocations()
        loads = self.meter.loads(every)
        close = self._close(loads)
        if close.any():
            candidates = every[close]
            return candidates[np.argmin(self.path.damage(candidates))]
        return every[np.argmax(np.where(loads <= 1, loads, -1.0))]

    def _all_allocations(self) -> IntArray:
        return np.array(list(product(*self.path.grid.choices)), dtype=np.int64)

    def _explain(self, point: int, below: IntArray) -> str:
        others = (
            self._all_allocations()
            if self._are_few
            else np.concatenate([self.path.widths(np.array([point - 1])), self.path.wider(below)])
        )
        loads = self.meter.loads(others)
        above = others[np.argmin(np.where(loads > 1, loads, np.inf))]
        limits = ", ".join(
            f"{n}={t:.0f} ({t / self.meter.before[n]:.4f})" for n, t in self.meter.targets.items()
        )
        verb = "lies" if self._are_few else "was found"
        return (
            f"no allocation {verb} within {self.tolerance:.2%} below {limits}; the nearest below "
            f"has {self.meter.describe(below)}, the nearest above {self.meter.describe(above)}; "
            "ask for one of them, raise the tolerance, or lower round_to"
        )

"""One round of pruning, and several seen as one removal from the dense network."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from sentei.allocate import Allocation, Budget, allocate
from sentei.allocate.allocate import plan_widths
from sentei.cost import CostModel
from sentei.criteria import Criterion, Scores, score
from sentei.errors import BudgetError, PlanError
from sentei.graph import Graph, trace
from sentei.pipeline.config import DEFAULT_FLOOR, DEFAULT_SCOPE, DEFAULT_TOLERANCE
from sentei.records import summarise_scores
from sentei.surgery import Plan, Verification, apply, plan_removal, verify
from sentei.train.checks import preserve_modes

_ROUNDINGS = (16, 8, 4)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """How the channels to remove are chosen.

    Args:
        criterion: How important a channel is: a name, or the criterion itself.
        scope: How channels of different groups are compared.
        round_to: Widths become multiples of it, >= 1; None takes the largest of 16, 8 and 4 with
            which the budget can be met, as fast runtimes like such widths.
        floor: Share of each group that always stays, in (0, 1].
        tolerance: How far below its limit the budgeted cost may end, relative, in [0, 1).
        protect: Names of modules or parameters that stay whole, what they read included.
        dense_widths: What the floor is a share of, by group name, where earlier rounds have
            pruned the network; None is the widths it has.
    """

    criterion: str | Criterion
    scope: str = DEFAULT_SCOPE
    round_to: int | None = None
    floor: float = DEFAULT_FLOOR
    tolerance: float = DEFAULT_TOLERANCE
    protect: tuple[str, ...] = ()
    dense_widths: Mapping[str, int] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Round:
    """What one round of pruning did.

    Attributes:
        graph: Of the model before the round.
        scores: Of its channels.
        allocation: How many of them each group keeps, and what a reader should know of that.
        plan: What went.
        model: The smaller network, not trained since.
        verification: How near it is to the masked original.
    """

    graph: Graph = field(repr=False)
    scores: Scores
    allocation: Allocation
    plan: Plan
    model: nn.Module = field(repr=False)
    verification: Verification


def prune_round(
    model: nn.Module,
    inputs: Any,  # noqa: ANN401 - whatever the model takes
    *,
    budget: Budget,
    selection: Selection,
    batches: Iterable[Sequence[Tensor]] | None,
    scoring_device: str | None = None,
) -> Round:
    """Trace, score, plan, apply and verify; ``model`` stays as it is.

    Args:
        model: The network.
        inputs: Example inputs, of the device the model is on; verification runs on them too.
        budget: What the smaller network may cost.
        selection: How its channels are chosen.
        batches: (images, labels) pairs for a criterion that needs them.
        scoring_device: Where to score a model that is on the CPU; it returns there. None scores
            it where it is.

    Raises:
        PruningError: a stage fails; its message says why and what to do.
    """
    with preserve_modes(model):
        model.eval()  # verification runs in this mode, and has to follow the path that was traced
        graph = trace(model, inputs, protect=selection.protect)
        if scoring_device is not None:
            model.to(scoring_device)
        scores = score(graph, selection.criterion, batches=batches)
        if scoring_device is not None:
            model.cpu()
        allocation = _allocate(graph, scores, budget, selection)
    allocation = replace(allocation, notes=(*scores.notes, *allocation.notes))
    chosen = plan_widths(graph, scores, allocation.widths)
    small = apply(chosen, model)
    verification = verify(model, small, chosen, inputs)
    return Round(
        graph=graph,
        scores=scores,
        allocation=allocation,
        plan=chosen,
        model=small,
        verification=verification,
    )


def _allocate(graph: Graph, scores: Scores, budget: Budget, selection: Selection) -> Allocation:
    """Return the allocation with the widths the selection asks for, or the best for speed."""
    costs = CostModel.of(graph)

    def rounded(round_to: int) -> Allocation:
        return allocate(
            graph,
            scores,
            budget=budget,
            scope=selection.scope,
            round_to=round_to,
            floor=selection.floor,
            tolerance=selection.tolerance,
            costs=costs,
            dense_widths=selection.dense_widths,
        )

    if selection.round_to is not None:
        return rounded(selection.round_to)
    # Steps of more than a quarter of a typical group leave the scores too little say.
    typical = float(np.median(graph.widths)) if graph.groups else 0.0
    for round_to in (n for n in _ROUNDINGS if 4 * n <= typical):
        with suppress(BudgetError):
            found = rounded(round_to)
            note = f"widths are multiples of {round_to}, which fast runtimes like"
            return replace(found, notes=(*found.notes, note))
    found = rounded(1)
    note = "no widths in multiples of 4 meet the budget; set round_to and a tolerance for speed"
    return replace(found, notes=(*found.notes, note))


Kept = dict[str, list[int]]
"""Group -> its channels of the dense network that are still there."""


def all_channels(graph: Graph) -> Kept:
    """Return every channel of every group."""
    return {group.name: list(range(group.width)) for group in graph.groups}


def compose(kept: Kept, removal: Plan) -> Kept:
    """Return what is left of the dense network after another round.

    Args:
        kept: What was left before it.
        removal: A plan in the coordinates of the network before the round.

    Raises:
        PlanError: the round knows a group that the dense network does not have.
    """
    result = dict(kept)
    for group in removal.graph.groups:
        gone = removal.removed.get(group.name, ())
        if not gone:
            continue
        before = kept.get(group.name, [])
        if len(before) != group.width:
            raise PlanError(
                f"group {group.name} has {group.width} channels after earlier rounds, of which the "
                f"dense network knows {len(before)}: its groups changed while it was pruned; prune "
                "in one shot (steps = 1)"
            )
        result[group.name] = np.delete(np.array(before), list(gone)).tolist()
    return result


def plan_of(graph: Graph, kept: Kept) -> Plan:
    """Return the plan that leaves ``kept`` of the dense network that ``graph`` was traced from."""
    return plan_removal(
        graph,
        {g.name: sorted(set(range(g.width)) - set(kept[g.name])) for g in graph.groups},
    )


def group_records(graph: Graph, scores: Scores) -> list[dict[str, Any]]:
    """Return every group of the dense network, and every layer that is frozen, as JSON values.

    They have the fields of :class:`sentei.records.GroupRecord` but ``width_after``.

    Args:
        graph: Of the dense network.
        scores: Of its channels.
    """
    groups = [
        {
            "name": group.name,
            "width_before": group.width,
            "scores": summarise_scores(scores.by_group[group.name].tolist()),
            "frozen": None,
        }
        for group in graph.groups
    ]
    frozen = [
        {
            "name": name.rpartition(".")[0] or name,
            "width_before": width,
            "scores": (),
            "frozen": "; ".join(graph.frozen[name]),
        }
        for name, width in _frozen_widths(graph)
    ]
    return [*groups, *frozen]


def _frozen_widths(graph: Graph) -> list[tuple[str, int]]:
    """Return the weights whose outputs belong to no group, with the number of these."""
    found = []
    for name, parameter in graph.model.named_parameters():
        layout = graph.layouts.get(name)
        owned = layout is not None and layout.dims[0] is not None
        if name in graph.frozen and parameter.dim() > 1 and not owned:
            found.append((name, parameter.shape[0]))
    return found

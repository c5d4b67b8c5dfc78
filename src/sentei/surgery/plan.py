"""Plans: which channels go. Static, printable, JSON; nothing has changed yet."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sentei.errors import PlanError
from sentei.graph import Graph
from sentei.index.atoms import BoolArray, IntArray

PLAN_VERSION = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Channels to remove, in the coordinates of the traced model.

    Attributes:
        graph: The graph the plan was made for.
        removed: Group name -> channels to remove, ascending. Groups not named stay whole.
    """

    graph: Graph = field(repr=False)
    removed: Mapping[str, tuple[int, ...]]

    @cached_property
    def keep(self) -> BoolArray:
        """Which channels of all groups stay, shape [channels], True = keep."""
        return self.graph.keep(self.removed)

    @property
    def widths(self) -> IntArray:
        """Widths of all groups afterwards, shape [groups]: the recipe's integer form."""
        gone = [len(self.removed.get(g.name, ())) for g in self.graph.groups]
        return self.graph.widths - np.array(gone, dtype=np.int64)

    @classmethod
    def of_checked(cls, graph: Graph, keep: BoolArray) -> "Plan":
        """Return the plan of a mask that the groups can bear, which the plan holds from then on."""
        gone = np.flatnonzero(~keep)
        # Counted within each group: one list of all is cut up, instead of an array a group.
        widths = graph.widths
        firsts = np.cumsum(widths) - widths
        ends = np.searchsorted(gone, firsts + widths)
        counts = np.diff(ends, prepend=0)
        within = (gone - np.repeat(firsts, counts)).tolist()
        bounds = zip(graph.groups, (ends - counts).tolist(), ends.tolist(), strict=True)
        removed = {g.name: tuple(within[start:end]) for g, start, end in bounds if start < end}
        plan = cls(graph=graph, removed=removed)
        vars(plan)["keep"] = keep  # what the cached property would work out again
        return plan

    def to_json(self) -> str:
        """Return the plan as one JSON document."""
        document = {
            "version": PLAN_VERSION,
            "widths": {g.name: g.width for g in self.graph.groups},
            "removed": {name: list(indices) for name, indices in self.removed.items()},
        }
        return json.dumps(document)

    @classmethod
    def from_json(cls, text: str, graph: Graph) -> "Plan":
        """Return a plan read from JSON, checked against ``graph``.

        Raises:
            PlanError: The text is no plan, of another version, or made for another graph.
        """
        try:
            document = json.loads(text)
            version, widths = document["version"], document["widths"]
            removed = {str(k): [int(i) for i in v] for k, v in document["removed"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PlanError(
                f"this is not a plan ({error!r}); write plans with Plan.to_json"
            ) from error
        if version != PLAN_VERSION:
            raise PlanError(f"the plan has version {version}; this sentei reads {PLAN_VERSION}")
        own = {g.name: g.width for g in graph.groups}
        if widths != own:
            odd = sorted(k for k in {*widths, *own} if widths.get(k) != own.get(k))[:3]
            raise PlanError(
                f"the plan was made for another graph: groups {', '.join(odd)} differ; "
                "trace the model the plan was made for"
            )
        return plan_removal(graph, removed)

    def __str__(self) -> str:
        lines = []
        for group, width in zip(self.graph.groups, self.widths, strict=True):
            if width < group.width:
                lines.append(f"  {group.name:40s} {group.width:5d} -> {width:5d}")
        total = int(self.widths.sum())
        head = f"{self.graph.num_channels} -> {total} channels in {len(self.graph.groups)} groups"
        return "\n".join([head, *lines])


def plan_removal(graph: Graph, removed: Mapping[str, Sequence[int]]) -> Plan:
    """Return a plan that removes the given channels, by group name.

    Raises:
        UnknownNameError: A group does not exist, or is frozen (the message says why).
        PlanError: An index is out of range or twice, nothing would be left, or rows that must
            stay equal would not.
    """
    mask = graph.keep(removed)
    ordered = {n: tuple(sorted(int(i) for i in r)) for n, r in removed.items() if len(r) > 0}
    plan = Plan(graph=graph, removed=ordered)
    vars(plan)["keep"] = mask  # what the cached property would work out again
    return plan


def plan_keep(graph: Graph, keep: BoolArray) -> Plan:
    """Return a plan from a mask over the channels of all groups (True = keep).

    Raises:
        PlanError: The mask has another shape, nothing would be left of a group, or rows that must
            stay equal would not.
    """
    keep = np.array(keep, dtype=np.bool_)
    graph.check(keep)
    return Plan.of_checked(graph, keep)

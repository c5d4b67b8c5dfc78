"""Which widths each group may have: floor, rounding and rows."""

# Shapes: G = groups, W = widths a group may have.

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sentei.errors import PruningError
from sentei.graph import Graph, Group
from sentei.index.atoms import IntArray

RoundTo = int | Mapping[str, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """The widths each group may have.

    Attributes:
        choices: For every group its widths, ascending, G arrays [W]; the last is the whole group.
        notes: What the rules keep from being pruned, in words.
    """

    choices: tuple[IntArray, ...]
    notes: tuple[str, ...]

    @property
    def num_allocations(self) -> float:
        """Number of different allocations; may be infinite."""
        with np.errstate(over="ignore"):
            return float(np.prod([float(len(c)) for c in self.choices]))


def make_grid(
    graph: Graph,
    *,
    round_to: RoundTo,
    floor: float,
    dense_widths: Mapping[str, int] | None = None,
) -> Grid:
    """Return the widths each group may have.

    A pruned group has a width that is a multiple of ``round_to`` and of its number of rows, and
    at least the share ``floor`` of what it was, which ``dense_widths`` tells by name where earlier
    rounds have pruned it. A group that stays whole keeps its width.

    Raises:
        ValueError: ``floor`` is not in [0, 1], or ``round_to`` is below 1.
        UnknownNameError: ``round_to`` names a group that does not exist.
    """
    if not 0 <= floor <= 1:
        raise ValueError(f"floor={floor}; expected a share of the width in [0, 1]")
    multiples = _multiples(graph, round_to)
    least = [_least(g, floor, dense_widths or {}) for g in graph.groups]
    choices = [_choices(g, multiples[g.index], least[g.index]) for g in graph.groups]
    held = [
        g.name
        for g, own in zip(graph.groups, choices, strict=True)
        if len(own) == 1 < len(_choices(g, 1, least[g.index]))
    ]
    notes: tuple[str, ...] = ()
    if held:
        names = ", ".join(held[:3]) + (f" and {len(held) - 3} more" if len(held) > 3 else "")
        notes = (f"{names}: no multiple of round_to={round_to} below the width; kept whole",)
    return Grid(choices=tuple(choices), notes=notes)


def _multiples(graph: Graph, round_to: RoundTo) -> list[int]:
    named = round_to if isinstance(round_to, Mapping) else {g.name: round_to for g in graph.groups}
    found = [1] * len(graph.groups)
    for name, value in named.items():
        if value < 1:
            raise ValueError(f"round_to={value} for {name}; expected at least 1")
        found[graph[name].index] = value
    return found


def _least(group: Group, floor: float, dense_widths: Mapping[str, int]) -> int:
    # What floating point adds to 0.1 * 30 must not add a channel.
    least = math.ceil(floor * dense_widths.get(group.name, group.width) - 1e-9)
    return max(least, group.smallest)


def _choices(group: Group, multiple: int, lowest: int) -> IntArray:
    step = math.lcm(multiple, group.num_rows)
    return np.append(np.arange(-(-lowest // step) * step, group.width, step), group.width)


def check_widths(graph: Graph, widths: IntArray) -> None:
    """Refuse widths that the groups cannot have.

    Raises:
        PruningError: The number of widths is wrong, or a group cannot have its width.
    """
    if widths.shape != (len(graph.groups),):
        raise PruningError(
            f"widths have shape {list(widths.shape)}; expected one for each of the "
            f"{len(graph.groups)} groups"
        )
    rows = graph.num_rows
    impossible = (widths < rows) | (widths > graph.widths) | (widths % rows != 0)
    if impossible.any():
        index = int(np.argmax(impossible))
        group = graph.groups[index]
        multiple = f", a multiple of {group.num_rows}" if group.num_rows > 1 else ""
        raise PruningError(
            f"{group.name}: width {widths[index]} is not possible; choose one from "
            f"{group.smallest} to {group.width}{multiple}"
        )

"""Line charts over epochs."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sentei.report.elements import el
from sentei.report.scales import Scale
from sentei.report.svg import (
    UNITS,
    figure,
    horizontal,
    percent_of,
    stretched,
    text,
    vertical,
    viewport,
)

_LINE = 14.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """A value at a step.

    Args:
        step: Counts the epochs of all phases, from 0.
        phase: Counts the phases, from 0; between two of them the line breaks.
        value: What was measured.
        hover: Text shown on hover.
    """

    step: int
    phase: int
    value: float
    hover: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A named series; ``class_`` gives its colour."""

    name: str
    class_: str
    points: Sequence[Point]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of steps, ``first`` to ``last`` included, and the epochs at its ends."""

    name: str
    first: int
    last: int
    first_epoch: int
    last_epoch: int


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What a line chart shows.

    Args:
        lines: Series; at least one point among them.
        phases: In order, covering all steps.
        scale: Of the values.
        label: Turns a value into the text of a tick.
        reference: A value to compare with, and its name.
    """

    lines: Sequence[Line]
    phases: Sequence[Phase]
    scale: Scale
    label: Callable[[float], str]
    reference: tuple[float, str] | None = None


def lines(key: str, title: str, panel: Panel) -> ET.Element:
    """Return a line chart over the epochs, its phases side by side, each line named at its end."""
    top, height, right = 22, 190, 0.8
    num_steps = panel.phases[-1].last + 1

    def x(step: float) -> float:
        return (step + 0.5) / num_steps

    def y(value: float) -> float:
        return height * (1 - panel.scale(value))

    parts = [_phase_part(phase, x, top, height) for phase in panel.phases]
    for tick in panel.scale.ticks(4):
        parts.append(horizontal(0, 1, y(tick), class_="grid"))
        parts.append(text(0, y(tick) - 4, panel.label(tick), class_="tick on-plot"))
    if panel.reference:
        value, name = panel.reference
        parts.append(horizontal(0, 1, y(value), class_="reference"))
        parts.append(text(1, y(value) - 5, name, class_="tick on-plot end strong"))
    drawn = [line for line in panel.lines if line.points]
    label_ys = spread([y(line.points[-1].value) + 4 for line in drawn], _LINE)
    for line, label_y in zip(drawn, label_ys, strict=True):
        parts += _line_parts(line, x, y, height)
        end = x(line.points[-1].step)
        parts.append(text(end, label_y, line.name, class_=f"line-name {line.class_}", dx=9))
    description = "; ".join(
        f"{line.name}: {len(line.points)} points, first {line.points[0].hover}, "
        f"last {line.points[-1].hover}"
        for line in drawn
    )
    return figure(
        key, top + height + 22, title, f"{description}.", viewport(0, top, right, height, *parts)
    )


def _line_parts(
    line: Line, x: Callable[[float], float], y: Callable[[float], float], height: float
) -> list[ET.Element]:
    path, phase = "", -1
    for point in line.points:
        at = f"{UNITS * x(point.step):.5g} {UNITS * y(point.value) / height:.5g}"
        path += f"{'L' if point.phase == phase else 'M'}{at}"
        phase = point.phase
    parts = [stretched(path, class_=f"line {line.class_}")]
    radius = 3 if len(line.points) <= 40 else 1.5
    parts += [
        el(
            "circle",
            el("title", point.hover),
            cx=percent_of(x(point.step)),
            cy=f"{y(point.value):.5g}",
            r=radius,
            class_=f"dot {line.class_}",
            data_value=point.value,
        )
        for point in line.points
    ]
    return parts


def _phase_part(phase: Phase, x: Callable[[float], float], top: float, height: float) -> ET.Element:
    left, right = x(phase.first - 0.5), x(phase.last + 0.5)
    name = el(
        "svg",
        text(0, 12, phase.name, class_="phase", dx=5),
        x=percent_of(left),
        y=f"{-top}",
        width=percent_of(right - left),
        height=f"{top}",
        overflow="hidden",
    )
    alone = phase.last == phase.first
    side = "middle" if alone else "start"
    epochs = [text(x(phase.first), height + 16, str(phase.first_epoch), class_=f"tick {side}")]
    if not alone:
        epochs.append(text(x(phase.last), height + 16, str(phase.last_epoch), class_="tick end"))
    return el(
        "g", el("title", phase.name), name, vertical(left, -top, height, class_="edge"), *epochs
    )


def spread(positions: Sequence[float], distance: float) -> list[float]:
    """Return positions at least ``distance`` apart, moved as a whole as little as needed.

    Example:
        >>> spread([10.0, 12.0, 50.0], 10)
        [6.0, 16.0, 50.0]
    """
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    moved = list(positions)
    for low, high in pairwise(order):
        overlap = distance - (moved[high] - moved[low])
        if overlap > 0:
            moved[low] -= overlap / 2
            moved[high] += overlap / 2
    return moved

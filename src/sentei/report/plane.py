"""Scatter plot of accuracy against cost."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

# Pixels: about the width of a character, the height of a line, from a mark to its label.
_CHARACTER, _LINE, _GAP = 6.4, 14.0, 10.0
HEIGHT = 320.0


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A run in the plane.

    Args:
        number: Short label, shown at every width.
        name: Long label, shown where there is room; empty for none.
        x: Cost.
        y: Accuracy.
        class_: ``before`` or ``after``.
        hover: Text shown on hover.
        on_front: Whether no other mark is better in both.
    """

    number: str
    name: str
    x: float
    y: float
    class_: str
    hover: str
    on_front: bool = False


@dataclass(frozen=True, kw_only=True)
class Plane:
    """Scales and tick texts of a scatter plot, and what its axes measure."""

    x: Scale
    y: Scale
    x_label: Callable[[float], str]
    y_label: Callable[[float], str]
    x_title: str
    y_title: str


def scatter(key: str, title: str, marks: Sequence[Mark], plane: Plane) -> ET.Element:
    """Return a scatter plot with the front of best marks as a step line."""
    front = sorted((mark for mark in marks if mark.on_front), key=lambda mark: mark.x)
    parts = []
    if len(front) > 1:
        parts.append(stretched(_steps(front, plane), class_="front"))
    for mark, (side, label_y) in zip(marks, place_labels(marks, plane, HEIGHT), strict=True):
        parts.append(_mark(mark, plane, HEIGHT, side, label_y))
    description = f"{len(marks)} points; {len(front)} on the front of best ones."
    return chart(key, title, description, plane, parts)


def chart(
    key: str,
    title: str,
    description: str,
    plane: Plane,
    parts: Sequence[ET.Element],
    *,
    below: float = 0,
) -> ET.Element:
    """Return a figure of ``HEIGHT`` pixels with axes, and ``parts`` drawn on them.

    Args:
        key: Unique on the page; see :func:`~sentei.report.svg.figure`.
        title: What the figure is.
        description: What it shows, in a sentence.
        plane: The axes.
        parts: In the coordinates of the plot: fractions of its width, pixels of its height.
        below: Pixels left free under the titles, for more axes.
    """
    top, width = 26, 0.97
    inner = viewport(0, top, width, HEIGHT, *_axes(plane), *parts)
    return figure(key, top + HEIGHT + 44 + below, title, description, inner)


def _axes(plane: Plane) -> list[ET.Element]:
    height = HEIGHT
    parts = [text(0, -12, plane.y_title, class_="tick strong")]
    for tick in plane.y.ticks(5):
        y = height * (1 - plane.y(tick))
        parts.append(horizontal(0, 1, y, class_="grid"))
        parts.append(text(0, y - 4, plane.y_label(tick), class_="tick on-plot"))
    for tick in plane.x.ticks(5):
        parts.append(vertical(plane.x(tick), height, height + 5, class_="edge"))
        parts.append(text(plane.x(tick), height + 18, plane.x_label(tick), class_="tick middle"))
    parts.append(horizontal(0, 1, height, class_="edge"))
    parts.append(text(1, height + 38, plane.x_title, class_="tick strong end"))
    return parts


def _steps(front: Sequence[Mark], plane: Plane) -> str:
    corners = [(UNITS * plane.x(m.x), UNITS * (1 - plane.y(m.y))) for m in front]
    path = f"M{corners[0][0]:.5g} {corners[0][1]:.5g}"
    return path + "".join(f"H{x:.5g}V{y:.5g}" for x, y in corners[1:])


def _mark(mark: Mark, plane: Plane, height: float, side: str, label_y: float) -> ET.Element:
    x, y = plane.x(mark.x), height * (1 - plane.y(mark.y))
    label = text(
        x, label_y, mark.number, class_=f"mark-name {side}", dx=_GAP if side == "" else -_GAP
    )
    if mark.name:
        label.append(el("tspan", f"\u2002{mark.name}", class_="long"))
    return el(
        "g",
        el("title", mark.hover),
        el(
            "circle",
            cx=percent_of(x),
            cy=f"{y:.5g}",
            r="5.5",
            class_=f"mark {mark.class_}",
            data_value=mark.y,
        ),
        label,
        class_="row",
    )


def place_labels(
    marks: Sequence[Mark], plane: Plane, height: float, *, width: float = 900
) -> list[tuple[str, float]]:
    """Return side and baseline of each label, so that few overlap.

    Each takes the first free place of: right, left, then the same lower and higher; on the front,
    whose line leaves to the right, higher comes first. The page's width is not known here;
    ``width`` pixels stand for it.

    Returns:
        ``""`` for right of the mark or ``"end"`` for left of it, and the baseline in pixels.
    """
    taken = [(width * plane.x(m.x) - 6, height * (1 - plane.y(m.y)) - 6, 12.0, 12.0) for m in marks]
    places = []
    for mark in marks:
        x, y = width * plane.x(mark.x), height * (1 - plane.y(mark.y))
        length = _CHARACTER * len(f"{mark.number}  {mark.name}")
        options = [(side, y + 4 + shift) for shift in _shifts(mark) for side in ("", "end")]
        boxes = [
            (x + _GAP if side == "" else x - _GAP - length, base - 11, length, _LINE)
            for side, base in options
        ]
        free = [i for i, box in enumerate(boxes) if _fits(box, taken, width)]
        best = free[0] if free else int(boxes[0][0] + length > width)
        taken.append(boxes[best])
        places.append(options[best])
    return places


def _shifts(mark: Mark) -> tuple[float, ...]:
    return (-_LINE / 2 - 2, _LINE, 0) if mark.on_front else (0, _LINE, -_LINE)


Box = tuple[float, float, float, float]


def _fits(box: Box, taken: Sequence[Box], width: float) -> bool:
    x, y, w, h = box
    if x < 0 or x + w > width:
        return False
    return not any(
        x < other_x + other_w and other_x < x + w and y < other_y + other_h and other_y < y + h
        for other_x, other_y, other_w, other_h in taken
    )

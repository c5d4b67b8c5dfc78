"""Marks on a plane: dots, curves with bands, shaded ranges, labelled lines, rows under the axis."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

from sentei.report.elements import Child, el
from sentei.report.plane import HEIGHT, Plane
from sentei.report.svg import horizontal, percent_of, sample, stretched, text, trail, vertical

GUTTER = 0.06  # room at the left for the texts of the vertical axis, which sit inside the plot
NUM_COLOURS = 8
ROW = 34.0  # pixels of a row under the axis


def series(index: int) -> str:
    """Return the class of the ``index``-th series, which gives its colour and dashes."""
    return f"s{index % NUM_COLOURS + 1}"


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A curve over a plane.

    Args:
        name: In the legend.
        class_: Gives its colour.
        xs: Where it is read, increasing.
        ys: The curve there.
        low: Lower edge of a band; empty for none.
        high: Upper edge of a band; empty for none.
        hover: Text shown on hover.
    """

    name: str
    class_: str
    xs: Sequence[float]
    ys: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    hover: str = ""


def traces(plane: Plane, drawn: Sequence[Trace]) -> list[ET.Element]:
    """Return all bands, then all curves, so that no band hides a curve."""
    parts = [_band(plane, trace) for trace in drawn if len(trace.low)]
    for trace in drawn:
        path = trail(_places(plane, trace.xs, trace.ys))
        line = stretched(path, class_=f"trace {trace.class_}")
        parts.append(el("g", el("title", trace.hover or trace.name), line))
    return parts


def _band(plane: Plane, trace: Trace) -> ET.Element:
    upper = _places(plane, trace.xs, trace.high)
    lower = _places(plane, trace.xs, trace.low)
    return stretched(trail([*upper, *reversed(lower)]) + "Z", class_=f"band {trace.class_}")


def _places(plane: Plane, xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    return [(plane.x(x), plane.y(y)) for x, y in zip(xs, ys, strict=True)]


def legend(drawn: Sequence[Trace]) -> list[Child]:
    """Return one entry a curve."""
    return [el("span", sample(f"trace {t.class_}"), f" {t.name}", class_="legend") for t in drawn]


def dot(
    plane: Plane, x: float, y: float, *, class_: str, hover: str, radius: float = 4
) -> ET.Element:
    """Return a dot that keeps the value of its height."""
    return el(
        "circle",
        el("title", hover),
        cx=percent_of(plane.x(x)),
        cy=f"{HEIGHT * (1 - plane.y(y)):.5g}",
        r=f"{radius:g}",
        class_=class_,
        data_value=y,
    )


def shade(plane: Plane, span: tuple[float, float], *, class_: str, hover: str) -> ET.Element:
    """Return a range of the horizontal axis as an area over the whole height."""
    left, right = (plane.x(end) for end in span)
    return el(
        "rect",
        el("title", hover),
        x=percent_of(left),
        width=percent_of(right - left),
        y="0",
        height=f"{HEIGHT:g}",
        class_=class_,
    )


def upright(plane: Plane, x: float, words: str, *, class_: str, y: float) -> list[ET.Element]:
    """Return a vertical line and its name, ``y`` pixels below the top."""
    at = plane.x(x)
    side, shift = ("end", -5) if at > 0.8 else ("", 5)
    label = text(at, y, words, class_=f"tick on-plot strong {side}".rstrip(), dx=shift)
    return [vertical(at, 0, HEIGHT, class_=class_), label]


def level(plane: Plane, y: float, words: str) -> list[ET.Element]:
    """Return a horizontal line to compare with, and its name at the right."""
    at = HEIGHT * (1 - plane.y(y))
    return [
        horizontal(0, 1, at, class_="reference"),
        text(1, at - 5, words, class_="tick on-plot end strong"),
    ]


def row_below(
    plane: Plane, index: int, span: tuple[float, float], words: str, *, class_: str
) -> list[ET.Element]:
    """Return the ``index``-th row under the axis: a range as a bar, its words above it."""
    y = HEIGHT + 58 + ROW * index
    left, right = (plane.x(end) for end in span)
    ends = [vertical(end, y + 2, y + 12, class_=f"trace {class_}") for end in (left, right)]
    bar = horizontal(left, right, y + 7, class_=f"trace {class_}")
    return [text(0, y - 3, words, class_="tick"), bar, *ends]

"""Building stones of figures as inline SVG.

Horizontal positions are percentages and everything else is in pixels, so a figure fills any width
while its text keeps its size, without a script. Curves, which SVG cannot give in percentages, are
drawn in an inner viewport of 1000 by 1000 units that stretches. Colours live in the style sheet.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from sentei.report.elements import el

UNITS = 1000


def percent_of(fraction: float) -> str:
    """Return an SVG length relative to the viewport: 0.25 gives 25%."""
    return f"{100 * fraction:.5g}%"


def figure(key: str, height: float, title: str, description: str, *parts: ET.Element) -> ET.Element:
    """Return an SVG image with its title and description.

    Args:
        key: Unique on the page; the ids of title and description start with it.
        height: Pixels.
        title: What the figure is.
        description: What it shows, in a sentence, for people who do not see it.
        *parts: What it holds.
    """
    return el(
        "svg",
        el("title", title, id=f"{key}-title"),
        el("desc", description, id=f"{key}-desc"),
        *parts,
        class_="chart",
        width="100%",
        height=f"{height:g}",
        role="img",
        aria_labelledby=f"{key}-title",
        aria_describedby=f"{key}-desc",
    )


def viewport(x: float, y: float, width: float, height: float, *parts: ET.Element) -> ET.Element:
    """Return a part of a figure: ``x`` and ``width`` are fractions, the others pixels."""
    return el(
        "svg",
        *parts,
        x=percent_of(x),
        y=f"{y:g}",
        width=percent_of(width),
        height=f"{height:g}",
        overflow="visible",
    )


def text(x: float, y: float, words: str, *, class_: str, dx: float = 0) -> ET.Element:
    """Return a text at fraction ``x``, moved by ``dx`` pixels, its baseline at ``y`` pixels."""
    return el("text", words, x=percent_of(x), dx=f"{dx:g}", y=f"{y:g}", class_=class_)


def vertical(x: float, top: float, bottom: float, *, class_: str) -> ET.Element:
    """Return a vertical line at fraction ``x``."""
    at = percent_of(x)
    return el("line", x1=at, x2=at, y1=f"{top:g}", y2=f"{bottom:g}", class_=class_)


def horizontal(left: float, right: float, y: float, *, class_: str) -> ET.Element:
    """Return a horizontal line between two fractions."""
    at = f"{y:g}"
    return el("line", x1=percent_of(left), x2=percent_of(right), y1=at, y2=at, class_=class_)


def stretched(path: str, *, class_: str) -> ET.Element:
    """Return a path in units of 1/1000 of the viewport's width and height."""
    return el(
        "svg",
        el("path", d=path, class_=class_, vector_effect="non-scaling-stroke"),
        width="100%",
        height="100%",
        viewBox=f"0 0 {UNITS} {UNITS}",
        preserveAspectRatio="none",
        overflow="visible",
    )


def trail(points: Iterable[tuple[float, float]]) -> str:
    """Return the path through points given as fractions from the left and from the bottom.

    Example:
        >>> trail([(0.0, 0.0), (0.5, 1.0)])
        'M0 1000L500 0'
    """
    places = (f"{UNITS * x:.5g} {UNITS * (1 - y):.5g}" for x, y in points)
    return "M" + "L".join(places)


def sample(class_: str) -> ET.Element:
    """Return a short piece of a line for a legend; ``class_`` gives its colour and dashes."""
    line = el("line", x1="0", x2="26", y1="5", y2="5", class_=class_)
    return el("svg", line, class_="chart sample", width="26", height="10", aria_hidden="true")

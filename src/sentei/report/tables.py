"""Parts of a page: tables whose numbers keep their exact value, folds, figures, legends."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sentei.report import formats
from sentei.report.elements import Child, el


@dataclass(frozen=True, kw_only=True)
class Number:
    """A cell that shows ``shown`` and stands for ``value``; ``None`` shows as missing."""

    value: float | None
    shown: str


Cell = Number | str | ET.Element


def number(value: float | None, show: Callable[[float], str]) -> Number:
    """Return a cell for a number that may be missing."""
    return Number(value=value, shown=formats.MISSING if value is None else show(value))


def table(
    caption: str,
    headers: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    sortable: bool = False,
) -> ET.Element:
    """Return a table in a region that scrolls sideways; the first cell of a row heads it.

    Args:
        caption: What the table holds; also names the region.
        headers: One text a column.
        rows: One cell a column.
        sortable: Whether the headers sort the rows on a click.
    """
    rows = list(rows)
    numeric = [any(isinstance(row[i], Number) for row in rows) for i in range(len(headers))]
    head = el("tr")
    for header, is_number in zip(headers, numeric, strict=True):
        head.append(el("th", header, scope="col", class_="number" if is_number else None))
    body = el("tbody")
    for row in rows:
        body.append(el("tr", _cell("th", row[0], scope="row"), *(_cell("td", c) for c in row[1:])))
    return el(
        "div",
        el(
            "table",
            el("caption", caption),
            el("thead", head),
            body,
            class_="sortable" if sortable else None,
        ),
        class_="scroll",
        role="region",
        aria_label=caption,
        tabindex="0",
    )


def _cell(tag: str, cell: Cell, *, scope: str | None = None) -> ET.Element:
    if isinstance(cell, Number):
        return el(tag, cell.shown, scope=scope, class_="number", data_value=cell.value)
    return el(tag, cell, scope=scope)


def folded(summary: str, *children: Child, open_: bool = False) -> ET.Element:
    """Return content behind a line that opens and closes it."""
    return el(
        "details", el("summary", summary), *children, class_="folded", open="" if open_ else None
    )


def code(words: str) -> ET.Element:
    """Return a text in a fixed-width face: a name, a digest, a version."""
    return el("code", words)


def moment(created: str) -> ET.Element:
    """Return a time in UTC, given as ISO 8601, to the minute."""
    return el("time", f"{datetime.fromisoformat(created):%Y-%m-%d %H:%M} UTC", datetime=created)


def paragraph(*words: Child, class_: str | None = None) -> ET.Element:
    """Return a paragraph."""
    return el("p", *words, class_=class_)


def section(name: str, heading: str, *parts: ET.Element, level: int = 2) -> ET.Element:
    """Return a section under a heading; ``name`` is its id, unique on the page."""
    return el("section", el(f"h{level}", heading, id=name), *parts, aria_labelledby=name)


def contents(label: str, links: Iterable[tuple[str, str]]) -> ET.Element:
    """Return links to sections, given as (name, heading)."""
    items = [el("li", el("a", heading, href=f"#{name}")) for name, heading in links]
    return el("nav", el("ul", *items), aria_label=label)


def figure_of(chart: ET.Element, *caption: Child) -> ET.Element:
    """Return a chart under its caption."""
    return el("figure", el("figcaption", *caption), chart)


def swatch(class_: str, words: str) -> ET.Element:
    """Return an entry of a legend; ``class_`` gives the colour."""
    return el("span", el("i", class_=f"swatch {class_}"), words, class_="legend")

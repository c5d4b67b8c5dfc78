"""Figures with a row a group or setting: bars of widths, strips of scores, whiskers of times."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sentei.report import formats
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

# Shares of the width: names, drawing; the rest is for values.
_LABELS, _PLOT = 0.26, 0.56


def _row_label(name: str, y: float, height: float) -> ET.Element:
    """Return a name in the label column; a long one loses its beginning, never its end."""
    return el(
        "svg",
        el("title", name),
        text(1, height / 2 + 4, name, class_="label end", dx=-10),
        x="0",
        y=f"{y:g}",
        width=percent_of(_LABELS),
        height=f"{height:g}",
        overflow="hidden",
    )


def _row_value(words: str, y: float) -> ET.Element:
    """Return a text in the value column at the right."""
    return text(1, y, words, class_="value end")


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """One row of a chart of widths.

    Args:
        name: Label at the left.
        before: Length of the pale bar, >= 0.
        after: Length of the solid bar, >= 0.
        value: Text at the right.
        hover: Text shown on hover.
        frozen: Whether the row is hatched.
    """

    name: str
    before: float
    after: float
    value: str
    hover: str
    frozen: bool


def paired_bars(key: str, title: str, rows: Sequence[PairRow], scale: Scale) -> ET.Element:
    """Return one row a group: the width before as a pale bar, the width after on top of it."""
    row_height, top = 21, 4
    height = top + row_height * len(rows) + 22
    parts = [
        el("defs", _hatch(f"{key}-hatch")),
        _value_axis(scale, top, top + row_height * len(rows), formats.integer),
    ]
    for index, row in enumerate(rows):
        y = top + index * row_height
        bars = [_bar(scale(row.before), row_height, "before", row.before)]
        bars.append(_bar(scale(row.after), row_height, "after", row.after))
        if row.frozen:
            bars.append(
                _bar(scale(row.after), row_height, "hatched", None, fill=f"url(#{key}-hatch)")
            )
        parts += [
            _row_label(row.name, y, row_height),
            el(
                "g",
                el("title", row.hover),
                viewport(_LABELS, y, _PLOT, row_height, *bars),
                _row_value(row.value, y + row_height / 2 + 4),
                class_="row frozen" if row.frozen else "row",
            ),
        ]
    total_before, total_after = sum(r.before for r in rows), sum(r.after for r in rows)
    description = (
        f"{len(rows)} groups in network order; together {total_before:,.0f} channels before "
        f"and {total_after:,.0f} after."
    )
    return figure(key, height, title, description, *parts)


def _bar(
    width: float, row_height: float, class_: str, value: float | None, *, fill: str | None = None
) -> ET.Element:
    return el(
        "rect",
        width=percent_of(width),
        y="3",
        height=f"{row_height - 6:g}",
        class_=class_,
        fill=fill,
        data_value=value,
    )


def _hatch(name: str) -> ET.Element:
    return el(
        "pattern",
        el("path", d="M0 0V6", class_="hatch"),
        id=name,
        width="5",
        height="6",
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    )


def _value_axis(
    scale: Scale, top: float, bottom: float, label: Callable[[float], str]
) -> ET.Element:
    parts = []
    for tick in scale.ticks(4):
        x = scale(tick)
        parts.append(vertical(x, 0, bottom - top, class_="grid"))
        parts.append(text(x, bottom - top + 15, label(tick), class_="tick middle"))
    return viewport(_LABELS, top, _PLOT, bottom - top, *parts)


@dataclass(frozen=True, kw_only=True)
class StripRow:
    """One row of a chart of scores.

    Args:
        name: Label at the left.
        removed: Finite values drawn as removed.
        kept: Finite values drawn as kept.
        quantiles: p10, p25, p50, p75, p90; may be empty.
        value: Text at the right.
        hover: Text shown on hover.
    """

    name: str
    removed: Sequence[float]
    kept: Sequence[float]
    quantiles: Sequence[float]
    value: str
    hover: str


def strips(key: str, title: str, rows: Sequence[StripRow], scale: Scale) -> ET.Element:
    """Return one row a group: a tick a channel, a line from p10 to p90, a dot at the median."""
    row_height, top = 25, 4
    bottom = top + row_height * len(rows)
    parts = [_value_axis(scale, top, bottom, formats.tick_log if scale.log else formats.tick)]
    if scale.gutter:
        parts.append(
            viewport(
                _LABELS,
                top,
                _PLOT,
                bottom - top,
                vertical(scale.gutter, 0, bottom - top, class_="edge"),
                text(scale.gutter / 2, bottom - top + 15, "\u2264\u20090", class_="tick middle"),
            )
        )
    for index, row in enumerate(rows):
        y = top + index * row_height
        parts += [
            _row_label(row.name, y, row_height),
            el(
                "g",
                el("title", row.hover),
                viewport(
                    _LABELS, y + 4, _PLOT, row_height - 8, *_strip(row, scale, row_height - 8)
                ),
                _row_value(row.value, y + row_height / 2 + 4),
                class_="row",
            ),
        ]
    description = (
        f"{len(rows)} groups in network order on a {'logarithmic' if scale.log else 'linear'} "
        f"scale; the table below gives the quantiles."
    )
    return figure(key, bottom + 22, title, description, *parts)


def _strip(row: StripRow, scale: Scale, height: float) -> list[ET.Element]:
    parts = [el("rect", width="100%", height=f"{height:g}", class_="row-area")]
    for class_, values in (("rug removed", row.removed), ("rug kept", row.kept)):
        columns = sorted({round(UNITS * scale(value)) for value in values})
        if columns:
            path = "".join(f"M{column} 0V{UNITS}" for column in columns)
            parts.append(stretched(path, class_=class_))
    if row.quantiles:
        p10, p25, p50, p75, p90 = (scale(value) for value in row.quantiles)
        middle = height / 2
        parts += [
            horizontal(p10, p90, middle, class_="whisker halo"),
            horizontal(p10, p90, middle, class_="whisker"),
            horizontal(p25, p75, middle, class_="box"),
            el(
                "circle",
                cx=percent_of(p50),
                cy=f"{middle:g}",
                r="4",
                class_="median",
                data_value=row.quantiles[2],
            ),
        ]
    return parts


@dataclass(frozen=True, kw_only=True)
class WhiskerRow:
    """One measured time, or another value with its spread.

    Args:
        name: Label at the left.
        class_: ``before`` or ``after``, or another that gives the bar its colour.
        low: Left end of the whisker.
        middle: Length of the bar.
        high: Right end of the whisker.
        value: Text at the right.
        hover: Text shown on hover.
    """

    name: str
    class_: str
    low: float
    middle: float
    high: float
    value: str
    hover: str


@dataclass(frozen=True, kw_only=True)
class WhiskerBlock:
    """Times that are compared with one another.

    Args:
        heading: Text above the rows, at the left.
        verdict: Text above the rows, at the right.
        rows: The times.
        scale: From 0; blocks may share one.
    """

    heading: str
    verdict: str
    rows: Sequence[WhiskerRow]
    scale: Scale


def whiskers(key: str, title: str, description: str, blocks: Sequence[WhiskerBlock]) -> ET.Element:
    """Return one block a setting, in it one bar a row with its range."""
    heading_height, row_height, gap = 24, 22, 14
    label, plot = 0.14, 0.66
    parts: list[ET.Element] = []
    y = 0.0
    for block in blocks:
        parts += [
            text(0, y + 15, block.heading, class_="heading"),
            text(1, y + 15, block.verdict, class_="verdict end"),
        ]
        y += heading_height
        for row in block.rows:
            bar = _bar(block.scale(row.middle), row_height, row.class_, row.middle)
            parts += [
                text(0, y + row_height / 2 + 4, row.name, class_="label"),
                el(
                    "g",
                    el("title", row.hover),
                    viewport(
                        label, y, plot, row_height, bar, *_whisker(row, block.scale, row_height)
                    ),
                    _row_value(row.value, y + row_height / 2 + 4),
                    class_="row",
                ),
            ]
            y += row_height
        y += gap
    return figure(key, y, title, description, *parts)


def _whisker(row: WhiskerRow, scale: Scale, row_height: float) -> list[ET.Element]:
    low, high, y = scale(row.low), scale(row.high), row_height / 2
    return [
        horizontal(low, high, y, class_="spread"),
        vertical(low, y - 4, y + 4, class_="spread"),
        vertical(high, y - 4, y + 4, class_="spread"),
    ]

"""The page of a comparison: a plane, tables to sort, failures and provenance."""

import dataclasses
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

from sentei.records import atomic_write_text
from sentei.report import formats, plane
from sentei.report.comparison import Cell, Row, Sheet, cells, sheets
from sentei.report.elements import el
from sentei.report.page import document, json_data
from sentei.report.scales import Scale, linear_scale
from sentei.report.tables import Number, figure_of, section, table


def write_comparison(
    path: Path,
    *,
    title: str,
    rows: Sequence[Row],
    provenance: Mapping[str, str],
    failures: Sequence[Mapping[str, str]] = (),
) -> None:
    """Write the page of a comparison as one self-contained HTML file.

    Args:
        path: File to write.
        title: Of the page.
        rows: Finished jobs, as :mod:`sentei.report.comparison` takes them.
        provenance: What a number needs to be a result: command, data, digests, hardware.
        failures: ``job`` and ``error`` of each job that failed.
    """
    found = cells(rows)
    parts = [_section("Accuracy against MACs", _figure(found, rows))] if rows else []
    parts += [_section(sheet.caption, _table(sheet)) for sheet in sheets(rows)]
    if failures:
        lines = [[f["job"], f["error"]] for f in failures]
        parts.append(_section("Failed", table("Failed jobs", ["job", "why"], lines)))
    lines = [[name, value] for name, value in provenance.items()]
    parts.append(_section("Provenance", table("Provenance", ["what", "value"], lines)))
    data = {
        "rows": [dict(row) for row in rows],
        "cells": [dataclasses.asdict(c) for c in found],
        "failures": [dict(f) for f in failures],
        "provenance": dict(provenance),
    }
    about = el("p", f"{formats.plural(len(rows), 'job')} finished", class_="about")
    atomic_write_text(path, document(title, about, parts, json_data(data)))


def _section(heading: str, content: ET.Element) -> ET.Element:
    name = "".join(c if c.isalnum() else "-" for c in heading.lower())
    return section(name, heading, content)


def _table(sheet: Sheet) -> ET.Element:
    lines = [
        [c if isinstance(c, str) else Number(value=c[0], shown=c[1]) for c in row]
        for row in sheet.rows
    ]
    return table(sheet.caption, list(sheet.headers), lines, sortable=True)


def _figure(found: Sequence[Cell], rows: Sequence[Row]) -> ET.Element:
    marks = [
        plane.Mark(
            number=str(i),
            name=c.method if c.on_front else "",
            x=c.macs_left,
            y=c.accuracy,
            class_="after",
            hover=f"{c.method}, {c.recipe}, {c.target}: {c.accuracy:.1%} at {c.macs_left:.3f}",
            on_front=c.on_front,
        )
        for i, c in enumerate(found, start=1)
    ]
    base = rows[0]["base_accuracy"]
    hover = f"before pruning: {base:.1%}"
    marks.append(plane.Mark(number="", name="before", x=1.0, y=base, class_="before", hover=hover))
    scale = linear_scale([m.x for m in marks])
    chart = plane.scatter(
        "pareto-chart",
        "Accuracy against the share of MACs that is left",
        marks,
        plane.Plane(
            x=Scale(low=max(scale.low, 0.0), high=scale.high, gutter=0.08),
            y=linear_scale([m.y for m in marks], padding=0.12),
            x_label=formats.tick_percent,
            y_label=formats.tick_percent,
            x_title="MACs left",
            y_title="Test accuracy",
        ),
    )
    return figure_of(chart, "Means over seeds; the line joins what nothing beats.")

"""Several runs side by side: a table to sort and a plane of accuracy against MACs."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from sentei.records import RunRecord
from sentei.report import formats, plane
from sentei.report.elements import el
from sentei.report.facts import Facts, pareto_front
from sentei.report.result import best_speedup
from sentei.report.scales import Scale, linear_scale, log_scale
from sentei.report.tables import Cell, folded, number, table

_MOST_NAMES = 16
_GUTTER = 0.08


def index_section(records: Sequence[RunRecord], facts: Sequence[Facts]) -> ET.Element:
    """Return the comparison of several runs."""
    rows = [
        _row(number_, record, derived)
        for number_, (record, derived) in enumerate(zip(records, facts, strict=True), start=1)
    ]
    headers = [
        "Run", "#", "Data", "Accuracy", "Change", "MACs", "Reduction", "Parameters",
        "Best speed-up", "Wall time",
    ]  # fmt: skip
    return el(
        "section",
        el("h2", "Comparison", id="comparison"),
        _figure(records),
        table("All runs", headers, rows, sortable=True),
        aria_labelledby="comparison",
    )


def _row(position: int, record: RunRecord, facts: Facts) -> list[Cell]:
    best = best_speedup(facts)
    compared = facts.comparisons
    return [
        el("a", record.name, href=f"#run-{position}"),
        number(position, formats.integer),
        record.data.name,
        number(record.after.accuracy, formats.percent),
        number(compared["accuracy"].difference, formats.points),
        number(record.after.macs, formats.count),
        number(compared["macs"].reduction, formats.times),
        number(record.after.num_parameters, formats.count),
        number(best.ratio if best else None, formats.times),
        number(facts.total_seconds, formats.duration),
    ]


def _figure(records: Sequence[RunRecord]) -> ET.Element:
    marks = _marks(records)
    if not any(mark.class_ == "after" for mark in marks):
        return el("p", "No run has a measured accuracy.", class_="none")
    chart = plane.scatter(
        "pareto-chart",
        "Accuracy against MACs",
        marks,
        plane.Plane(
            x=_cost_scale([mark.x for mark in marks]),
            y=_accuracy_scale([mark.y for mark in marks]),
            x_label=formats.tick_count,
            y_label=formats.tick_percent,
            x_title="MACs per sample",
            y_title="Top-1 accuracy",
        ),
    )
    return el(
        "figure",
        el(
            "figcaption",
            "Higher and further left is better; the line joins the runs that no other beats. ",
            el("span", el("i", class_="swatch dot before"), "before", class_="legend"),
            el("span", el("i", class_="swatch dot after"), "after pruning", class_="legend"),
        ),
        chart,
    )


def _marks(records: Sequence[RunRecord]) -> list[plane.Mark]:
    known = [(i, r, r.after.accuracy) for i, r in enumerate(records, 1)]
    after = [(i, r, accuracy) for i, r, accuracy in known if accuracy is not None]
    front = pareto_front([r.after.macs for _, r, _ in after], [a for *_, a in after])
    marks = [
        plane.Mark(
            number=str(i),
            name=record.name if len(after) <= _MOST_NAMES or place in front else "",
            x=record.after.macs,
            y=accuracy,
            class_="after",
            hover=f"{record.name}: {_coordinates(accuracy, record.after.macs)}",
            on_front=place in front,
        )
        for place, (i, record, accuracy) in enumerate(after)
    ]
    dense = sorted(
        {(r.before.macs, r.before.accuracy) for r in records if r.before.accuracy is not None}
    )
    marks += [
        plane.Mark(
            number="",
            name="before",
            x=macs,
            y=accuracy,
            class_="before",
            hover=f"before pruning: {_coordinates(accuracy, macs)}",
        )
        for macs, accuracy in dense
    ]
    return marks


def _coordinates(accuracy: float, macs: float) -> str:
    return f"{formats.percent(accuracy)} at {formats.count(macs)} MACs"


def _cost_scale(values: Sequence[float]) -> Scale:
    # The gutter is room for the texts of the other axis, which sit inside the plot.
    if min(values) > 0 and max(values) > 20 * min(values):
        return log_scale(values, gutter=_GUTTER)
    scale = linear_scale(values)
    return Scale(low=max(scale.low, 0.0), high=scale.high, gutter=_GUTTER)


def _accuracy_scale(values: Sequence[float]) -> Scale:
    return linear_scale(values, padding=0.12)


def run_details(position: int, record: RunRecord, children: Sequence[ET.Element]) -> ET.Element:
    """Return one run behind a line that opens it; ``position`` counts from 1."""
    details = folded(f"{position}\u2002{record.name}", *children)
    details.set("id", f"run-{position}")
    details.set("class", "run")
    return details

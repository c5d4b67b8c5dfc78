"""Measured times, setting by setting."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from sentei.records import LatencyRecord
from sentei.report import formats
from sentei.report import rows as row_charts
from sentei.report.facts import Facts, SpeedUp
from sentei.report.result import faster, setting_name
from sentei.report.scales import Scale, linear_scale
from sentei.report.tables import Cell, figure_of, folded, number, paragraph, swatch, table


def latency(facts: Facts, key: str) -> list[ET.Element]:
    """Return measured times of the dense and the pruned network, setting by setting."""
    if not facts.speedups:
        return [paragraph("No latency was measured.", class_="none")]
    ends = [_latest(speedup) for speedup in facts.speedups]
    # One scale lets runtimes be compared; far apart, the fast ones would be slivers.
    shared = max(ends) <= 12 * min(ends)
    blocks = [
        row_charts.WhiskerBlock(
            heading=setting_name(speedup.setting),
            verdict=_verdict(speedup),
            rows=_whisker_rows(speedup),
            scale=_time_scale(max(ends) if shared else end),
        )
        for speedup, end in zip(facts.speedups, ends, strict=True)
    ]
    description = f"{len(blocks)} settings; the table below gives medians and spreads."
    title = "Latency before and after pruning"
    chart = row_charts.whiskers(f"{key}-latency-chart", title, description, blocks)
    caption = (
        "Median time of one batch, whiskers from p10 to p90, bars from 0 on "
        f"{'one scale' if shared else 'a scale of its own for each setting'}: ",
        swatch("before", "before"),
        swatch("after", "after"),
    )
    return [
        figure_of(chart, *caption),
        folded("Latency as a table", _latency_table(facts.speedups)),
    ]


def _measured(speedup: SpeedUp) -> list[tuple[str, LatencyRecord]]:
    pairs = (("before", speedup.before), ("after", speedup.after))
    return [(name, timed) for name, timed in pairs if timed is not None]


def _latest(speedup: SpeedUp) -> float:
    return max(timed.p90_ms for _, timed in _measured(speedup))


def _time_scale(end: float) -> Scale:
    return linear_scale([0.0, end], from_zero=True, padding=0.02)


def _verdict(speedup: SpeedUp) -> str:
    if speedup.ratio is None:
        return ""
    return faster(speedup.ratio) + (", spreads overlap" if speedup.spread_overlaps else "")


def _whisker_rows(speedup: SpeedUp) -> list[row_charts.WhiskerRow]:
    return [
        row_charts.WhiskerRow(
            name=name,
            class_=name,
            low=timed.p10_ms,
            middle=timed.median_ms,
            high=timed.p90_ms,
            value=formats.milliseconds(timed.median_ms),
            hover=(
                f"{name}: median {formats.milliseconds(timed.median_ms)}, p10 to p90 "
                f"{formats.milliseconds(timed.p10_ms)} to {formats.milliseconds(timed.p90_ms)}, "
                f"{formats.plural(timed.num_runs, 'run')}"
            ),
        )
        for name, timed in _measured(speedup)
    ]


def _latency_table(speedups: Sequence[SpeedUp]) -> ET.Element:
    headers = ["Runtime", "Device", "Threads", "Batch", "Network", "Median", "p10", "p90", "Runs"]
    rows: list[list[Cell]] = [
        [
            f"{timed.runtime} {timed.library_version}",
            timed.device,
            number(timed.threads, formats.integer),
            number(timed.batch_size, formats.integer),
            name,
            number(timed.median_ms, formats.milliseconds),
            number(timed.p10_ms, formats.milliseconds),
            number(timed.p90_ms, formats.milliseconds),
            number(timed.num_runs, formats.integer),
            number(speedup.ratio, formats.times),
        ]
        for speedup in speedups
        for name, timed in _measured(speedup)
    ]
    return table("Latency of one batch", [*headers, "Speed-up"], rows, sortable=True)

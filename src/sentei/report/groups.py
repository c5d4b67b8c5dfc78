"""What happened to the groups: widths, scores, and which ones were frozen."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from sentei.records import GroupRecord
from sentei.report import formats
from sentei.report import rows as row_charts
from sentei.report.facts import Facts, ScoreSummary
from sentei.report.scales import Scale, linear_scale, log_scale
from sentei.report.tables import Cell, code, figure_of, folded, number, paragraph, swatch, table


def widths(
    groups: Sequence[GroupRecord], kept: Sequence[float | None], key: str, *, what: str = "group"
) -> list[ET.Element]:
    """Return the width of every group before and after.

    Args:
        groups: In network order.
        kept: Share of every group's channels that is left.
        key: Unique on the page; the figure's id starts with it.
        what: Whose widths they are, in the captions.
    """
    if not groups:
        return [paragraph("The record names no group.", class_="none")]
    rows = [
        row_charts.PairRow(
            name=group.name,
            before=group.width_before,
            after=group.width_after,
            value=_width_text(group),
            hover=_width_hover(group),
            frozen=group.frozen is not None,
        )
        for group in groups
    ]
    scale = linear_scale([0, *(g.width_before for g in groups)], from_zero=True, padding=0)
    chart = row_charts.paired_bars(
        f"{key}-widths-chart", f"Width of each {what} before and after pruning", rows, scale
    )
    legend = (
        "Channels of each group, in network order: ",
        swatch("before", "before"),
        swatch("after", "after"),
        swatch("frozen", "frozen") if any(row.frozen for row in rows) else None,
    )
    detail = table(
        f"Width of each {what}",
        ["Group", "Before", "After", "Kept", "Frozen because"],
        (
            [
                code(g.name),
                number(g.width_before, formats.integer),
                number(g.width_after, formats.integer),
                number(share, lambda value: formats.percent(value, 0)),
                g.frozen or "",
            ]
            for g, share in zip(groups, kept, strict=True)
        ),
        sortable=True,
    )
    return [figure_of(chart, *legend), folded("Widths as a table", detail)]


def _width_text(group: GroupRecord) -> str:
    if group.frozen is not None:
        return str(group.width_after)
    return f"{group.width_after}\u2009/\u2009{group.width_before}"


def _width_hover(group: GroupRecord) -> str:
    state = f"{group.name}: {group.width_after} of {group.width_before} channels kept"
    return state if group.frozen is None else f"{state}; frozen: {group.frozen}"


def scores(groups: Sequence[GroupRecord], facts: Facts, key: str) -> list[ET.Element]:
    """Return the distribution of the scores in every group that has some."""
    if not facts.scores:
        return [paragraph("The record holds no scores.", class_="none")]
    scored = [group for group in groups if group.scores]
    rows = [_strip_row(g, s) for g, s in zip(scored, facts.scores, strict=True)]
    scale = _score_scale([score for group in scored for score in group.scores])
    chart = row_charts.strips(
        f"{key}-scores-chart", "Scores of the channels of each group", rows, scale
    )
    removed = any(summary.num_lowest for summary in facts.scores)
    legend = (
        "One tick a channel, a dot at the median, lines over the middle 50 and 80 %. ",
        swatch("kept", "kept") if removed else None,
        swatch("removed", "lowest, as many as were removed") if removed else None,
    )
    detail = table(
        "Quantiles of the scores",
        ["Group", "Scores", "\u2264 0", "Min", "p10", "p25", "Median", "p75", "p90", "Max"],
        (
            [
                code(s.group),
                number(s.num_scores, formats.integer),
                number(s.num_not_positive, formats.integer),
                *(number(q, formats.significant) for q in s.quantiles),
            ]
            for s in facts.scores
        ),
        sortable=True,
    )
    return [figure_of(chart, *legend), folded("Scores as a table", detail)]


def _score_scale(values: Sequence[float]) -> Scale:
    num_positive = sum(value > 0 for value in values)
    # Mostly zero or negative (a signed criterion, say): a log scale would hide the data.
    if 2 * num_positive < len(values) or num_positive == 0:
        return linear_scale(values, padding=0.02)
    return log_scale(values, gutter=0.1 if num_positive < len(values) else 0.0)


def _strip_row(group: GroupRecord, summary: ScoreSummary) -> row_charts.StripRow:
    ordered = sorted(group.scores)
    num_removed = group.width_before - group.width_after
    low, *_, high = summary.quantiles
    return row_charts.StripRow(
        name=group.name,
        removed=ordered[: summary.num_lowest],
        kept=ordered[summary.num_lowest :],
        quantiles=summary.quantiles[1:-1],
        value=formats.signed(f"-{num_removed}") if num_removed else "",
        hover=(
            f"{group.name}: {formats.plural(summary.num_scores, 'score')} from "
            f"{formats.significant(low)} to {formats.significant(high)}, median "
            f"{formats.significant(summary.quantiles[3])}; "
            f"{num_removed} of {group.width_before} channels removed"
        ),
    )


def frozen(groups: Sequence[GroupRecord]) -> list[ET.Element]:
    """Return the groups that could not be pruned, and why."""
    rows: list[list[Cell]] = [
        [code(group.name), number(group.width_before, formats.integer), group.frozen]
        for group in groups
        if group.frozen is not None
    ]
    if not rows:
        why = "None: every group could be pruned." if groups else "The record names no group."
        return [paragraph(why, class_="none")]
    caption = f"{formats.plural(len(rows), 'group')} of {len(groups)} could not be pruned"
    return [table(caption, ["Group", "Width", "Because"], rows)]

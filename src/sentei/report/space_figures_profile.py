"""F5: how much every group and every stage keeps, in winners, losers and the uniform recipe."""

import itertools
import xml.etree.ElementTree as ET

from sentei.report import formats
from sentei.report.plane import HEIGHT, Plane, chart
from sentei.report.rows import WhiskerBlock, WhiskerRow, whiskers
from sentei.report.scales import Scale
from sentei.report.space_facts import ProfileFacts, Spread, StageFacts
from sentei.report.space_marks import GUTTER, Trace, dot, legend, traces
from sentei.report.space_population import Profile
from sentei.report.svg import stretched, text, trail, vertical
from sentei.report.tables import Cell, code, figure_of, folded, number, table

_MOST_LINES = 20
_SHARES = Scale(low=0, high=1.05)


def profile_figures(key: str, name: str, profile: Profile, facts: ProfileFacts) -> list[ET.Element]:
    """Return F5 of one regime: lines by depth, bars by stage, and both as a table."""
    return [
        _by_depth(f"{key}-depth", name, profile, facts),
        _by_stage(f"{key}-stages", name, facts),
        folded("Keep ratios as a table", _table(name, profile, facts)),
    ]


def _by_depth(key: str, name: str, profile: Profile, facts: ProfileFacts) -> ET.Element:
    depths = range(1, len(profile.groups) + 1)
    plane = Plane(
        x=Scale(low=0.5, high=len(depths) + 0.5, gutter=GUTTER),
        y=_SHARES,
        x_label=lambda value: formats.tick(value) if value == int(value) else "",
        y_label=formats.tick_percent,
        x_title="Group, in network order",
        y_title="Channels kept",
    )
    drawn = _traces(depths, profile, facts)
    parts = _stage_edges(plane, profile.stages)
    for row in profile.winners[:_MOST_LINES]:
        path = trail((plane.x(d), plane.y(kept)) for d, kept in zip(depths, row, strict=True))
        parts.append(stretched(path, class_="faint s1"))
    parts += traces(plane, drawn)
    parts += [
        dot(plane, d, facts.winners[d - 1].mean, class_="point s1", hover=_hover(d, profile, facts))
        for d in depths
    ]
    shown = min(len(profile.winners), _MOST_LINES)
    description = (
        f"{formats.plural(len(depths), 'group')}; {formats.plural(facts.num_winners, 'winner')}, "
        f"{formats.plural(facts.num_losers, 'loser')}."
    )
    return figure_of(
        chart(key, f"Keep ratio by depth, {name}", description, plane, parts),
        f"F5. {profile.rule}. Shaded: mean of the winners and one standard deviation; thin lines: "
        f"{'the' if shown == len(profile.winners) else 'the best'} winners. ",
        *legend(drawn),
    )


def _traces(depths: range, profile: Profile, facts: ProfileFacts) -> list[Trace]:
    won = facts.winners
    return [
        Trace(
            name="mean of the winners",
            class_="s1",
            xs=depths,
            ys=[s.mean for s in won],
            low=[s.mean - s.deviation for s in won],
            high=[s.mean + s.deviation for s in won],
        ),
        Trace(name="mean of the losers", class_="s2", xs=depths, ys=[s.mean for s in facts.losers]),
        Trace(name="uniform recipe", class_="s8", xs=depths, ys=profile.uniform),
    ]


def _stage_edges(plane: Plane, stages: tuple[str, ...]) -> list[ET.Element]:
    parts = []
    start = 0
    for stage, run in itertools.groupby(stages):
        at = plane.x(start + 0.5)
        parts += [
            vertical(at, 0, HEIGHT, class_="edge"),
            text(at, HEIGHT - 6, stage, class_="tick on-plot strong", dx=5),
        ]
        start += len(list(run))
    return parts


def _hover(depth: int, profile: Profile, facts: ProfileFacts) -> str:
    i = depth - 1
    return (
        f"{profile.groups[i]}, {profile.stages[i]}: winners {spread_of(facts.winners[i])}, losers "
        f"{spread_of(facts.losers[i])}, uniform {formats.percent(profile.uniform[i], 0)}"
    )


def spread_of(spread: Spread) -> str:
    """Return mean and standard deviation of shares in words."""
    return f"{formats.percent(spread.mean, 0)} \u00b1 {formats.percent(spread.deviation, 0)}"


def _by_stage(key: str, name: str, facts: ProfileFacts) -> ET.Element:
    description = f"{formats.plural(len(facts.stages), 'stage')}; the table below has every group."
    blocks = [_block(stage) for stage in facts.stages]
    chart_ = whiskers(key, f"Keep ratio by stage, {name}", description, blocks)
    return figure_of(
        chart_, "F5. Mean keep ratio of the groups of a stage; whisker: one standard deviation."
    )


def _block(stage: StageFacts) -> WhiskerBlock:
    flat = Spread(mean=stage.uniform, deviation=0.0)
    rows = [
        _row(stage.name, "winners", "s1", stage.winners),
        _row(stage.name, "losers", "s2", stage.losers),
        _row(stage.name, "uniform", "s8", flat),
    ]
    return WhiskerBlock(heading=stage.name, verdict="", rows=rows, scale=Scale(low=0, high=1))


def _row(stage: str, who: str, class_: str, spread: Spread) -> WhiskerRow:
    return WhiskerRow(
        name=who,
        class_=f"bar {class_}",
        low=spread.mean - spread.deviation,
        middle=spread.mean,
        high=spread.mean + spread.deviation,
        value=formats.percent(spread.mean, 0),
        hover=f"{stage}, {who}: {spread_of(spread)}",
    )


def _table(name: str, profile: Profile, facts: ProfileFacts) -> ET.Element:
    headers = ["Group", "Stage", "Winners", "sd", "Losers", "sd", "Uniform"]
    rows: list[list[Cell]] = [
        [
            *(code(group), stage),
            *(number(v, formats.percent) for v in (won.mean, won.deviation)),
            *(number(v, formats.percent) for v in (lost.mean, lost.deviation)),
            number(uniform, formats.percent),
        ]
        for group, stage, won, lost, uniform in zip(
            profile.groups,
            profile.stages,
            facts.winners,
            facts.losers,
            profile.uniform,
            strict=True,
        )
    ]
    return table(f"Keep ratio of each group, {name}", headers, rows, sortable=True)

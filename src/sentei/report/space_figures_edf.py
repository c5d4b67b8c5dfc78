"""F1: how the drop is distributed in every space."""

import bisect
import itertools
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from sentei.report import formats
from sentei.report.plane import Plane, chart
from sentei.report.scales import Scale, linear_scale
from sentei.report.space_marks import GUTTER, Trace, legend, series, traces
from sentei.report.space_population import SpaceResult
from sentei.report.tables import figure_of


def edf_figures(key: str, spaces: Sequence[SpaceResult]) -> list[ET.Element]:
    """Return one figure a family of spaces; ``key`` is unique on the page."""
    families = dict.fromkeys(space.family for space in spaces)
    return [
        _figure(f"{key}-edf-{i}", family, [s for s in spaces if s.family == family])
        for i, family in enumerate(families, start=1)
    ]


def _figure(key: str, family: str, spaces: Sequence[SpaceResult]) -> ET.Element:
    x = linear_scale([drop for space in spaces for drop in space.drops], padding=0.04)
    plane = Plane(
        x=Scale(low=x.low, high=x.high, gutter=GUTTER),
        y=Scale(low=0, high=1.05),  # room for the text of 100 %
        x_label=formats.tick,
        y_label=formats.tick_percent,
        x_title="Drop of accuracy, points",
        y_title="Share of subnetworks below",
    )
    drawn = [_trace(space, series(i)) for i, space in enumerate(spaces)]
    names = "; ".join(trace.hover for trace in drawn)
    return figure_of(
        chart(key, f"Drop in {family}", f"{names}.", plane, traces(plane, drawn)),
        f"F1, {family}. Higher and further left is better. Shaded: the band that holds the whole "
        "distribution function with probability 95 % (Dvoretzky, Kiefer, Wolfowitz), where the "
        f"weights are equal{_bootstrap_words(spaces)}. A curve is drawn from its smallest drop to "
        "its largest. Legend: n | smallest | mean. ",
        *legend(drawn),
    )


def _bootstrap_words(spaces: Sequence[SpaceResult]) -> str:
    level = next((s.band.level for s in spaces if s.epsilon is None and s.band), None)
    return (
        ""
        if level is None
        else f"; elsewhere the bootstrap band, {formats.percent(level, 0)} at each drop by itself"
    )


def legend_of(space: SpaceResult) -> str:
    """Return ``name n|min|mean``."""
    return (
        f"{space.name} {len(space.drops)}|{formats.fixed(space.minimum)}|"
        f"{formats.fixed(space.mean)}"
    )


def _trace(space: SpaceResult, class_: str) -> Trace:
    xs, ys = steps(space.drops, space.weights)
    low, high = _edges(space, ys)
    return Trace(
        name=legend_of(space),
        class_=class_,
        xs=xs,
        ys=ys,
        low=low,
        high=high,
        hover=legend_of(space),
    )


def _edges(space: SpaceResult, ys: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the edges of the band of a space at the corners of its curve."""
    half, band = space.epsilon, space.band
    if half is not None:
        return [max(y - half, 0.0) for y in ys], [min(y + half, 1.0) for y in ys]
    if band is None:
        return [], []
    places = [bisect.bisect_right(band.drops, drop) for drop in sorted(space.drops)]
    low, high = (
        [0.0, *(([0.0, *edge])[place] for place in places)] for edge in (band.low, band.high)
    )
    return [y for pair in itertools.pairwise(low) for y in pair], [
        y for pair in itertools.pairwise(high) for y in pair
    ]


def steps(drops: Sequence[float], weights: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the corners of the share of the weight below each drop, lower corner first.

    Example:
        >>> steps([2.0, 1.0], [1.0, 3.0])
        ([1.0, 1.0, 2.0, 2.0], [0.0, 0.75, 0.75, 1.0])
    """
    order = sorted(zip(drops, weights, strict=True))
    total = sum(weights)
    heights = [0.0, *(h / total for h in itertools.accumulate(weight for _, weight in order))]
    xs = [drop for drop, _ in order for _ in range(2)]
    return xs, [height for pair in itertools.pairwise(heights) for height in pair]

"""F3: the drop over spread and parameters. F7: the full drop over a cheap measure of it."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sentei.report import formats
from sentei.report.elements import Child, el
from sentei.report.plane import Plane, chart
from sentei.report.scales import Scale, linear_scale
from sentei.report.space_evidence import Proxy
from sentei.report.space_marks import GUTTER, dot
from sentei.report.space_population import Point
from sentei.report.tables import figure_of

_FIFTHS = 5


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A property of a subnetwork: its name, its value, how the value and a tick read."""

    name: str
    of: Callable[[Point], float]
    show: Callable[[float], str]
    tick: Callable[[float], str]


STD = Variable(
    name="STD of the pruning ratios",
    of=lambda point: point.std,
    show=formats.significant,
    tick=formats.tick,
)
PARAMS = Variable(
    name="Parameters left",
    of=lambda point: point.params_left,
    show=formats.percent,
    tick=formats.tick_percent,
)


def fifths(values: Sequence[float]) -> list[int]:
    """Return the fifth of every value by rank, 0 for the smallest; equal values share one.

    Example:
        >>> fifths([3.0, 1.0, 2.0, 5.0, 4.0, 1.0])
        [2, 0, 1, 4, 3, 0]
    """
    ordered = sorted(values)
    return [_FIFTHS * ordered.index(value) // len(values) for value in values]


def spread_figures(key: str, name: str, points: Sequence[Point]) -> ET.Element:
    """Return F3 of one regime: two planes, each coloured by the other's variable."""
    panels = [
        _panel(f"{key}-std", name, points, STD, PARAMS),
        _panel(f"{key}-params", name, points, PARAMS, STD),
    ]
    return el("div", *panels, class_="panels")


def _panel(
    key: str, name: str, points: Sequence[Point], across: Variable, colour: Variable
) -> ET.Element:
    drops = [point.drop for point in points]
    plane = _plane([across.of(p) for p in points], drops, across.name, across.tick)
    ranks = fifths([colour.of(point) for point in points])
    dots = [
        dot(
            plane,
            across.of(point),
            point.drop,
            class_=f"point q{rank + 1}",
            hover=(
                f"{point.subnet}: {across.name} {across.show(across.of(point))}, {colour.name} "
                f"{colour.show(colour.of(point))}, drop {formats.fixed(point.drop)} points"
            ),
        )
        for point, rank in zip(points, ranks, strict=True)
    ]
    description = f"{formats.plural(len(points), 'subnetwork')}, coloured by {colour.name}."
    title = f"Drop over {across.name}, {name}"
    return figure_of(
        chart(key, title, description, plane, dots),
        f"F3. Drop over {across.name}. Colour, in fifths: {colour.name}. ",
        *_colours(points, ranks, colour),
    )


def _colours(points: Sequence[Point], ranks: Sequence[int], colour: Variable) -> list[Child]:
    entries: list[Child] = []
    for rank in sorted(set(ranks)):
        own = [colour.of(p) for p, place in zip(points, ranks, strict=True) if place == rank]
        words = f"{colour.show(min(own))} to {colour.show(max(own))}"
        swatch = el("i", class_=f"swatch dot point q{rank + 1}")
        entries.append(el("span", swatch, words, class_="legend"))
    return entries


def _plane(
    xs: Sequence[float], drops: Sequence[float], x_title: str, x_label: Callable[[float], str]
) -> Plane:
    x = linear_scale(xs)
    return Plane(
        x=Scale(low=x.low, high=x.high, gutter=2 * GUTTER),  # a panel is half as wide
        y=linear_scale(drops, padding=0.1),
        x_label=x_label,
        y_label=formats.tick,
        x_title=x_title,
        y_title="Drop of accuracy, points",
    )


def proxy_figures(key: str, proxies: Sequence[Proxy]) -> ET.Element:
    """Return F7, one plane a proxy; ``key`` is unique on the page."""
    panels = [_proxy(f"{key}-{i}", proxy) for i, proxy in enumerate(proxies, start=1)]
    return el("div", *panels, class_="panels")


def _proxy(key: str, proxy: Proxy) -> ET.Element:
    plane = _plane(proxy.values, proxy.drops, proxy.unit, formats.tick)
    dots = [
        dot(
            plane,
            value,
            drop,
            class_="point s1",
            hover=f"{formats.significant(value)}: drop {formats.fixed(drop)} points",
        )
        for value, drop in zip(proxy.values, proxy.drops, strict=True)
    ]
    low, high = proxy.interval
    words = [
        f"F7. {proxy.name}, {proxy.regime}, n {len(proxy.values)}: Kendall τ {formats.fixed(proxy.tau)} "
        f"({formats.percent(proxy.level, 0)} interval {formats.fixed(low)} to {formats.fixed(high)})"
    ]
    if proxy.partial_tau is not None:
        words.append(f"given log m and STD {formats.fixed(proxy.partial_tau)}")
    if proxy.within_tau is not None:
        words.append(f"within strata {formats.fixed(proxy.within_tau)}")
    if proxy.recall is not None:
        words.append(f"recall of the best tenth {formats.percent(proxy.recall, 0)}")
    if proxy.shift is not None:
        words.append(f"m* by it over m* in full {formats.significant(proxy.shift)}{_range(proxy)}")
    sentence = "; ".join(words)
    chart_ = chart(key, f"{proxy.name} and full drop", f"{sentence}.", plane, dots)
    return figure_of(chart_, f"{sentence}. {proxy.gate}")


def _range(proxy: Proxy) -> str:
    return f" ({formats.span(proxy.shift_interval)})" if proxy.shift_interval is not None else ""

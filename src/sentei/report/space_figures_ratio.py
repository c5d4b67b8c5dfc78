"""F2: the drop over the ratio of MACs to parameters. F4: where it is smallest."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from sentei.report import formats
from sentei.report.elements import el
from sentei.report.plane import HEIGHT, Plane, chart
from sentei.report.scales import Scale, linear_scale, log_scale
from sentei.report.space_marks import (
    GUTTER,
    ROW,
    Trace,
    dot,
    level,
    row_below,
    series,
    shade,
    traces,
    upright,
)
from sentei.report.space_population import Optimum, Point, Population, Winners
from sentei.report.space_schema import Regime
from sentei.report.svg import percent_of, sample, vertical
from sentei.report.tables import figure_of

RATIO = "Ratio m of MACs to parameters, dense network = 1"


def ratio_figure(key: str, name: str, population: Population) -> ET.Element:
    """Return F2 of one regime; ``key`` is unique on the page."""
    plane = _plane(population)
    parts = [
        shade(
            plane,
            population.attainable,
            class_="attainable",
            hover=f"attainable: {formats.span(population.attainable)}",
        )
    ]
    parts += _optimum(plane, population)
    parts += upright(plane, 1.0, "dense, m = 1", class_="reference", y=12)
    parts += [_dot(plane, point, "point s1") for point in population.points]
    if population.uniform is not None:
        parts.append(_dot(plane, population.uniform, "uniform", radius=6, prefix="uniform recipe"))
    rows = _winner_rows(plane, population.winners)
    return figure_of(
        chart(
            key,
            f"Drop over the ratio, {name}",
            _description(population),
            plane,
            [*parts, *rows],
            below=2 * ROW if rows else 0,
        ),
        f"F2. Every dot is a subnetwork of the same MACs; further left has more parameters. Shaded: "
        f"the attainable range, {formats.span(population.attainable)}. ",
        _uniform_words(population.uniform),
        _optimum_words(population),
        _winner_words(population.winners),
    )


def _plane(population: Population) -> Plane:
    fit = population.fit
    points = [*population.points, *([population.uniform] if population.uniform else [])]
    x = log_scale([*population.attainable, 1.0, *(p.ratio for p in points)])
    y = linear_scale([*(p.drop for p in points), *(fit.drops if fit else ())], padding=0.1)
    return Plane(
        x=Scale(low=x.low, high=x.high, log=True, gutter=GUTTER),
        y=y,
        x_label=formats.tick,
        y_label=formats.tick,
        x_title=f"{RATIO} (log)",
        y_title="Drop of accuracy, points",
    )


def _dot(
    plane: Plane, point: Point, class_: str, *, radius: float = 4, prefix: str = ""
) -> ET.Element:
    hover = (
        f"{prefix or point.subnet}, {point.space}: m {formats.significant(point.ratio)}, drop "
        f"{formats.fixed(point.drop)} points"
    )
    return dot(plane, point.ratio, point.drop, class_=class_, hover=hover, radius=radius)


def _optimum(plane: Plane, population: Population) -> list[ET.Element]:
    parts = []
    best, fit = population.optimum, population.fit
    if best is not None:
        hover = f"interval of m*: {formats.span(best.interval)}"
        parts.append(shade(plane, best.interval, class_="interval", hover=hover))
    if fit is not None:
        trace = Trace(
            name=fit.method, class_="s2", xs=fit.ratios, ys=fit.drops, low=fit.low, high=fit.high
        )
        parts += traces(plane, [trace])
    if best is not None:
        name = f"m* {formats.significant(best.ratio)}"
        parts += upright(plane, best.ratio, name, class_="optimum", y=28)
    return parts


def _winner_rows(plane: Plane, winners: Winners | None) -> list[ET.Element]:
    if winners is None:
        return []
    words = f"Winners ({winners.rule}): {formats.span(winners.band)}"
    null = f"Permuted, what chance gives: {formats.span(winners.null)}"
    return [
        *row_below(plane, 0, winners.band, words, class_="s3"),
        *row_below(plane, 1, winners.null, null, class_="s8"),
    ]


def _description(population: Population) -> str:
    text = formats.plural(len(population.points), "subnetwork")
    best = population.optimum
    if best is None:
        return f"{text}; no optimum was estimated."
    return f"{text}; m* {formats.significant(best.ratio)}, {formats.span(best.interval)}."


def _uniform_words(uniform: Point | None) -> ET.Element | str:
    if uniform is None:
        return "The uniform recipe was not measured. "
    words = f"uniform recipe, m {formats.significant(uniform.ratio)}"
    return el("span", el("i", class_="swatch dot uniform"), words, class_="legend")


def _optimum_words(population: Population) -> ET.Element | str:
    best, fit = population.optimum, population.fit
    if best is None:
        return "No optimum was estimated. "
    words = (
        f"m* {formats.significant(best.ratio)}, {formats.percent(best.level, 0)} interval "
        f"{formats.span(best.interval)} ({best.method}; {formats.percent(best.at_bound, 0)} of the "
        f"resamples lie on a bound)"
    )
    curve = f"; curve: {fit.method}. " if fit else ". "
    return el("span", sample("optimum"), f" {words}{curve}{_spline_words(population.spline)}")


def _spline_words(spline: Optimum | None) -> str:
    if spline is None:
        return ""
    return (
        f"A curve of no given shape puts m* at {formats.significant(spline.ratio)}, "
        f"{formats.span(spline.interval)} ({spline.method}). "
    )


def _winner_words(winners: Winners | None) -> str:
    if winners is None:
        return "The winners' band was not computed."
    error = (
        ""
        if winners.p_error is None
        else f" (Monte-Carlo error {formats.significant(winners.p_error, 1)})"
    )
    return (
        f"The winners' band says something only where it is narrower than its permutation null: "
        f"p {formats.probability(winners.p)}{error}; median {formats.significant(winners.median)}."
    )


def trend_figure(key: str, regimes: Sequence[Regime]) -> ET.Element:
    """Return F4, m* of every regime that has one; at least one has."""
    known = [(r, r.population) for r in regimes if r.population and r.population.optimum]
    networks = list(dict.fromkeys(regime.network for regime, _ in known))
    ends = [end for _, population in known for end in population.attainable]
    x, y = linear_scale([r.level for r, _ in known], padding=0.2), log_scale([*ends, 1.0])
    plane = Plane(
        x=Scale(low=x.low, high=x.high, gutter=GUTTER),
        y=y,
        x_label=formats.tick_percent,
        y_label=formats.tick,
        x_title="MACs left",
        y_title=f"m*: {RATIO[0].lower()}{RATIO[1:]} (log)",
    )
    parts = level(plane, 1.0, "dense, m = 1")
    for i, network in enumerate(networks):
        own = sorted((p for p in known if p[0].network == network), key=lambda p: p[0].level)
        # Networks at one level stand side by side.
        shift = 10 * (i - (len(networks) - 1) / 2)
        parts += [mark for r, p in own for mark in _trend_mark(plane, r, p, series(i), shift=shift)]
    marks = [
        el("span", sample(f"trace {series(i)}"), f" {name}", class_="legend")
        for i, name in enumerate(networks)
    ]
    description = "; ".join(
        f"{r.name}: {formats.significant(p.optimum.ratio)}, {formats.span(p.optimum.interval)}"
        for r, p in known
        if p.optimum
    )
    return figure_of(
        chart(key, "Optimal ratio over regimes and networks", f"{description}.", plane, parts),
        "F4. Dot and thick line: m* and its interval; thin line: the attainable range. An interval "
        "that reaches an end of the thin line shows no interior optimum. ",
        *marks,
    )


def _trend_mark(
    plane: Plane, regime: Regime, population: Population, class_: str, *, shift: float
) -> list[ET.Element]:
    best = population.optimum
    assert best is not None
    hover = f"{regime.name}: m* {formats.significant(best.ratio)}, {formats.span(best.interval)}"

    def bar(span: tuple[float, float], kind: str) -> ET.Element:
        low, high = (HEIGHT * (1 - plane.y(end)) for end in span)
        return vertical(0, high, low, class_=f"{kind} {class_}")

    centre = el(
        "circle",
        el("title", hover),
        cx="0",
        cy=f"{HEIGHT * (1 - plane.y(best.ratio)):.5g}",
        r="5",
        class_=f"point {class_}",
        data_value=best.ratio,
    )
    marks = [bar(population.attainable, "thin"), bar(best.interval, "trace solid"), centre]
    moved = el("g", *marks, transform=f"translate({shift:g})")
    at = percent_of(plane.x(regime.level))
    return [el("svg", moved, x=at, y="0", overflow="visible")]

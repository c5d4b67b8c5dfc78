"""F6: what the best of k subnetworks loses, and what it costs. F8: power over the effect."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from sentei.report import formats
from sentei.report.plane import HEIGHT, Plane, chart
from sentei.report.scales import Scale, linear_scale, log_scale
from sentei.report.space_evidence import BestOf, Noise, Payoff, Search
from sentei.report.space_marks import GUTTER, Trace, legend, level, series, traces
from sentei.report.svg import text
from sentei.report.tables import figure_of, paragraph

_CLASSES = {"base": "s1", "refined": "s2", "placebo": "s8"}
POWER = 0.8


def search_figure(key: str, name: str, search: Search) -> ET.Element:
    """Return F6 of one regime; ``key`` is unique on the page."""
    x = log_scale([k for curve in search.curves for k in curve.counts])
    values = [v for c in search.curves for v in (*c.best, *c.low, *c.high)]
    plane = Plane(
        x=Scale(low=x.low, high=x.high, log=True, gutter=GUTTER),
        y=linear_scale(values, padding=0.05),
        x_label=formats.tick,
        y_label=formats.tick,
        x_title="Subnetworks tried, k (log)",
        y_title="Expected smallest drop, points",
    )
    drawn = [_trace(curve) for curve in search.curves]
    names = "; ".join(trace.hover for trace in drawn)
    parts = [*traces(plane, drawn), *_costs(plane, search.seconds_each)]
    each = formats.significant(search.seconds_each)
    return figure_of(
        chart(key, f"Best of k, {name}", f"{names}.", plane, parts, below=40),
        "F6. Lower is better. A refinement that is no better than its placebo, a random slab of "
        f"equal probability, has found nothing. Shaded: {formats.percent(search.level, 0)} bands; "
        f"one subnetwork takes {each} s. ",
        *legend(drawn),
    )


def _trace(curve: BestOf) -> Trace:
    last = f"best of {curve.counts[-1]}: {formats.fixed(curve.best[-1])} points"
    return Trace(
        name=f"{curve.kind}, {curve.name}" if curve.name != curve.kind else curve.name,
        class_=_CLASSES[curve.kind],
        xs=curve.counts,
        ys=curve.best,
        low=curve.low,
        high=curve.high,
        hover=f"{curve.kind}, {curve.name}; {last}",
    )


def _costs(plane: Plane, seconds_each: float) -> list[ET.Element]:
    """Return the wall time of every mark of the horizontal axis, under it."""
    ticks = [
        text(plane.x(k), HEIGHT + 58, formats.duration(k * seconds_each), class_="tick middle")
        for k in plane.x.ticks(5)
    ]
    return [*ticks, text(1, HEIGHT + 76, "Wall time of k subnetworks", class_="tick strong end")]


def payoff_words(payoff: Payoff) -> ET.Element:
    """Return the inequality that says whether refining pays, with its numbers."""
    begin = (
        f"Refining pays if the study costs less than it saves in a search for a drop of "
        f"{formats.fixed(payoff.drop)} points: study < (k of base - k of refined) * cost of one. "
        f"Here "
    )
    base, refined, saved = payoff.base_count, payoff.refined_count, payoff.saved_seconds
    if base is None or refined is None or saved is None:
        missed = "base" if base is None else "refined"
        return paragraph(f"{begin}the {missed} space did not reach that drop, so it is open.")
    show = formats.significant
    return paragraph(
        f"{begin}{show(payoff.study_seconds)} s against ({formats.tick(base)} - "
        f"{formats.tick(refined)}) * {show(payoff.search_seconds)} s = {show(saved)} s: "
        f"{'it pays' if payoff.study_seconds < saved else 'it does not pay'} in one search."
    )


def power_figure(key: str, known: Sequence[tuple[str, Noise]]) -> ET.Element:
    """Return F8, the power of every regime, given with its name; each has effects."""
    x = linear_scale([effect for _, noise in known for effect in noise.effects], padding=0.04)
    plane = Plane(
        x=Scale(low=x.low, high=x.high, gutter=GUTTER),
        y=Scale(low=0, high=1.05),
        x_label=formats.tick,
        y_label=formats.tick_percent,
        x_title="Extra drop to be found, points",
        y_title="Power",
    )
    drawn = [
        Trace(
            name=name,
            class_=series(i),
            xs=noise.effects,
            ys=noise.powers,
            hover=f"{name}, {noise.test}: {_least(noise)}",
        )
        for i, (name, noise) in enumerate(known)
    ]
    parts = [*level(plane, POWER, f"power {POWER}"), *traces(plane, drawn)]
    description = "; ".join(trace.hover for trace in drawn)
    tests = "; ".join(dict.fromkeys(noise.test for _, noise in known))
    return figure_of(
        chart(key, "Power over the effect", f"{description}.", plane, parts),
        f"F8. Chance that this design finds an effect of the size below ({tests}{_errors(known)}). ",
        *legend(drawn),
    )


def _errors(known: Sequence[tuple[str, Noise]]) -> str:
    errors = [error for _, noise in known for error in noise.power_errors]
    return f"; Monte-Carlo error at most {formats.significant(max(errors), 1)}" if errors else ""


def _least(noise: Noise) -> str:
    if noise.least_effect is None:
        return f"no effect is found with power {POWER}"
    return f"{formats.fixed(noise.least_effect)} points are found with power {POWER}"

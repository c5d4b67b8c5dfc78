"""Tables of a space study: T1 spaces, T2 verdicts, T3 comparison, T4 architectures, choices."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence

from sentei.report import formats
from sentei.report.elements import el
from sentei.report.space_checks import Span
from sentei.report.space_evidence import Noise, Verdict
from sentei.report.space_population import Cells, Population, SpaceResult
from sentei.report.space_schema import QUOTED, Analysis, Contender, Found
from sentei.report.tables import Cell, Number, code, folded, number, table

RESOLVED = 0.5  # reliability below which a population is called not resolved
DISCLAIMER = (
    "No figure, table or number of this page is a reproduction of one of the paper “Network "
    "Pruning Spaces” (He et al., arXiv 2304.09453): its body was not available, only its abstract "
    "was. Its conjectures are tested here as they are worded on this page, with definitions that "
    "this study chose."
)


def space_table(name: str, spaces: Sequence[SpaceResult]) -> ET.Element:
    """Return T1 of one regime; drops are in points."""
    headers = [
        *("Space", "Constraints", "Drawn by", "log volume", "n", "Smallest drop", "Mean drop"),
        *("5 % quantile", "KS p (Holm)", "Mann-Whitney p (Holm)", "Cliff's delta", "Mean less"),
        *("5 % quantile less", "Against"),
    ]
    rows: list[list[Cell]] = [
        [
            *(space.name, space.constraints, space.sampler),
            number(space.log_volume, formats.significant),
            number(len(space.drops), formats.integer),
            *(number(v, formats.fixed) for v in (space.minimum, space.mean, space.low_quantile)),
            *(number(p, formats.probability) for p in (space.ks_p, space.mann_whitney_p)),
            number(space.cliffs_delta, formats.fixed),
            _difference(space.mean_difference, space.mean_interval),
            _difference(space.quantile_difference, space.quantile_interval),
            space.reference,
        ]
        for space in spaces
    ]
    return table(f"T1. Spaces, {name}", headers, rows, sortable=True)


def _difference(value: float | None, interval: Span | None) -> Number:
    """Return a difference of drops with its interval."""
    shown = number(value, formats.fixed)
    if interval is None:
        return shown
    low, high = (formats.fixed(end) for end in interval)
    return Number(value=value, shown=f"{shown.shown} ({low} to {high})")


def cell_table(name: str, cells: Cells) -> ET.Element:
    """Return the mean drop by STD and m of one regime, and how many subnetworks it is of."""
    rows: list[list[Cell]] = [
        [spread, *(_cell_of(mean, n) for mean, n in zip(means, counts, strict=True))]
        for spread, means, counts in zip(cells.spreads, cells.means, cells.counts, strict=True)
    ]
    caption = f"Mean drop by STD and m, points (subnetworks), {name}"
    return table(caption, ["", *cells.ratios], rows)


def _cell_of(mean: float | None, count: int) -> Number:
    shown = "no recipe" if mean is None else f"{formats.fixed(mean)} ({formats.integer(count)})"
    return Number(value=mean, shown=shown)


def verdict_table(verdicts: Sequence[Verdict]) -> ET.Element:
    """Return T2."""
    headers = [
        *("Conjecture", "On", "Claim", "Verdict", "Estimate", "Interval", "Level", "Test", "p"),
        "Power",
    ]
    rows: list[list[Cell]] = [
        [
            *(v.conjecture, v.scope, v.claim, _verdict(v)),
            number(v.estimate, formats.significant),
            _interval(v.interval),
            number(v.level, lambda level: formats.percent(level, 0)),
            v.test,
            number(v.p, formats.probability),
            number(v.power, formats.fixed),
        ]
        for v in verdicts
    ]
    return table("T2. Conjectures and what this study says about them", headers, rows)


def verdict_details(verdicts: Sequence[Verdict]) -> list[ET.Element]:
    """Return conditions, notes and further numbers of every verdict that has some, folded."""
    found = [(v, _detail(v)) for v in verdicts]
    return [
        folded(f"{v.conjecture} on {v.scope}: conditions and notes", *parts)
        for v, parts in found
        if parts
    ]


def _detail(verdict: Verdict) -> list[ET.Element]:
    parts = []
    if verdict.checks:
        states = {True: "holds", False: "does not hold"}
        parts.append(el("ul", *(el("li", f"{c.text}: {states[c.holds]}") for c in verdict.checks)))
    if verdict.notes:
        parts.append(el("ul", *(el("li", note) for note in verdict.notes)))
    if verdict.numbers:
        caption = f"Numbers of {verdict.conjecture} on {verdict.scope}"
        rows: list[list[Cell]] = [
            [name, number(value, formats.significant)] for name, value in verdict.numbers.items()
        ]
        parts.append(table(caption, ["number", "value"], rows))
    return parts


def _verdict(verdict: Verdict) -> Cell:
    words = verdict.verdict
    if words == "inconclusive" and verdict.power is not None:
        words = f"{words} (power {formats.fixed(verdict.power)})"
    return el("strong", words, class_=verdict.verdict.replace(" ", "-"))


def _interval(span: Span | None) -> str:
    return formats.MISSING if span is None else formats.span(span)


def point_table(name: str, population: Population) -> ET.Element:
    """Return every subnetwork of a regime, folded."""
    headers = ["Subnetwork", "Space", "m", "STD", "Parameters left", "Drop, points"]
    uniform = [population.uniform] if population.uniform is not None else []
    rows: list[list[Cell]] = [
        [
            *(code(p.subnet[:12]), p.space, number(p.ratio, formats.significant)),
            number(p.std, formats.significant),
            number(p.params_left, formats.percent),
            number(p.drop, formats.fixed),
        ]
        for p in [*uniform, *population.points]
    ]
    caption = f"Subnetworks, {name}"
    return folded("Subnetworks as a table", table(caption, headers, rows, sortable=True))


def choice_table(analysis: Analysis) -> ET.Element:
    """Return every named choice of the study, and what is known of the paper's."""
    headers = ["Choice", "Here", "It could be", "What the paper does"]
    rows = [[c.name, c.value, c.alternatives, c.paper] for c in analysis.choices]
    return table("Choices of this study", headers, rows)


def noise_table(known: Sequence[tuple[str, Noise]]) -> ET.Element:
    """Return the noise of every regime, given with its name; standard deviations in points."""
    headers = [
        *("Regime", "Reliability", "Interval", "sd of structure", "sd of seeds", "Replicated"),
        *("Smallest drop that matters", "Smallest effect found", "So"),
    ]
    rows: list[list[Cell]] = [
        [
            *(name, number(noise.reliability, formats.fixed), _interval(noise.interval)),
            *(number(v, formats.fixed) for v in (noise.structure_sd, noise.seed_sd)),
            number(noise.num_replicated, formats.integer),
            *(number(v, formats.fixed) for v in (noise.delta_min, noise.least_effect)),
            "resolved" if noise.reliability >= RESOLVED else "population not resolved",
        ]
        for name, noise in known
    ]
    return table("F8. Noise of each regime", headers, rows)


def contender_table(contenders: Sequence[Contender]) -> ET.Element:
    """Return T3; every number of a publication carries a dagger."""
    headers = [
        *("Method", "Numbers", "Network", "Base accuracy", "Accuracy", "\u00b1 sd", "Drop, points"),
        *("MACs", "MACs removed", "Parameters", "m", "Epochs", "Where from"),
    ]
    rows = [_contender_row(contender) for contender in contenders]
    return table("T3. Comparison at equal MACs", headers, rows, sortable=True)


def _contender_row(contender: Contender) -> list[Cell]:
    mark = "\u2020" if contender.source == QUOTED else ""

    def cell(value: float | None, show: Callable[[float], str]) -> Number:
        shown = number(value, show)
        return shown if value is None else Number(value=value, shown=f"{shown.shown}{mark}")

    return [
        *(contender.method, f"{contender.source}{mark}", contender.network),
        *(cell(v, formats.percent) for v in (contender.base_accuracy, contender.accuracy)),
        cell(contender.deviation, formats.percent),
        cell(contender.drop, formats.fixed),
        cell(contender.macs, formats.count),
        cell(contender.macs_removed, formats.percent),
        cell(contender.params, formats.count),
        cell(contender.ratio, formats.significant),
        cell(contender.epochs, formats.tick),
        contender.citation,
    ]


def found_table(found: Sequence[Found]) -> ET.Element:
    """Return T4 without the widths."""
    headers = [
        *("Architecture", "Regime", "MACs", "Parameters", "m", "Accuracy", "Latency", "Speed-up"),
        *("Interval", "On"),
    ]
    rows: list[list[Cell]] = [
        [
            *(f.name, f.regime),
            *(number(v, formats.count) for v in (f.macs, f.params)),
            number(f.ratio, formats.significant),
            number(f.accuracy, formats.percent),
            number(f.latency_ms, formats.milliseconds),
            number(f.speedup, formats.significant),
            _interval(f.speedup_interval),
            f.device,
        ]
        for f in found
    ]
    return table("T4. Found architectures and their rivals", headers, rows)

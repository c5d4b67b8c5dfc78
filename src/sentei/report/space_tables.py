"""Tables of a space study: T1 spaces, T2 verdicts, and the choices of its configuration."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from sentei.report import formats
from sentei.report.elements import el
from sentei.report.space_checks import Span
from sentei.report.space_evidence import Verdict
from sentei.report.space_population import Population, SpaceResult
from sentei.report.space_schema import Analysis
from sentei.report.tables import Cell, code, folded, number, table

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
        *("5 % quantile", "KS p (Holm)", "Against"),
    ]
    rows: list[list[Cell]] = [
        [
            *(space.name, space.constraints, space.sampler),
            number(space.log_volume, formats.significant),
            number(len(space.drops), formats.integer),
            *(number(v, formats.fixed) for v in (space.minimum, space.mean, space.low_quantile)),
            number(space.ks_p, formats.probability),
            space.reference,
        ]
        for space in spaces
    ]
    return table(f"T1. Spaces, {name}", headers, rows, sortable=True)


def verdict_table(verdicts: Sequence[Verdict]) -> ET.Element:
    """Return T2."""
    headers = [
        *("Conjecture", "On", "Claim", "Verdict", "Estimate", "What it is", "Interval", "Test"),
        *("p", "Power", "Notes"),
    ]
    rows: list[list[Cell]] = [
        [
            *(v.conjecture, v.scope, v.claim, _verdict(v)),
            number(v.estimate, formats.significant),
            v.unit,
            _interval(v.interval),
            v.test,
            number(v.p, formats.probability),
            number(v.power, formats.fixed),
            v.notes,
        ]
        for v in verdicts
    ]
    return table("T2. Conjectures and what this study says about them", headers, rows)


def _verdict(verdict: Verdict) -> Cell:
    words = verdict.verdict
    if words == "inconclusive" and verdict.power is not None:
        words = f"{words} (power {formats.fixed(verdict.power)})"
    return el("strong", words, class_=verdict.verdict.replace(" ", "-"))


def _interval(span: Span | None) -> str:
    if span is None:
        return formats.MISSING
    return f"{formats.significant(span[0])} to {formats.significant(span[1])}"


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

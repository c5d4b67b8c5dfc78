"""The page of a space study: one HTML file that works offline, and its numbers beside it."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentei.errors import CheckpointError
from sentei.records import GroupRecord, atomic_write_text, decode_fields, plain_mapping
from sentei.report.groups import widths
from sentei.report.page import document, json_data
from sentei.report.space_facts import RegimeFacts, SpaceFacts, derive
from sentei.report.space_figures_edf import edf_figures
from sentei.report.space_figures_points import proxy_figures, spread_figures
from sentei.report.space_figures_profile import profile_figures
from sentei.report.space_figures_ratio import ratio_figure, trend_figure
from sentei.report.space_figures_search import payoff_words, power_figure, search_figure
from sentei.report.space_schema import Analysis, Regime
from sentei.report.space_tables import (
    DISCLAIMER,
    cell_table,
    choice_table,
    contender_table,
    found_table,
    noise_table,
    point_table,
    space_table,
    verdict_details,
    verdict_table,
)
from sentei.report.tables import contents, moment, paragraph, section, table

JSON_NAME = "analysis.json"

_WHY = {
    "F1": "No space was measured in this regime.",
    "F2": "No subnetwork was measured in this regime.",
    "F3": "No subnetwork was measured in this regime.",
    "F4": "No regime has an estimated optimum.",
    "F5": "Winners and losers were not told apart in this regime.",
    "F6": "No refined space was searched in this regime.",
    "F7": "No proxy was compared with the full measure.",
    "F8": "No subnetwork was replicated, so the noise is not known.",
    "T2": "No conjecture was tested.",
    "T3": "No other method was run at equal MACs.",
    "T4": "No search was run.",
}

Parts = list[ET.Element]


def write_space_report(path: Path, analysis: Analysis) -> Path:
    """Write the page of a space study, and ``analysis.json`` in the same folder.

    The JSON holds the analysis and all that the page derives from it: every number that it shows.

    Args:
        path: HTML file to write; its folder is made if needed.
        analysis: What the study found.

    Returns:
        ``path``.

    Raises:
        ValueError: the analysis holds a value that JSON has not, such as NaN; nothing is written.
    """
    facts = derive(analysis)
    data = _data(analysis, facts)
    page = _render(analysis, facts, json_data(data))
    text = json.dumps(data, allow_nan=False, indent=1)
    atomic_write_text(path.with_name(JSON_NAME), f"{text}\n")
    atomic_write_text(path, page)
    return path


def read_analysis(path: Path) -> Analysis:
    """Read the ``analysis.json`` that `write_space_report` wrote; executes nothing.

    Raises:
        CheckpointError: the file is not there, torn, or no analysis.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as the numbers of a space report ({error}); write the report "
            f"again"
        ) from error
    found = values.get("analysis") if isinstance(values, dict) else None
    return decode_fields(Analysis, found, f"{path}: analysis")


def render_space_report(analysis: Analysis) -> str:
    """Return the page of a space study as the text of one HTML file.

    Raises:
        ValueError: the analysis holds a value that JSON has not, such as NaN.
    """
    facts = derive(analysis)
    return _render(analysis, facts, json_data(_data(analysis, facts)))


def _data(analysis: Analysis, facts: SpaceFacts) -> dict[str, Any]:
    return {
        "analysis": plain_mapping(analysis, "analysis"),
        "derived": plain_mapping(facts, "derived"),
    }


def _render(analysis: Analysis, facts: SpaceFacts, data: str) -> str:
    about = paragraph(f"{analysis.about} ", moment(analysis.created), class_="about")
    known: list[tuple[str, str, Parts]] = [
        ("verdicts", "Verdicts", _verdicts(analysis)),
        *(
            (f"regime-{i}", regime.name, _regime(analysis, regime, own, f"regime-{i}"))
            for i, (regime, own) in enumerate(zip(analysis.regimes, facts.regimes, strict=True), 1)
        ),
        ("trend", "Across regimes and networks", _trend(analysis)),
        ("proxies", "Proxies", _proxies(analysis)),
        ("noise", "Noise and power", _noise(analysis)),
        ("comparison", "Comparison at equal MACs", _comparison(analysis)),
        ("found", "Found architectures", _found(analysis, facts)),
        ("choices", "Choices", [paragraph(DISCLAIMER), choice_table(analysis)]),
        ("provenance", "Provenance", _provenance(analysis)),
    ]
    present = [(name, heading, parts) for name, heading, parts in known if parts]
    links = contents("Sections of this report", [(name, heading) for name, heading, _ in present])
    sections = [section(name, heading, *parts) for name, heading, parts in present]
    lead = paragraph(DISCLAIMER, class_="lead")
    return document(analysis.title, about, [links, lead, *sections], data)


def _absent(analysis: Analysis, part: str) -> Parts:
    """Return the sentence in place of a figure or table that is not there."""
    why = analysis.missing.get(part) or _WHY[part]
    return [paragraph(f"{part} is left out: {why}", class_="none")]


def _verdicts(analysis: Analysis) -> Parts:
    if not analysis.verdicts:
        return _absent(analysis, "T2")
    words = paragraph(
        "Supported means that this study's test found what the claim predicts, at its size; it "
        "proves nothing about other networks, data or budgets."
    )
    return [words, verdict_table(analysis.verdicts), *verdict_details(analysis.verdicts)]


def _regime(analysis: Analysis, regime: Regime, facts: RegimeFacts, key: str) -> Parts:
    parts = {
        "Spaces": _spaces(analysis, regime, key),
        "Ratio of MACs to parameters": _ratio(analysis, regime, key),
        "Spread and parameters": _spread(analysis, regime, key),
        "Profile": _profile(analysis, regime, facts, key),
        "Search": _search(analysis, regime, key),
    }
    return [
        section(f"{key}-{i}", heading, *content, level=3)
        for i, (heading, content) in enumerate(parts.items(), start=1)
    ]


def _spaces(analysis: Analysis, regime: Regime, key: str) -> Parts:
    if not regime.spaces:
        return _absent(analysis, "F1")
    crossed = [] if regime.cells is None else [cell_table(regime.name, regime.cells)]
    figures = edf_figures(key, regime.spaces)
    return [*figures, space_table(regime.name, regime.spaces), *crossed]


def _ratio(analysis: Analysis, regime: Regime, key: str) -> Parts:
    if regime.population is None:
        return _absent(analysis, "F2")
    figure = ratio_figure(f"{key}-ratio", regime.name, regime.population)
    return [figure, point_table(regime.name, regime.population)]


def _spread(analysis: Analysis, regime: Regime, key: str) -> Parts:
    if regime.population is None:
        return _absent(analysis, "F3")
    return [spread_figures(f"{key}-spread", regime.name, regime.population.points)]


def _profile(analysis: Analysis, regime: Regime, facts: RegimeFacts, key: str) -> Parts:
    if regime.profile is None or facts.profile is None:
        return _absent(analysis, "F5")
    return profile_figures(f"{key}-profile", regime.name, regime.profile, facts.profile)


def _search(analysis: Analysis, regime: Regime, key: str) -> Parts:
    if regime.search is None:
        return _absent(analysis, "F6")
    parts = [search_figure(f"{key}-search", regime.name, regime.search)]
    if regime.search.payoff is not None:
        parts.append(payoff_words(regime.search.payoff))
    return parts


def _trend(analysis: Analysis) -> Parts:
    known: Sequence[Regime] = [
        r for r in analysis.regimes if r.population is not None and r.population.optimum is not None
    ]
    return [trend_figure("trend-chart", known)] if known else _absent(analysis, "F4")


def _proxies(analysis: Analysis) -> Parts:
    if not analysis.proxies:
        return _absent(analysis, "F7")
    return [proxy_figures("proxy-chart", analysis.proxies)]


def _noise(analysis: Analysis) -> Parts:
    known = [(r.name, r.noise) for r in analysis.regimes if r.noise is not None]
    if not known:
        return _absent(analysis, "F8")
    powered = [(name, noise) for name, noise in known if noise.effects]
    figures = [power_figure("power-chart", powered)] if powered else []
    return [*figures, noise_table(known)]


def _comparison(analysis: Analysis) -> Parts:
    if not analysis.contenders:
        return _absent(analysis, "T3")
    words = paragraph(
        "A dagger marks what is quoted from a publication and was not run here: other base "
        "networks, schedules and counters. It illustrates, it decides nothing."
    )
    return [words, contender_table(analysis.contenders)]


def _found(analysis: Analysis, facts: SpaceFacts) -> Parts:
    if not analysis.found:
        return _absent(analysis, "T4")
    parts = [found_table(analysis.found)]
    for i, (found, own) in enumerate(zip(analysis.found, facts.found, strict=True), start=1):
        sizes = zip(found.groups, found.widths_before, found.widths, strict=True)
        groups = [GroupRecord(name=n, width_before=b, width_after=a) for n, b, a in sizes]
        parts += widths(groups, own.kept, f"found-{i}", what=f"group of {found.name}")
    return parts


def _provenance(analysis: Analysis) -> Parts:
    lines = [[name, value] for name, value in analysis.provenance.items()]
    return [table("Provenance", ["what", "value"], lines)] if lines else []

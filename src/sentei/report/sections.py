"""The sections of one run."""

import xml.etree.ElementTree as ET

from sentei.records import RunRecord
from sentei.report.facts import Facts
from sentei.report.groups import frozen, scores, widths
from sentei.report.latency import latency
from sentei.report.provenance import notes, provenance
from sentei.report.recovery import recovery
from sentei.report.result import cards, result_table, summary
from sentei.report.tables import contents, section


def run_sections(record: RunRecord, facts: Facts, key: str, *, level: int = 2) -> list[ET.Element]:
    """Return the sections of one run, a list of links to them first.

    Args:
        record: The run.
        facts: What is derived from it.
        key: Unique on the page; every id starts with it.
        level: Level of the sections' headings, 1 to 6.
    """
    known = [
        ("result", "Result", [summary(record, facts), cards(facts), result_table(facts)]),
        ("notes", "Notes", notes(record)),
        ("widths", "Widths", widths(record.groups, facts.kept, key)),
        ("scores", "Scores", scores(record.groups, facts, key)),
        ("recovery", "Recovery", recovery(record, key)),
        ("latency", "Latency", latency(facts, key)),
        ("frozen", "Frozen groups", frozen(record.groups)),
        ("provenance", "Provenance", provenance(record, facts)),
    ]
    present = [(f"{key}-{name}", title, parts) for name, title, parts in known if parts]
    links = [(name, title) for name, title, _ in present]
    navigation = contents(f"Sections of {record.name}", links)
    return [
        navigation,
        *(section(name, title, *parts, level=level) for name, title, parts in present),
    ]

"""Where a run comes from: all that is needed to judge and to repeat it."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping

from sentei.records import RunRecord
from sentei.report import formats
from sentei.report.elements import el
from sentei.report.facts import Facts
from sentei.report.tables import Cell, code, folded, number, table


def notes(record: RunRecord) -> list[ET.Element]:
    """Return what a reader must know besides."""
    return [el("ul", *(el("li", note) for note in record.notes))] if record.notes else []


def provenance(record: RunRecord, facts: Facts) -> list[ET.Element]:
    """Return all that is needed to judge and to repeat the run."""
    return [
        el("div", _origin(record), _machine(record), _seconds(record, facts), class_="facts"),
        folded("Configuration as JSON", _json(record.config)),
    ]


def _json(value: Mapping[str, object]) -> ET.Element:
    words = json.dumps(dict(value), indent=2, ensure_ascii=False)
    return el("pre", code(words), tabindex="0", role="region", aria_label="Configuration")


def _origin(record: RunRecord) -> ET.Element:
    data = record.data
    rows: list[list[Cell]] = [
        ["Kind", record.kind],
        ["Ended", record.created],
        ["Code", code(record.code_version)],
        ["Checkpoint", code(record.checkpoint_digest)],
        ["Data", data.name],
        ["Data digest", code(data.digest)],
        [
            "Samples",
            f"{data.num_train:,} train, {data.num_val:,} validation, {data.num_test:,} test",
        ],
        ["Record schema", str(record.schema_version)],
    ]
    rows += [[f"Seed, {name}", code(str(seed))] for name, seed in record.seeds.items()]
    return table("Origin", ["What", "Value"], rows)


def _machine(record: RunRecord) -> ET.Element:
    machine = record.hardware
    memory = machine.memory_bytes
    rows: list[list[Cell]] = [
        ["Processor", machine.cpu],
        ["Cores", str(machine.num_cores)],
        ["Memory", formats.MISSING if memory is None else formats.num_bytes(memory)],
        ["GPU", machine.gpu or "none"],
        ["System", machine.platform],
        ["Python", code(machine.python)],
    ]
    rows += [[name, code(version)] for name, version in machine.libraries.items()]
    return table("Machine and libraries", ["What", "Value"], rows)


def _seconds(record: RunRecord, facts: Facts) -> ET.Element:
    rows: list[list[Cell]] = [
        [phase, number(seconds, formats.duration)] for phase, seconds in record.seconds.items()
    ]
    rows.append(["All", number(facts.total_seconds, formats.duration)])
    return table("Wall time", ["Phase", "Time"], rows)

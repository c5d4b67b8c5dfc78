"""Draw a run as an SVG: the width of every group before and after, and what was gained.

python examples/draw_result.py runs/demo-elpv docs/images/demo-elpv.svg
"""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from sentei.records import Measurement, RunRecord, atomic_write_text, read_record

WIDTH, HEAD, ROW, FOOT, LABELS = 760, 74, 15, 30, 190
# Readable on white and on black.
INK, PALE, SOLID = "#7a7f87", "#9fb8d8", "#2f6fb5"


def text(x: float, y: float, words: str, **style: str) -> ET.Element:
    """Return a line of text."""
    element = ET.Element("text", {"x": f"{x:g}", "y": f"{y:g}", "fill": INK, **style})
    element.text = words
    return element


def bar(y: float, length: float, colour: str, words: str) -> ET.Element:
    """Return a horizontal bar, which tells its number on hover."""
    place = {"x": str(LABELS), "y": f"{y:g}", "width": f"{length:.1f}", "height": f"{ROW - 4}"}
    element = ET.Element("rect", {**place, "fill": colour, "rx": "1.5"})
    ET.SubElement(element, "title").text = words
    return element


def headline(before: Measurement, after: Measurement) -> str:
    """Return what was gained, in a line."""
    parts = [f"MACs {after.macs / before.macs:.0%}"]
    parts.append(f"parameters {after.num_parameters / before.num_parameters:.0%}")
    if before.accuracy is not None and after.accuracy is not None:
        parts.append(f"test accuracy {before.accuracy:.1%} \u2192 {after.accuracy:.1%}")
    for old, new in zip(before.latencies, after.latencies, strict=True):
        parts.append(f"{old.runtime} {old.median_ms / new.median_ms:.2f}\u00d7")
    return "  \u00b7  ".join(parts)


def draw(record: RunRecord) -> str:
    """Return the drawing."""
    groups = [group for group in record.groups if group.frozen is None]
    height = HEAD + ROW * len(groups) + FOOT
    scale = (WIDTH - LABELS - 90) / max(group.width_before for group in groups)
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {height}",
            "font-family": "system-ui, sans-serif",
            "font-size": "11",
            "role": "img",
        },
    )
    ET.SubElement(root, "title").text = f"Widths of {record.name} before and after pruning"
    style = {"font-size": "15", "font-weight": "600"}
    root.append(text(0, 20, record.name, **style))
    root.append(text(0, 42, headline(record.before, record.after), **{"font-size": "13"}))
    root.append(text(LABELS, HEAD - 8, "channels of each group: pale before, solid after"))
    for index, group in enumerate(groups):
        y = HEAD + ROW * index
        words = f"{group.name}: {group.width_before} to {group.width_after} channels"
        root.append(text(LABELS - 8, y + 9, group.name, **{"text-anchor": "end"}))
        root.append(bar(y, group.width_before * scale, PALE, words))
        root.append(bar(y, group.width_after * scale, SOLID, words))
        change = f"{group.width_before} \u2192 {group.width_after}"
        root.append(text(LABELS + group.width_before * scale + 6, y + 9, change))
    return ET.tostring(root, encoding="unicode") + "\n"


if __name__ == "__main__":
    run, picture = map(Path, sys.argv[1:])
    atomic_write_text(picture, draw(read_record(run / "record.json")))

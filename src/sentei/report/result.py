"""What came out: a sentence, headline numbers, a table."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence

from sentei.records import LatencyRecord, RunRecord
from sentei.report import formats
from sentei.report.elements import el
from sentei.report.facts import Comparison, Facts, SpeedUp
from sentei.report.tables import Cell, number, paragraph, table

_ARROW = "\u00a0\u2192 "
# Quantity: its name, how its value reads, how its change reads.
_QUANTITIES: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "accuracy": ("Top-1 accuracy", formats.percent),
    "loss": ("Loss", formats.significant),
    "macs": ("MACs per sample", formats.count),
    "num_parameters": ("Parameters", formats.count),
    "weight_bytes": ("Weights in memory", formats.num_bytes),
    "activation_bytes": ("Activations, sum", formats.num_bytes),
    "peak_activation_bytes": ("Activations, peak", formats.num_bytes),
    "size_on_disk_bytes": ("Size on disk", formats.num_bytes),
}


def summary(record: RunRecord, facts: Facts) -> ET.Element:
    """Return what came out, in a sentence."""
    macs, accuracy = facts.comparisons["macs"], facts.comparisons["accuracy"]
    clauses = []
    if record.groups:
        removed = facts.num_channels_before - facts.num_channels_after
        of_all = formats.plural(facts.num_channels_before, "channel")
        groups = formats.plural(len(record.groups), "group")
        clauses.append(f"{removed:,} of {of_all} in {groups} removed")
    if macs.reduction is not None and macs.reduction > 1:
        clauses.append(f"{formats.times(macs.reduction)} fewer multiply-adds")
    elif macs.relative is not None:
        clauses.append(f"multiply-adds {formats.change(macs.relative)}")
    clauses += _speed_clause(facts.speedups)
    if accuracy.difference is not None:
        clauses.append(f"accuracy {formats.points(accuracy.difference)}")
    return paragraph("; ".join(clauses), ".", class_="lead")


def _speed_clause(speedups: Sequence[SpeedUp]) -> list[str]:
    measured = [(s.ratio, setting_name(s.setting)) for s in speedups if s.ratio is not None]
    if not measured:
        return []
    (low, setting), (high, _) = min(measured), max(measured)
    if len(measured) == 1:
        return [f"{faster(low)} on {setting}"]
    # Several: the range, for the best alone would flatter.
    settings = formats.plural(len(measured), "setting")
    return [f"measured speed-up {formats.times(low)} to {formats.times(high)} in {settings}"]


def best_speedup(facts: Facts) -> SpeedUp | None:
    """Return the largest measured speed-up, or ``None`` when none was measured."""
    known = [speedup for speedup in facts.speedups if speedup.ratio is not None]
    return max(known, key=lambda speedup: speedup.ratio or 0.0, default=None)


def faster(ratio: float) -> str:
    """Return a speed-up in words; below 1 it is a slowdown."""
    return f"{formats.times(ratio)} faster" if ratio >= 1 else f"{formats.times(1 / ratio)} slower"


def setting_name(latency: LatencyRecord) -> str:
    """Return where a latency was measured: runtime, device, threads, batch size."""
    return (
        f"{latency.runtime}, {latency.device}, {formats.plural(latency.threads, 'thread')}, "
        f"batch\u00a0{latency.batch_size}"
    )


def cards(facts: Facts) -> ET.Element:
    """Return the headline numbers."""
    compared = facts.comparisons
    shown = [
        _accuracy_card(compared["accuracy"]),
        _reduction_card("MACs", compared["macs"], formats.count),
        _reduction_card("Parameters", compared["num_parameters"], formats.count),
    ]
    on_disk = compared["size_on_disk_bytes"]
    if on_disk.before is None and on_disk.after is None:
        shown.append(
            _reduction_card("Weights in memory", compared["weight_bytes"], formats.num_bytes)
        )
    else:
        shown.append(_reduction_card("Size on disk", on_disk, formats.num_bytes))
    shown.append(_speed_card(facts.speedups))
    return el("dl", *shown, class_="cards")


def _number(value: float | None, show: Callable[[float], str]) -> ET.Element:
    cell = number(value, show)
    return el("span", cell.shown, data_value=cell.value)


def _card(name: str, headline: ET.Element, *lines: ET.Element) -> ET.Element:
    return el(
        "div",
        el("dt", name),
        el("dd", headline, class_="headline"),
        *(el("dd", line, class_="line") for line in lines),
        class_="card",
    )


def _before(compared: Comparison, show: Callable[[float], str]) -> ET.Element:
    return el("span", "from ", _number(compared.before, show))


def _accuracy_card(accuracy: Comparison) -> ET.Element:
    lines = [el("span", "not measured")] if accuracy.after is None else []
    if accuracy.before is not None:
        lines.append(_before(accuracy, formats.percent))
    if accuracy.difference is not None:
        lines.append(_number(accuracy.difference, formats.points))
    return _card("Top-1 accuracy", _number(accuracy.after, formats.percent), *lines)


def _reduction_card(name: str, compared: Comparison, show: Callable[[float], str]) -> ET.Element:
    if compared.reduction is None:
        return _card(name, _number(compared.after, show), _before(compared, show))
    line = el("span", _number(compared.before, show), _ARROW, _number(compared.after, show))
    relative = _number(compared.relative, formats.change)
    if compared.reduction <= 1:
        return _card(name, relative, line)
    headline = el("span", _number(compared.reduction, formats.times), el("small", " less"))
    return _card(name, headline, line, relative)


def _speed_card(speedups: Sequence[SpeedUp]) -> ET.Element:
    name = "Measured speed-up"
    measured = [speedup for speedup in speedups if speedup.ratio is not None]
    if not measured:
        return _card(name, el("span", formats.MISSING), el("span", "not measured"))
    if len(measured) == 1:
        setting = el("span", setting_name(measured[0].setting))
        return _card(name, _number(measured[0].ratio, formats.times), setting)
    rows = [
        el(
            "li",
            _number(speedup.ratio, formats.times),
            el("span", setting_name(speedup.setting)),
        )
        for speedup in measured
    ]
    return el("div", el("dt", name), el("dd", el("ul", *rows, class_="speeds")), class_="card")


def result_table(facts: Facts) -> ET.Element:
    """Return all measured quantities before and after."""
    rows: list[list[Cell]] = []
    for name, (title, show) in _QUANTITIES.items():
        compared = facts.comparisons[name]
        if compared.before is None and compared.after is None:
            continue
        change = (
            number(compared.difference, formats.points)
            if name == "accuracy"
            else number(compared.relative, formats.change)
        )
        rows.append([title, number(compared.before, show), number(compared.after, show), change])
    return table(
        "Network before and after pruning", ["Quantity", "Before", "After", "Change"], rows
    )

"""Numbers for people."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sentei.cli.answer import verbatim
from sentei.records import LatencyRecord, RunRecord
from sentei.report import formats

FILES = {
    "model/": "the pruned network: sentei.load_pretrained",
    "model.onnx": "the same for ONNX Runtime and others",
    "report.html": "widths, scores, curves and times, in one page for any browser",
    "record.json": "every number, with its provenance",
    "plan.json": "the channels that were removed",
    "dense/": "the network before pruning",
    "log.txt": "what happened when",
}


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> Table:
    """Return a table whose first column is text and whose others are numbers."""
    made = Table(title=Text(title) if title else None, title_justify="left")
    for index, header in enumerate(headers):
        made.add_column(header, justify="right" if index else "left", overflow="fold")
    for row in rows:
        made.add_row(*map(Text, row))
    return made


def result(record: RunRecord, directory: Path) -> RenderableType:
    """Return what a run came to, before and after, and where everything lies."""
    before, after = record.before, record.after
    rows = [
        _row("MACs per image", before.macs, after.macs, formats.count),
        _row("parameters", before.num_parameters, after.num_parameters, formats.count),
    ]
    sizes = before.size_on_disk_bytes, after.size_on_disk_bytes
    if sizes[0] is not None and sizes[1] is not None:
        rows.append(_row("size on disk", sizes[0], sizes[1], formats.num_bytes))
    if before.accuracy is not None and after.accuracy is not None:
        change = f"{100 * (after.accuracy - before.accuracy):+.1f} points"
        accuracies = f"{before.accuracy:.1%}", f"{after.accuracy:.1%}"
        rows.insert(0, ("test accuracy", *accuracies, change))
    rows += [_latency_row(*pair) for pair in zip(before.latencies, after.latencies, strict=True)]
    files = [
        verbatim(f"  {directory / name}: {words}")
        for name, words in FILES.items()
        if (directory / name).exists()
    ]
    return Group(
        table(("", "before", "after", "change"), rows, title=record.name),
        *(Text(note) for note in record.notes),
        "",
        Text("Made:"),
        *files,
    )


def _row(name: str, before: int, after: int, show: Callable[[float], str]) -> tuple[str, ...]:
    return (name, show(before), show(after), f"{after / before:.1%}")


def _latency_row(before: LatencyRecord, after: LatencyRecord) -> tuple[str, ...]:
    threads = f"{before.threads} thread{'s' if before.threads > 1 else ''}"
    return (
        f"latency, {before.runtime}, {threads}, batch {before.batch_size}",
        f"{before.median_ms:.2f} ms",
        f"{after.median_ms:.2f} ms",
        f"{before.median_ms / after.median_ms:.2f} x as fast",
    )

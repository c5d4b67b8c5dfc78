"""Race sentei against Torch-Pruning: seconds, memory, and which networks each gets right.

    python benchmarks/vs_torch_pruning.py [--only PATTERN] [--fresh]

Same networks, same ratio (half of the channels of every layer, least L1 norm), interleaved in
one process a network, CPU seconds on one core. Every tool first prunes every network once in a
process of its own, under the limits below; a tool that fails there does not run the race. One
JSON line a task goes to benchmarks/results/vs-torch-pruning-COMMIT.jsonl, the page to
docs/results/vs-torch-pruning.md. Exit code 1 when a bar is missed.
"""

import argparse
import fnmatch
import importlib.metadata
import statistics
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, this folder's parent is not on the path

from benchmarks.zoolib.rival import REPEATS, probe, race  # noqa: E402
from benchmarks.zoolib.runner import (  # noqa: E402
    Limits,
    append_record,
    progress,
    read_records,
    revision,
    run_all,
)
from benchmarks.zoolib.table import table  # noqa: E402
from sentei.records import atomic_write_text, hardware  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results" / "vs-torch-pruning.md"
LIMITS = Limits(seconds=120.0, memory_bytes=6 * 10**9)
RACE_LIMITS = Limits(seconds=600.0, memory_bytes=12 * 10**9)

NETWORKS = (
    "torchvision:resnet18",
    "torchvision:resnet50",
    "torchvision:resnext50_32x4d",
    "torchvision:vgg16_bn",
    "torchvision:googlenet",
    "torchvision:squeezenet1_1",
    "torchvision:densenet121",
    "torchvision:mobilenet_v2",
    "torchvision:mobilenet_v3_large",
    "torchvision:mnasnet1_0",
    "torchvision:efficientnet_b0",
    "torchvision:shufflenet_v2_x1_0",
    "torchvision:regnet_x_400mf",
    "torchvision:regnet_y_400mf",
    "torchvision:convnext_tiny",
    "torchvision:vit_b_32",
    "torchvision:swin_t",
    "torchvision:maxvit_t",
    "torchvision:fcn_resnet50",
    "timm:efficientnet_lite0",
    "timm:ghostnet_100",
    "timm:hrnet_w18_small",
    "timm:convnext_atto",
    "timm:vit_tiny_patch16_224",
    "timm:swin_tiny_patch4_window7_224",
    "timm:mobilevit_s",
    "yolo:v8n",
    "segment:unet-resnet18",
)

PLAN_BAR = 10.0
WHOLE_BAR = 2.0
MAX_SECONDS = 15.0
MAX_BYTES = 4 * 10**9

Records = Mapping[str, Mapping[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what has not been run, write the page, and return the exit code."""
    options = _parse(arguments)
    path = options.results or RESULTS / f"vs-torch-pruning-{revision(ROOT)}.jsonl"
    if options.fresh:
        path.unlink(missing_ok=True)
    names = [n for n in NETWORKS if fnmatch.fnmatch(n, options.only or "*")]
    probes = [f"{tool} {n}" for n in names for tool in ("sentei", "torch-pruning")]
    _run(path, probes, probe, LIMITS)
    known = read_records(path)
    _run(path, [_race(known, n) for n in names], race, RACE_LIMITS)
    rows = [row for n in NETWORKS if (row := Row.of(read_records(path), n)) is not None]
    atomic_write_text(options.page, page(rows))
    missed = missed_bars(rows)
    for text in missed:
        print(f"MISSED {text}")
    return 1 if missed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Race sentei against Torch-Pruning.")
    parser.add_argument("--only", metavar="PATTERN", help="names that match, e.g. 'timm:*'")
    parser.add_argument("--fresh", action="store_true", help="forget the results of this commit")
    parser.add_argument("--results", type=Path, help="another file of results")
    parser.add_argument("--page", type=Path, default=PAGE, help="another place for the page")
    return parser.parse_args(arguments)


def _run(path: Path, tasks: Sequence[str], work: Any, limits: Limits) -> None:  # noqa: ANN401
    known = read_records(path)
    todo = [t for t in tasks if t not in known]
    started, commit = time.monotonic(), revision(ROOT, dirty=True)  # of the code that runs
    runs = run_all(todo, work, jobs=1, limits=limits, preload=["benchmarks.zoolib.rival"])
    for done, record in enumerate(runs, start=1):
        append_record(path, {**record, "commit": commit})
        print(progress(done, len(todo), record, started), flush=True)


def _race(known: Records, name: str) -> str:
    """Return the task: both tools race where the rival came through its first run."""
    rival = known.get(f"torch-pruning {name}", {})
    return f"{'both' if 'first_seconds' in rival else 'alone'} {name}"


class Row:
    """What is known of one network.

    Attributes:
        name: The network.
        probes: First runs by tool.
        seconds: Medians of the race, by tool and task.
    """

    def __init__(self, name: str, probes: Records, seconds: Mapping[str, float]) -> None:
        self.name = name
        self.probes = probes
        self.seconds = seconds

    @classmethod
    def of(cls, known: Records, name: str) -> "Row | None":
        """Return the row of a network, None where a tool or the race has not run."""
        probes = {t: known.get(f"{t} {name}", {}) for t in ("sentei", "torch-pruning")}
        race_ = known.get(_race(known, name))
        if race_ is None or not all(probes.values()):
            return None
        return cls(name, probes, race_.get("seconds", {}))

    def ratio(self, task: str) -> float | None:
        """Return how many times faster sentei is, None where the rival has no time."""
        rival = self.seconds.get(f"torch-pruning {task}")
        own = self.seconds.get(f"sentei {task}")
        return rival / own if rival and own else None


def missed_bars(rows: Sequence[Row]) -> list[str]:
    """Return which promises the results break; empty if none."""
    missed = []
    times = [x for row in rows if (x := row.ratio("plan + apply")) is not None]
    if times and statistics.median(times) < PLAN_BAR:
        missed.append(
            f"plan + apply on a traced graph is {statistics.median(times):.1f} times faster in the "
            f"median, not {PLAN_BAR:.0f}"
        )
    for row in rows:
        missed += _missed(row)
    return missed


def _missed(row: Row) -> Iterator[str]:
    probe_ = row.probes["sentei"]
    own, rival = row.seconds.get("sentei whole"), row.seconds.get("torch-pruning whole")
    if not probe_.get("ok"):
        yield f"{row.name}: {probe_.get('stage')}: {probe_.get('reason')}"
    if own is None:
        yield f"{row.name}: has no time"
    elif own > MAX_SECONDS:
        yield f"{row.name}: {own:.1f} s, more than {MAX_SECONDS:.0f} s"
    if own is not None and rival is not None:
        limit = WHOLE_BAR * rival if rival < 1 else rival
        if own > limit:
            yield f"{row.name}: {own:.2f} s with tracing; Torch-Pruning needs {rival:.2f} s"
    if probe_.get("peak_bytes", 0) > MAX_BYTES:
        yield f"{row.name}: {probe_['peak_bytes'] / 1e9:.1f} GB beyond the model"


def page(rows: Sequence[Row]) -> str:
    """Return the page of results."""
    machine = hardware()
    versions = {**machine.libraries}
    # A page can be written where the rival is not installed: then its version is not known.
    with suppress(importlib.metadata.PackageNotFoundError):
        versions["torch-pruning"] = importlib.metadata.version("torch-pruning")
    listed = ", ".join(f"{k} {v}" for k, v in sorted(versions.items()))
    rights = {
        t: sum(bool(r.probes[t].get("ok")) for r in rows) for t in ("sentei", "torch-pruning")
    }
    commits = ", ".join(sorted({p["commit"] for r in rows for p in r.probes.values()}))
    missed = missed_bars(rows)
    parts = [
        "# sentei and Torch-Pruning",
        f"Half of the channels of every layer are removed, those of least L1 norm. Both tools run "
        f"in turn in one process a network, CPU seconds on one core, median of {REPEATS} runs. "
        "*Whole*: trace, score, plan and apply from nothing. *Step*: score, plan and apply where the "
        "graph (Torch-Pruning: its pruner) is there, as in iterative pruning. *Plan + apply* is "
        "the step without scoring, as for many plans from one scoring. Both change the network "
        "in place.",
        "*Right* means: forward runs, and the result equals that of the original with every "
        "removed weight set to zero (norms over channels leave removed channels out), in "
        "float64, to 1e-6. This check is the same for both tools and uses neither: surviving "
        "weights are found by their values. Torch-Pruning is told, as its examples do, the "
        "classifier (of a detector: the whole head) and the heads of attentions, and attributes "
        "that state widths in the code of models are set after it; no layer is rewritten for it, "
        "though its YOLO example does so with the blocks that split their channels. A run may "
        f"take {LIMITS.seconds:.0f} s and {LIMITS.memory_bytes / 1e9:.0f} GB.",
        "*Copy* is how long a plain copy takes of as many bytes as must be read (the rows of every "
        "weight that stay) and written (the result), into memory that is there: no tool can cut "
        "a network faster.",
        f"- command: `python benchmarks/vs_torch_pruning.py`\n- machine: {machine.cpu}, one core, "
        f"Python {machine.python}\n- versions: {listed}\n- commit: {commits}",
        f"Right: sentei {rights['sentei']} of {len(rows)}, Torch-Pruning "
        f"{rights['torch-pruning']} of {len(rows)}. Median over networks that both have a time "
        f"for: whole {_median(rows, 'whole')} times faster, step {_median(rows, 'step')} times, "
        f"plan + apply {_median(rows, 'plan + apply')} times.",
        "Bars missed:\n\n" + "\n".join(f"- {m}" for m in missed) if missed else "All bars are met.",
        table(_HEADER, [_cells(row) for row in rows]),
    ]
    return "\n\n".join(parts) + "\n"


_HEADER = (
    "network",
    "sentei right",
    "Torch-Pruning right",
    "whole: sentei (s)",
    "whole: Torch-Pruning (s)",
    "times faster",
    "step: sentei (s)",
    "step: Torch-Pruning (s)",
    "times faster",
    "plan + apply: sentei (s)",
    "plan + apply: Torch-Pruning (s)",
    "times faster",
    "copy (s)",
    "memory: sentei (MB)",
    "memory: Torch-Pruning (MB)",
)


def _median(rows: Sequence[Row], task: str) -> str:
    found = [x for row in rows if (x := row.ratio(task)) is not None]
    return f"{statistics.median(found):.1f}" if found else "?"


def _cells(row: Row) -> list[str]:
    cells = [row.name, *(_verdict(row.probes[t]) for t in ("sentei", "torch-pruning"))]
    for task in ("whole", "step", "plan + apply"):
        for tool in ("sentei", "torch-pruning"):
            value = row.seconds.get(f"{tool} {task}")
            cells.append("" if value is None else f"{value:.4f}")
        ratio = row.ratio(task)
        cells.append("" if ratio is None else f"{ratio:.1f}")
    copy = row.seconds.get("copy")
    cells.append("" if copy is None else f"{copy:.4f}")
    for tool in ("sentei", "torch-pruning"):
        peak = row.probes[tool].get("peak_bytes")
        cells.append("" if peak is None else f"{peak / 1e6:.0f}")
    return cells


def _verdict(record: Mapping[str, Any]) -> str:
    if record.get("ok"):
        return "yes"
    if record.get("silent"):
        return f"no: runs, {record['reason']}"
    reason = textwrap.shorten(record.get("reason", ""), 100, placeholder=" ...")
    return f"no: {record.get('stage')}: {reason}"


if __name__ == "__main__":
    sys.exit(main())

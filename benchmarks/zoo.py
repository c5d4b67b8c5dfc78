"""Prune every family of timm, all of torchvision, YOLO networks and segmenters, and verify each.

    python benchmarks/zoo.py [--only PATTERN] [--jobs N] [--retry-failed] [--fresh]

One JSON line a network goes to benchmarks/results/zoo-COMMIT.jsonl; what is there is not run
again, so a stopped run goes on where it was. The table goes to docs/results/zoo.md. Exit code 1
when a pruned network computes something else, or fewer networks pass than promised.
"""

import argparse
import fnmatch
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, this folder's parent is not on the path

from benchmarks.zoolib.catalogue import Network, catalogue  # noqa: E402
from benchmarks.zoolib.check import check  # noqa: E402
from benchmarks.zoolib.runner import (  # noqa: E402
    Limits,
    append_record,
    progress,
    read_records,
    revision,
    run_all,
)
from benchmarks.zoolib.table import markdown, missed_bars, summary  # noqa: E402
from sentei.records import atomic_write_text, hardware  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results" / "zoo.md"
_HEAVY = ["benchmarks.zoolib.check"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what has not been run, write the table, and return the exit code."""
    options = _parse(arguments)
    path = options.results or RESULTS / f"zoo-{revision(ROOT)}.jsonl"
    if options.fresh:
        path.unlink(missing_ok=True)
    networks = catalogue(RESULTS / "timm-smallest.json")
    todo = _todo(networks, read_records(path), options)
    print(f"{len(todo)} of {len(networks)} networks to run; results in {path}", flush=True)
    limits = Limits(seconds=options.seconds, memory_bytes=round(options.memory_gb * 1e9))
    started, commit = time.monotonic(), revision(ROOT, dirty=True)  # of the code that runs
    runs = run_all(todo, check, jobs=options.jobs, limits=limits, preload=_HEAVY)
    for done, record in enumerate(runs, start=1):
        append_record(path, {**record, "commit": commit})
        print(progress(done, len(todo), record, started), flush=True)
    return _report(networks, read_records(path), options.page)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Prune and verify whole model zoos.")
    parser.add_argument("--only", metavar="PATTERN", help="names that match, e.g. 'torchvision:*'")
    parser.add_argument("--jobs", type=int, default=1, help="networks at once (default 1)")
    parser.add_argument("--retry-failed", action="store_true", help="run failed ones again")
    parser.add_argument("--fresh", action="store_true", help="forget the results of this commit")
    parser.add_argument("--results", type=Path, help="another file of results")
    parser.add_argument("--page", type=Path, default=PAGE, help="another place for the table")
    parser.add_argument("--seconds", type=float, default=300.0, help="limit a network (300)")
    parser.add_argument("--memory-gb", type=float, default=8.0, help="limit a network (8)")
    return parser.parse_args(arguments)


def _todo(
    networks: Sequence[Network],
    known: Mapping[str, Mapping[str, Any]],
    options: argparse.Namespace,
) -> list[str]:
    names = [n.name for n in networks if fnmatch.fnmatch(n.name, options.only or "*")]
    if options.retry_failed:
        return [n for n in names if n not in known or not known[n]["ok"]]
    return [n for n in names if n not in known]


def _report(networks: Sequence[Network], known: Mapping[str, Mapping[str, Any]], page: Path) -> int:
    records = [known[n.name] for n in networks if n.name in known]
    sources = {n.name: n.source for n in networks}
    machine = hardware()
    versions = ", ".join(f"{k} {v}" for k, v in sorted(machine.libraries.items()))
    commits = sorted({r["commit"] for r in records})
    facts = [
        "command: `python benchmarks/zoo.py` (`make test-zoo`)",
        f"machine: {machine.cpu}, one core a network, Python {machine.python}",
        f"versions: {versions}",
        f"commit: {', '.join(commits)}",
        f"networks: {len(records)} of {len(networks)}",
    ]
    atomic_write_text(page, markdown(records, sources, facts=facts))
    for source, passed, silent, enough, median in summary(records, sources):
        print(f"{source:28s} passed {passed}, silent {silent}, >= 40 % {enough}, median {median}")
    missed = missed_bars(records, sources)
    for text in missed:
        print(f"MISSED {text}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

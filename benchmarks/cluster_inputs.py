"""Measure on this machine what the simulation of a cluster needs: store, driver, worker, images.

Run ``python -m benchmarks.cluster_inputs``; ``--save`` writes the document to
``benchmarks/results/cluster-inputs-<date>.json``, where ``cluster_simulation.py`` finds it. Ten
minutes on two busy cores; ``--skip-ray`` leaves out the round of messages.
"""

import argparse
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.clusterlib.measure_store import measure_store
from benchmarks.clusterlib.measure_wait import measure_wait
from benchmarks.clusterlib.measure_worker import measure_images, measure_macs, measure_worker
from sentei.records import atomic_write_text, hardware, utc_now

RESULTS = Path(__file__).parent / "results"


def run(
    *, num_results: int, backlog: int, runs: int, num_streams: tuple[int, ...]
) -> dict[str, Any]:
    """Return one document: hardware and every measured number.

    Args:
        num_results: Results stored one by one, to an empty store and after ``backlog`` others.
        backlog: Results that a store holds that is opened again.
        runs: Repetitions of what takes under a second, >= 1.
        num_streams: Numbers of actors for which a driver's round of messages is timed.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        store = measure_store(Path(folder), num_results=num_results, backlog=backlog)
    return {
        "benchmark": "cluster inputs",
        "date": utc_now(),
        "hardware": asdict(hardware()),
        "load_average": os.getloadavg()[0],
        "store": store,
        "round_s": {str(num): measure_wait(num, rounds=50) for num in num_streams},
        "worker": measure_worker(runs=runs),
        "images_per_s": measure_images(runs=runs),
        "macs": measure_macs(runs=runs),
    }


def main() -> None:
    """Measure, print, and perhaps save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=int, default=2000, help="results stored one by one")
    parser.add_argument("--backlog", type=int, default=100_000, help="results of a resumed store")
    parser.add_argument("--runs", type=int, default=30, help="repetitions of short measurements")
    parser.add_argument("--skip-ray", action="store_true")
    parser.add_argument("--save", action="store_true", help="write it under benchmarks/results")
    options = parser.parse_args()
    document = run(
        num_results=options.results,
        backlog=options.backlog,
        runs=options.runs,
        num_streams=() if options.skip_ray else (8, 64, 256, 512),
    )
    content = json.dumps(document, indent=2) + "\n"
    print(content, end="")
    if options.save:
        name = f"cluster-inputs-{document['date'][:10]}.json"
        atomic_write_text(RESULTS / name, content)


if __name__ == "__main__":
    main()

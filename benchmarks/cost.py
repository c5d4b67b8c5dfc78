"""How many recipes of a ResNet-50 a second: each cost alone, and all together.

Run ``python benchmarks/cost.py``; ``--json`` prints one JSON document instead of a table,
``--save`` writes it to ``benchmarks/results/cost-<hardware>-<date>.json``.
"""

import argparse
import json
import os
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sentei.cost import COSTS, CostModel
from sentei.graph import trace
from sentei.models import load_model
from sentei.records import atomic_write_text, hardware, utc_now

BAR = 100_000  # recipes a second for multiply-adds and parameters together
RESULTS = Path(__file__).parent / "results"
CASES: tuple[tuple[str, ...], ...] = (
    ("macs", "num_parameters"),
    *((name,) for name in COSTS),
    tuple(COSTS),
)


def run(spec: str, *, num_recipes: int, num_runs: int, seed: int) -> dict[str, Any]:
    """Return one document: hardware, what was timed, and recipes a second of every case.

    Args:
        spec: A network, as ``load_model`` takes it.
        num_recipes: Recipes of one call, >= 1.
        num_runs: Timed calls of each case after one warm-up, >= 1.
        seed: Seed of the recipes, uniform over all possible widths.
    """
    with torch.device("meta"):
        loaded = load_model(spec)
        image = torch.empty(1, *(loaded.input_shape or ()))
    graph = trace(loaded.model.eval(), image)
    start = time.perf_counter()
    model = CostModel.of(graph)
    compile_ms = 1e3 * (time.perf_counter() - start)
    rng = np.random.default_rng(seed)
    columns = [
        g.num_rows * rng.integers(1, g.width // g.num_rows + 1, size=num_recipes)
        for g in graph.groups
    ]
    widths = np.stack(columns, axis=1)
    return {
        "benchmark": "cost",
        "date": utc_now(),
        "hardware": asdict(hardware()),
        "load_average": os.getloadavg()[0],
        "model": spec,
        "num_groups": len(graph.groups),
        "num_recipes": num_recipes,
        "num_runs": num_runs,
        "seed": seed,
        "compile_ms": compile_ms,
        "bar_recipes_per_s": BAR,
        "cases": [time_case(model, widths, names, num_runs=num_runs) for names in CASES],
    }


def time_case(
    model: CostModel, widths: np.ndarray[Any, Any], names: Sequence[str], *, num_runs: int
) -> dict[str, Any]:
    """Return median, slowest and fastest recipes a second of one case."""
    model.costs(widths, names=names)
    rates = []
    for _ in range(num_runs):
        start = time.perf_counter()
        model.costs(widths, names=names)
        rates.append(len(widths) / (time.perf_counter() - start))
    return {
        "costs": list(names),
        "recipes_per_s": statistics.median(rates),
        "slowest_recipes_per_s": min(rates),
        "fastest_recipes_per_s": max(rates),
    }


def table(document: dict[str, Any]) -> str:
    """Return the document as text."""
    machine = document["hardware"]
    lines = [
        f"{document['model']}: {document['num_groups']} groups, {document['num_recipes']} recipes "
        f"a call, median of {document['num_runs']} calls, compiled in "
        f"{document['compile_ms']:.0f} ms",
        f"{machine['cpu']}, {machine['num_cores']} cores, load {document['load_average']:.1f}",
        "",
        f"{'costs':44s} {'recipes/s':>12s} {'slowest':>12s} {'fastest':>12s}",
    ]
    for case in document["cases"]:
        name = "all five" if len(case["costs"]) == len(COSTS) else " + ".join(case["costs"])
        rates = (
            case[k] for k in ("recipes_per_s", "slowest_recipes_per_s", "fastest_recipes_per_s")
        )
        lines.append(f"{name:44s} " + " ".join(f"{rate:12,.0f}" for rate in rates))
    passed = document["cases"][0]["recipes_per_s"] >= BAR
    lines.append(
        f"bar: {BAR:,} recipes/s for macs + num_parameters: {'met' if passed else 'MISSED'}"
    )
    return "\n".join(lines)


def save(document: dict[str, Any]) -> Path:
    """Write the document under ``results`` and return where."""
    machine = re.sub(r"[^a-z0-9]+", "-", document["hardware"]["cpu"].lower()).strip("-")
    path = RESULTS / f"cost-{machine}-{document['date'][:10]}.json"
    atomic_write_text(path, json.dumps(document, indent=2) + "\n")
    return path


def main() -> int:
    """Time, print, and return 1 if the bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="torchvision:resnet50")
    parser.add_argument("--recipes", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--save", action="store_true", help="write it under benchmarks/results")
    options = parser.parse_args()
    document = run(
        options.model, num_recipes=options.recipes, num_runs=options.runs, seed=options.seed
    )
    print(json.dumps(document) if options.json else table(document))
    if options.save:
        save(document)
    return 0 if document["cases"][0]["recipes_per_s"] >= BAR else 1


if __name__ == "__main__":
    raise SystemExit(main())

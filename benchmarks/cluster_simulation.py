"""Simulate a study of 100,000 subnetworks of ResNet-50 on 512 GPUs: time, money, what is lost.

Run ``python -m benchmarks.cluster_simulation``; it prints the tables of ``docs/internet-scale.md``
from the newest ``benchmarks/results/cluster-inputs-*.json`` and the published figures in
``clusterlib/designs.py``. The same seed gives the same tables.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.clusterlib.designs import DESIGNS, IMAGE_BYTES, Design, Inputs
from benchmarks.clusterlib.simulation import Cluster, Outcome, simulate
from sentei.seeding import derive_seed

RESULTS = Path(__file__).parent / "results"

# Node losses an hour. Hardware: 6.50 in 1000 node-days (Kokolis et al., HPCA 2025,
# arXiv:2410.21680, RSC-1, A100), which Llama 3's 419 interruptions in 54 days of 16,384 GPUs, 1.6e-4
# a node-hour, agree with in order of magnitude. The others are assumptions, as no rate of
# pre-emption holds for all clouds.
LOSSES_PER_H = {
    "nothing fails": 0.0,
    "hardware": 6.50e-3 / 24,
    "ten times hardware": 6.50e-2 / 24,
    "spot, once in 20 h": 0.05,
    "spot, once in 3 h": 1 / 3,
}
SHARES = ("start", "queue", "idle", "lost", "down")


def run_design(cluster: Cluster, design: Design, inputs: Inputs, *, seed: int) -> list[Outcome]:
    """Return the outcome of every stage; a stage begins when the one before has ended."""
    return [
        simulate(
            cluster,
            inputs.population(num, epochs=epochs, seed=derive_seed(seed, "jobs", str(stage))),
            num_reports=inputs.reports(epochs=epochs),
            seed=derive_seed(seed, "failures", str(stage)),
        )
        for stage, (num, epochs) in enumerate(design.stages)
    ]


def summary(outcomes: Sequence[Outcome], *, num_gpus: int, price: float) -> dict[str, float]:
    """Return hours, money and shares of GPU time of a study.

    Args:
        outcomes: Of its stages.
        num_gpus: GPUs paid for from the first second to the last, also those that are down.
        price: Of a GPU-hour.
    """
    hours = sum(outcome.wall_s for outcome in outcomes) / 3600
    total = sum(sum(outcome.gpu_s.values()) for outcome in outcomes)
    shares = {s: sum(outcome.gpu_s[s] for outcome in outcomes) / total for s in SHARES}
    return {
        "hours": hours,
        "gpu_hours": hours * num_gpus,
        "money": hours * num_gpus * price,
        **shares,
        "driver": sum(outcome.driver_s for outcome in outcomes) / (3600 * hours),
        "given up": sum(len(outcome.failed) for outcome in outcomes),
        "aborts": sum(outcome.events["aborts"] for outcome in outcomes),
    }


def failure_rows(
    cluster: Cluster, inputs: Inputs, *, price: float, seed: int
) -> Iterator[list[str]]:
    """Yield one row a design and rate of losses."""
    for design in DESIGNS:
        for name, rate in LOSSES_PER_H.items():
            outcomes = run_design(
                replace(cluster, node_failures_per_h=rate), design, inputs, seed=seed
            )
            found = summary(outcomes, num_gpus=cluster.num_gpus, price=price)
            yield [design.name, name, *_cells(found)]


def driver_rows(
    cluster: Cluster, inputs: Inputs, *, price: float, seed: int
) -> Iterator[list[str]]:
    """Yield one row a design and speed of the driver: as measured, quicker, and free."""
    for design in DESIGNS:
        for name, factor in (("as measured", 1.0), ("5 x", 0.2), ("25 x", 0.04), ("free", 0.0)):
            quick = replace(
                cluster,
                result_s=factor * cluster.result_s,
                message_s=factor * cluster.message_s,
            )
            outcomes = run_design(quick, design, inputs, seed=seed)
            found = summary(outcomes, num_gpus=cluster.num_gpus, price=price)
            yield [design.name, name, *_cells(found)]


def input_rows(cluster: Cluster, inputs: Inputs, *, price: float, seed: int) -> Iterator[list[str]]:
    """Yield one row a design and input that is not known, or that is the data's path."""
    others = {
        "time does not shrink with MACs": replace(inputs, share_with_macs=0.0),
        "time shrinks with MACs": replace(inputs, share_with_macs=1.0),
        "a core reads JPEG": replace(inputs, read_images_per_s=_read_measured()["jpeg"]),
        "a core reads uint8": replace(inputs, read_images_per_s=_read_measured()["uint8"]),
    }
    for design in DESIGNS:
        for name, other in others.items():
            outcomes = run_design(cluster, design, other, seed=seed)
            found = summary(outcomes, num_gpus=cluster.num_gpus, price=price)
            yield [design.name, name, *_cells(found)]


def data_rows(cluster: Cluster, inputs: Inputs) -> Iterator[list[str]]:
    """Yield, for every kind of job, its seconds and what a node reads of uint8 images."""
    for epochs in (0, 1, 5):
        seconds = [inputs.job_s(epochs=epochs, macs_left=left) for left in inputs.regimes]
        mean_s = sum(seconds) / len(seconds)
        volume = inputs.images_read(epochs=epochs) * IMAGE_BYTES
        rate = cluster.gpus_per_node * volume / mean_s
        yield [
            f"{epochs}",
            f"{mean_s:.1f}",
            f"{cluster.num_gpus / mean_s:.2f}",
            f"{cluster.num_gpus / mean_s * inputs.reports(epochs=epochs):.0f}",
            f"{volume / 1e9:.1f}",
            f"{rate / 1e9:.1f}",
        ]


def table(head: Sequence[str], rows: Iterator[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def measured_cluster(document: Mapping[str, Any], *, num_nodes: int) -> Cluster:
    """Return a cluster whose driver and workers are as quick as measured."""
    worker = document["worker"]
    steps = ("import_s", "load_s", "trace_s", "costs_s", "score_s")
    message_s = document["round_s"]["512"]
    return Cluster(
        num_nodes=num_nodes,
        start_s=sum(worker[step] for step in steps),
        result_s=document["store"]["mean_s_full"] + message_s,
        message_s=message_s,
    )


def _cells(found: Mapping[str, float]) -> list[str]:
    return [
        f"{found['hours']:.2f}",
        f"{found['gpu_hours']:,.0f}",
        f"{found['money']:,.0f}",
        *(f"{100 * found[share]:.1f}" for share in (*SHARES, "driver")),
        f"{found['given up']:.0f}",
        f"{found['aborts']:.0f}",
    ]


def _read_document() -> dict[str, Any]:
    newest = max(RESULTS.glob("cluster-inputs-*.json"))
    document: dict[str, Any] = json.loads(newest.read_text())
    return document


def _read_measured() -> dict[str, float]:
    rates: dict[str, float] = _read_document()["images_per_s"]
    return rates


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=64, help="machines of 8 GPUs")
    parser.add_argument("--price", type=float, default=2.0, help="of a GPU-hour")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    document = _read_document()
    cluster = measured_cluster(document, num_nodes=options.nodes)
    inputs = Inputs(prune_s=document["worker"]["prune_s"])
    print(f"{cluster}\n{inputs}\n")
    costs = ("wall h", "GPU-h", "money", *(f"{s} %" for s in SHARES), "driver busy %", "given up")
    settings = {"price": options.price, "seed": options.seed}
    for title, rows in (
        ("losses of nodes", failure_rows(cluster, inputs, **settings)),
        ("driver", driver_rows(cluster, inputs, **settings)),
        ("input", input_rows(cluster, inputs, **settings)),
    ):
        print(table(("study", title, *costs, "aborts"), rows), end="\n\n")
    head = ("epochs", "mean s", "jobs/s", "reports/s", "GB read a job", "GB/s a node")
    print(table(head, data_rows(cluster, inputs)))


if __name__ == "__main__":
    main()

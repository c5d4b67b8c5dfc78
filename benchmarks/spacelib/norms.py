"""Ranks of one-shot losses by norms of training images and of the images that are judged.

For the trained subnetworks of a committed study: Kendall's tau, with its bootstrap interval, of either
loss with the drop after training, and of the two losses with each other. The losses with norms of training images are those
of the study's own rows; some are computed again, to show that network, data and protocol are the same.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import get_args

import torch

from benchmarks.zoolib.table import table
from sentei.engine.worker import keep_freed_memory
from sentei.pipeline.network import load_network
from sentei.pipeline.splits import load_splits
from sentei.spaces.config import read_study
from sentei.spaces.evaluate import Evaluator
from sentei.spaces.protocol import Norms
from sentei.spaces.stats_proxy import rank_agreement
from sentei.spaces.subnets import Row

# Shapes: N = subnetworks.

NORMS: tuple[Norms, ...] = get_args(Norms)

_CHECKED = 4  # losses of every regime that are computed again
_TOLERANCE = 1e-3  # relative, between processors


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where network, images and protocol come from.

    Attributes:
        study: TOML file of the study.
        data: As :func:`sentei.data.load_data` takes it.
        weights: File of weights of the dense network.
    """

    study: str
    data: str
    weights: str


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command line."""
    parser.add_argument("--study", default="benchmarks/spaces-resnet20.toml", help="TOML file")
    parser.add_argument("--rows", default="docs/results/spaces-resnet20.json", help="its rows")
    parser.add_argument("--data", required=True, help="such as cifar10:DIR")
    parser.add_argument("--weights", required=True, help="file of the dense network's weights")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")


def run(options: argparse.Namespace) -> int:
    """Print the table; return 1 if the rows are of another network or of other data."""
    source = Source(study=options.study, data=options.data, weights=options.weights)
    rows = _trained(json.loads(Path(options.rows).read_text(encoding="utf-8")))
    levels = sorted({row["regime"] for row in rows}, reverse=True)
    checked = [row for level in levels for row in _at(rows, level)[:_CHECKED]]
    with ProcessPoolExecutor(
        options.workers, get_context("spawn"), initializer=_begin, initargs=(source,)
    ) as pool:
        again = list(pool.map(partial(_loss, "train"), [row["widths"] for row in checked]))
        by_val = list(pool.map(partial(_loss, "val"), [row["widths"] for row in rows]))
    known = [row["one_shot"]["val_loss"] for row in checked]
    off = max(abs(loss / old - 1) for loss, old in zip(again, known, strict=True))
    print(f"{len(checked)} losses of the rows, computed again, are off by {off:.1e} at most\n")
    found = [{**row, "by_val": loss} for row, loss in zip(rows, by_val, strict=True)]
    print(_table(found, levels))
    return 0 if off <= _TOLERANCE else 1


_evaluators: dict[Norms, Evaluator] = {}  # of this process


def _begin(source: Source) -> None:
    keep_freed_memory()
    torch.set_num_threads(1)
    study = read_study(source.study)
    base = study.base
    model = load_network(base.model, num_classes=10, weights=source.weights).model.eval()
    counts = {"train": base.train_images, "val": base.val_images, "test": base.test_images}
    data = load_splits(source.data, model=model, counts=counts)
    for norms in NORMS:
        protocol = replace(study.protocol, one_shot_norms=norms)
        _evaluators[norms] = Evaluator(protocol=protocol, model=model, data=data)


def _loss(norms: Norms, widths: Mapping[str, int]) -> float:
    row = _evaluators[norms].run({"widths": widths, "epochs": 0}, lambda _: None)
    return float(row["val_loss"])


def _at(rows: Sequence[Row], level: float) -> list[Row]:
    return [row for row in rows if row["regime"] == level]


def _trained(rows: Sequence[Row]) -> list[Row]:
    """Return the stratified, trained rows of the first replicate, each subnetwork once."""
    own = {
        (row["regime"], row["subnet"]): row
        for row in rows
        if row["space"] == "stratified" and row["epochs"] and row["replicate"] == 0
    }
    return list(own.values())


def _table(rows: Sequence[Row], levels: Sequence[float]) -> str:
    lines = []
    for level in levels:
        own = _at(rows, level)
        drops_N = [row["drop"] for row in own]
        train_N = [row["one_shot"]["val_loss"] for row in own]
        val_N = [row["by_val"] for row in own]
        pairs = ((train_N, drops_N), (val_N, drops_N), (val_N, train_N))
        lines.append((f"{level:g}", str(len(own)), *(_tau(*pair) for pair in pairs)))
    return table(
        ("MACs", "subnetworks", "norms of train", "norms of val", "one with the other"), lines
    )


def _tau(first: Sequence[float], second: Sequence[float]) -> str:
    found = rank_agreement(first, second)
    return f"{found.tau:.3f} ({found.interval.low:.3f} to {found.interval.high:.3f})"

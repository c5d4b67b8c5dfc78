"""Recipes a second of every sampler of pruning spaces, and what its recipes are like.

Residual channels are kept, so that all samplers apply; the regime is the target give or take half a
percent of the dense network's multiply-adds. Medians of the spread of pruning ratios and of the
share of parameters show that the measure is a part of a space: where samplers differ there, their
populations do. CPU seconds on one thread. A sampler that misses a recipe in its attempts says so
in its row.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.zoolib.table import table
from sentei.cost import CostModel
from sentei.errors import SpaceError
from sentei.graph import trace
from sentei.models import load_model
from sentei.records import hardware
from sentei.spaces.sampling import SAMPLERS, Sampler
from sentei.spaces.space import SpaceConfig, regime
from sentei.spaces.terrain import Terrain

HEADER = ["network", "MACs", "sampler", "recipes/s", "ms each", "median std", "median params"]
ATTEMPTS = {"rejection": 20}  # each is a thousand draws; where 20 fail, none will come soon


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What one sampler did in one regime.

    Attributes:
        per_second: Recipes a CPU second, preparation included: median of the runs.
        spread: Median spread of pruning ratios.
        params: Median share of the parameters.
    """

    per_second: float
    spread: float
    params: float


def terrain_of(spec: str) -> Terrain:
    """Return the terrain of a network whose residual channels are kept."""
    loaded = load_model(spec)
    graph = trace(loaded.model.eval(), torch.zeros(1, *(loaded.input_shape or (3, 32, 32))))
    config = SpaceConfig(name="benchmark", slabs=(), residual_groups="keep")
    return Terrain(graph=graph, costs=CostModel.of(graph), config=config)


def rate(sampler: Sampler, terrain: Terrain, macs: float, *, num: int, num_runs: int) -> Rate:
    """Return the rate of a sampler.

    Raises:
        SpaceError: It finds no recipe.
    """
    seconds, drawn = [], []
    for seed in range(num_runs):
        start = time.process_time()
        drawn.append(sampler.sample(terrain, [regime(macs)], num=num, seed=seed))
        seconds.append(time.process_time() - start)
    found = terrain.quantities(np.concatenate(drawn))
    return Rate(
        per_second=num / statistics.median(seconds),
        spread=statistics.median(found["std"].tolist()),
        params=statistics.median(found["params"].tolist()),
    )


def rows(
    networks: Sequence[str], targets: Sequence[float], *, num: int, num_runs: int
) -> list[list[str]]:
    """Return the lines of the table."""
    terrains = {spec: terrain_of(spec) for spec in networks}
    found = []
    for spec, macs, name in itertools.product(networks, targets, SAMPLERS):
        sampler = SAMPLERS[name](attempts=ATTEMPTS.get(name, 100))
        few = max(1, num // 10) if name == "rejection" else num
        try:
            cells = _cells(rate(sampler, terrains[spec], macs, num=few, num_runs=num_runs))
        except SpaceError as error:
            cells = [str(error).split(";")[0], "", "", ""]
        found.append([spec, f"{macs:g}", name, *cells])
    return found


def _cells(own: Rate) -> list[str]:
    return [
        f"{own.per_second:,.0f}", f"{1e3 / own.per_second:.2f}", f"{own.spread:.3f}",
        f"{own.params:.3f}",
    ]  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command line."""
    parser.add_argument("--networks", nargs="+", default=["resnet20", "resnet56"])
    parser.add_argument("--macs", nargs="+", type=float, default=[0.7, 0.5, 0.3])
    parser.add_argument("--num", type=int, default=100, help="recipes of a run (default 100)")
    parser.add_argument("--runs", type=int, default=3, help="runs, of which the median (default 3)")


def run(options: argparse.Namespace) -> int:
    """Run the benchmark and print its table."""
    machine = hardware()
    print(f"{machine.cpu}, numpy {machine.libraries['numpy']}, scipy {machine.libraries['scipy']}")
    found = rows(options.networks, options.macs, num=options.num, num_runs=options.runs)
    print(table(HEADER, found))
    return 0

"""Terrains of known networks, and the pruned ResNet-50 that a paper published."""

from functools import cache

import torch

from sentei.cost import CostModel
from sentei.graph import Graph, trace
from sentei.models import load_model
from sentei.spaces.space import Slab, SpaceConfig, regime
from sentei.spaces.terrain import Terrain

# Ratios of removed filters at half the MACs: the stem, then for each stage the two inner
# convolutions of every block, and its residual channels last.
# Li et al., EagleEye, ECCV 2020: search_results/best_strategy_res50_50flops.txt of the public
# repository anonymous47823493/EagleEye, commit 4941cc28 (after the score and the target).
EAGLEEYE_RESNET50_HALF = (
    0.10272261, 0.2827283, 0.46222381, 0.46675718, 0.39910313, 0.46953703, 0.45295396, 0.21956719,
    0.13951918, 0.39655863, 0.04569472, 0.31119637, 0.30863393, 0.4472352, 0.38888706, 0.38405677,
    0.29581274, 0.1234234, 0.23327343, 0.1541599, 0.37519254, 0.19114498, 0.30318672, 0.32446214,
    0.37455404, 0.04177907, 0.29925152, 0.40318202, 0.41735264, 0.44579575, 0.20660986, 0.39657288,
    0.25469524, 0.41795762, 0.30585931, 0.14133776, 0.04950175,
)  # fmt: skip


@cache
def graph_of(spec: str) -> tuple[Graph, CostModel]:
    """Return the graph and costs of a network on images of its size, traced once."""
    loaded = load_model(spec)
    graph = trace(loaded.model.eval(), torch.zeros(1, *(loaded.input_shape or (3, 32, 32))))
    return graph, CostModel.of(graph)


def terrain_of(spec: str, *slabs: Slab, **options: object) -> Terrain:
    """Return a terrain, at half the MACs unless slabs are given."""
    graph, costs = graph_of(spec)
    values = {"name": "test", "slabs": [vars(s) for s in slabs or (regime(0.5),)], **options}
    return Terrain(graph=graph, costs=costs, config=SpaceConfig.from_json(values))


def basic_resnet(spec: str, **options: object) -> Terrain:
    """Return the terrain of a CIFAR ResNet whose residual channels are kept: its MACs are linear."""
    return terrain_of(spec, residual_groups="keep", **options)

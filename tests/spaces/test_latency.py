"""Latency as a quantity of recipes: a known clock is found again, and its slabs are kept to."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sentei.errors import CheckpointError, SpaceError
from sentei.spaces import latency as latency_module
from sentei.spaces.latency import LatencyConfig, fit_latency, prepare_latency
from sentei.spaces.sampling import SAMPLERS
from sentei.spaces.space import Slab, SpaceConfig
from sentei.spaces.terrain import Terrain
from tests.support.terrains import graph_of

CONFIG = LatencyConfig(recipes=20)


def macs_by_map(model: nn.Module) -> dict[str, int]:
    """Return the multiply-adds of the convolutions of a CIFAR ResNet, by size of map."""
    found = {"32x32": 0, "16x16": 0, "8x8": 0}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            size = {"layer2": "16x16", "layer3": "8x8"}.get(name.split(".")[0], "32x32")
            found[size] += module.weight.numel() * int(size.split("x")[0]) ** 2
    return found


def clock(models: Mapping[str, nn.Module], *_args: object, **_options: object) -> Any:  # noqa: ANN401
    """Time as a formula: .5 ms, 2 for the dense network's first maps, 1 for its last."""
    macs = {name: macs_by_map(model) for name, model in models.items()}
    dense = macs["0"]
    found = {
        name: SimpleNamespace(
            median_ms=0.5 + 2 * own["32x32"] / dense["32x32"] + own["8x8"] / dense["8x8"],
            device_name="clock", library_version="1", threads=1,
        )
        for name, own in macs.items()
    }  # fmt: skip
    return SimpleNamespace(latencies=found)


@pytest.fixture
def terrain(monkeypatch: pytest.MonkeyPatch) -> Terrain:
    monkeypatch.setattr(latency_module, "compare_latency", clock)
    graph, costs = graph_of("resnet20")
    choices = [np.arange(2, group.width + 1) for group in graph.groups]
    form = fit_latency(CONFIG, graph, choices).form(graph)
    config = SpaceConfig(name="fast", slabs=())
    return Terrain(graph=graph, costs=costs, config=config, latency=form)


def test_a_latency_that_costs_explain_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_module, "compare_latency", clock)
    graph, _ = graph_of("resnet20")
    choices = [np.arange(2, group.width + 1) for group in graph.groups]

    found = fit_latency(CONFIG, graph, choices)

    assert found.dense_ms == pytest.approx(3.5)
    assert len(found.times_ms) == 21
    assert found.largest_error < 1e-6
    dense = macs_by_map(graph.model)
    expected = {"macs 32x32": 2 / dense["32x32"], "macs 8x8": 1 / dense["8x8"], "constant": 0.5}
    for name, value in found.coefficients.items():
        assert value == pytest.approx(expected.get(name, 0.0), rel=1e-4, abs=1e-12), name
    assert found.where == "clock, 1, 1 threads"


def test_recipes_keep_to_a_slab_of_latency(terrain: Terrain) -> None:
    slabs = [Slab(quantity="latency", low=0.55, high=0.6), Slab(quantity="macs", low=0.3, high=0.7)]

    for name in ("hit-and-run", "projection"):
        widths_NG = SAMPLERS[name]().sample(terrain, slabs, num=20, seed=0)

        found = terrain.quantities(widths_NG)["latency"]
        assert ((found >= 0.55 - 1e-9) & (found <= 0.6 + 1e-9)).all()
        assert terrain.inside(widths_NG, slabs).all()
        assert widths_NG.std(axis=0).min() > 0
    assert terrain.quantities(terrain.graph.widths[None])["latency"][0] == pytest.approx(1.0)


def test_a_wider_network_is_never_foretold_to_be_faster(terrain: Terrain) -> None:
    assert terrain.latency is not None
    points = np.random.default_rng(0).uniform(1, terrain.graph.widths[:, None], (12, 50))

    assert terrain.latency.gradient(points).min() >= 0


def test_a_latency_is_measured_once_and_refused_with_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency_module, "compare_latency", clock)
    graph, _ = graph_of("resnet20")
    choices = [np.arange(2, group.width + 1) for group in graph.groups]
    first = prepare_latency(CONFIG, graph, choices, tmp_path)
    monkeypatch.setattr(latency_module, "compare_latency", None)

    again = prepare_latency(CONFIG, graph, choices, tmp_path)

    assert again.coefficients == first.coefficients
    with pytest.raises(CheckpointError, match="was measured otherwise: threads is 1 there and 2"):
        prepare_latency(LatencyConfig(recipes=20, threads=2), graph, choices, tmp_path)
    path = tmp_path / "latency.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(CheckpointError, match="is no latency of a study"):
        prepare_latency(CONFIG, graph, choices, tmp_path)


def test_without_measurements_a_slab_of_latency_is_refused() -> None:
    graph, costs = graph_of("resnet20")
    terrain = Terrain(graph=graph, costs=costs, config=SpaceConfig(name="fast", slabs=()))

    with pytest.raises(SpaceError, match="slab of latency, which was not measured"):
        terrain.region([Slab(quantity="latency", low=0, high=0.5)])


def test_real_networks_are_timed(tmp_path: Path) -> None:
    graph, _ = graph_of("resnet20")
    choices = [np.array([2, group.width]) for group in graph.groups]

    found = prepare_latency(LatencyConfig(recipes=12, runs=10), graph, choices, tmp_path)

    stored = json.loads((tmp_path / "latency.json").read_text())
    assert stored["times_ms"] == list(found.times_ms)
    assert found.times_ms[0] > min(found.times_ms)
    assert min(found.times_ms) > 0
    assert torch.__version__.split("+")[0] in found.where

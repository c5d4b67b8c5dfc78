"""The analysis of a study: all rows in, everything its report shows out."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sentei import __version__
from sentei.records import machine_facts, utc_now
from sentei.report import space_schema as schema
from sentei.spaces import result_edfs, result_power, result_proxies, result_ratio
from sentei.spaces.config import StudyConfig
from sentei.spaces.contest_latency import ContestTimes
from sentei.spaces.explore import SEARCHED, contest
from sentei.spaces.latency import LatencyModel
from sentei.spaces.regime_data import RegimeData
from sentei.spaces.scene import Scene
from sentei.spaces.subnets import Row, choose
from sentei.spaces.terrain import shown
from sentei.spaces.verdicts import judge

_UNKNOWN = "unknown: only the abstract was at hand"


def regimes_of(scene: Scene, rows: Sequence[Row]) -> list[RegimeData]:
    """Return the regimes that have a trained population, in the order of the study."""
    stages = dict(zip(scene.dense, scene.terrain.units.stages, strict=True))
    found = [
        RegimeData(
            config=scene.config,
            network=scene.network,
            level=level,
            bounds=scene.bounds[level],
            dense=scene.dense,
            stages=stages,
            rows=choose(rows, regime=level),
        )
        for level in scene.config.regimes
    ]
    return [data for data in found if data.measured(space="stratified") is not None]


def analyse(
    scene: Scene,
    rows: Sequence[Row],
    dense: Mapping[str, Any],
    *,
    times: Mapping[float, ContestTimes] | None = None,
    failed: int = 0,
) -> schema.Analysis:
    """Return the analysis of a study, also of one that is not finished.

    Args:
        scene: The network.
        rows: All rows there are, each once.
        dense: What is known of the dense network.
        times: Regime -> latencies of what was found there and its rivals, where they were measured.
        failed: Number of jobs that failed.
    """
    times = times or {}
    lost = f" {failed} jobs failed: sentei space status says why." if failed else ""
    regimes = regimes_of(scene, rows)
    contests = {data.level: contest(data) for data in regimes}
    accuracies = {
        level: {name: [row["test_accuracy"] for row in own] for name, own in found.items()}
        for level, found in contests.items()
    }
    verdicts, unjudged = (
        judge(regimes, accuracies, dense_mcb=scene.terrain.dense["mcb"]) if regimes else ((), {})
    )
    return schema.Analysis(
        title=f"Pruning spaces of {scene.network}",
        about=f"{len(rows)} evaluations in {len(regimes)} regimes; data: {_data(scene)}. "
        f"Drops are in percentage points of validation accuracy.{lost}",
        created=utc_now(),
        choices=choices(scene.config),
        regimes=tuple(_regime(data) for data in regimes),
        verdicts=verdicts,
        proxies=tuple(one for data in regimes for one in result_proxies.proxies(data)),
        contenders=tuple(
            _contender(scene, name, own, dense)
            for found in contests.values()
            for name, own in found.items()
        ),
        found=tuple(
            _found(scene, data, name, own, times.get(data.level))
            for data in regimes
            for name, own in contests[data.level].items()
        ),
        missing=unjudged,
        provenance={**provenance(scene.config, dense), **_latency(scene.latency)},
    )


def _data(scene: Scene) -> str:
    """Return the name of the data, without where they lie."""
    return scene.config.base.data.partition(":")[0]


def _regime(data: RegimeData) -> schema.Regime:
    return schema.Regime(
        name=data.name,
        network=data.network,
        level=data.level,
        spaces=result_edfs.space_results(data),
        cells=result_edfs.crossed(data),
        population=result_ratio.population(data),
        profile=result_ratio.profile(data),
        search=result_power.search(data),
        noise=result_power.noise(data),
    )


def _contender(
    scene: Scene, name: str, rows: Sequence[Row], dense: Mapping[str, Any]
) -> schema.Contender:
    accuracies = [row["test_accuracy"] for row in rows]
    mean = sum(accuracies) / len(accuracies)
    spread = sum((a - mean) ** 2 for a in accuracies) / max(1, len(accuracies) - 1)
    first = rows[0]
    return schema.Contender(
        method=name,
        source="own run",
        citation=f"{len(rows)} seeds, the recipe of the study",
        network=f"{scene.network}, {_data(scene)}",
        base_accuracy=dense["accuracy"],
        accuracy=mean,
        deviation=spread**0.5 if len(rows) > 1 else None,
        drop=100 * (dense["accuracy"] - mean),
        macs=first["macs"],
        macs_removed=1 - first["macs_left"],
        params=first["num_parameters"],
        ratio=first["ratio"],
        epochs=first["epochs"],
    )


def _found(
    scene: Scene, data: RegimeData, name: str, rows: Sequence[Row], times: ContestTimes | None
) -> schema.Found:
    first = rows[0]
    speedup = None if times is None else times.speedups.get(name)
    return schema.Found(
        name=f"found by {name}" if name in SEARCHED else name,
        regime=data.name,
        groups=tuple(scene.dense),
        widths_before=tuple(scene.dense.values()),
        widths=tuple(first["widths"][group] for group in scene.dense),
        macs=first["macs"],
        params=first["num_parameters"],
        ratio=first["ratio"],
        accuracy=sum(row["test_accuracy"] for row in rows) / len(rows),
        latency_ms=None if times is None else times.times_ms.get(name),
        speedup=None if speedup is None else speedup[0],
        speedup_interval=None if speedup is None else speedup[1:],
        device="" if times is None else times.where,
    )


def choices(config: StudyConfig) -> tuple[schema.Choice, ...]:
    """Return every named choice of a study, with what is known of the paper's."""
    space, population = config.space, config.population
    sources = {
        "criterion": (config.protocol.criterion, "any criterion of sentei", _UNKNOWN),
        "unit of a recipe": (space.unit, "group, layer, block, stage", _UNKNOWN),
        "residual groups": (space.residual_groups, "prune, keep", _UNKNOWN),
        "first convolution": (space.first_conv, "prune, keep", _UNKNOWN),
        "last convolution": (space.last_conv, "prune, keep", _UNKNOWN),
        "rounding": (space.rounding, "nearest, floor_removed", _UNKNOWN),
        "least share of a group": (f"{space.floor:g}", "any in [0, 1]", _UNKNOWN),
        "MACs-to-parameter ratio": (space.ratio, "params, removed, activations", "the words"),
        "MACs in that ratio": (space.mac_scope, "all, conv", _UNKNOWN),
        "parameters counted": (
            f"{space.param_scope}, norms {'in' if space.count_bn else 'out'}",
            "all, conv, conv_no_stem_fc, filters",
            _UNKNOWN,
        ),
        "regimes": (
            f"{', '.join(f'{t:g}' for t in config.regimes)} of the {shown(config.regime_by)}, "
            f"± {config.window:g}",
            "any levels of macs, params",
            "the word",
        ),
        "parameter buckets": (
            ", ".join(f"{edge:g}" for edge in space.bucket_edges) or "the total",
            "any edges of shares of the parameters",
            "the word",
        ),
        "sampler of natural populations": (
            _sampler(population.natural_sampler, population.natural_options),
            "any sampler",
            _UNKNOWN,
        ),
        "sampler of strata": (
            _sampler(population.stratified_sampler, population.stratified_options),
            "any sampler",
            _UNKNOWN,
        ),
        "subnetworks of a regime": (
            f"{population.strata} strata of m by {population.per_stratum}, trained; "
            f"{population.natural} natural ones, one shot",
            "any number",
            _UNKNOWN,
        ),
        "screen of the search": (
            config.search.screen,
            "val_loss, num_parameters, synflow, snip, grad_norm, jacob_cov, naswot",
            _UNKNOWN,
        ),
        "cells of STD by m": (_cells(config), "any regimes, bins and number", _UNKNOWN),
        "norms of one shots": (_norms(config), "one_shot_norms = train, val", _UNKNOWN),
        "epochs": (f"{config.protocol.epochs}", "any number", _UNKNOWN),
        "weights": (config.protocol.weights, "kept, new", _UNKNOWN),
        "winners": (
            result_ratio.winners_shown(config.thresholds),
            "best1, top_q, within_eps, bootstrap_best",
            _UNKNOWN,
        ),
    }
    return tuple(
        schema.Choice(name=name, value=str(value), alternatives=others, paper=paper)
        for name, (value, others, paper) in sources.items()
    )


def _latency(model: LatencyModel | None) -> dict[str, str]:
    """Return what slabs of latency rest on, in words; nothing where none was measured."""
    if model is None:
        return {}
    measured = f"{model.dense_ms:.3g} ms for the dense network, {model.where}"
    fitted = (
        f"foretold from {len(model.times_ms)} timed networks; each by the others: off by "
        f"{model.error:.1%} in the median, {model.largest_error:.1%} at most"
    )
    return {"latency": f"{measured}; {fitted}"}


def _norms(config: StudyConfig) -> str:
    protocol = config.protocol
    if protocol.one_shot_norms == "val":
        return f"of each batch of {protocol.recalibration_batch} validation images, by itself"
    return f"measured on {protocol.recalibration_images} training images"


def _cells(config: StudyConfig) -> str:
    population = config.population
    levels = ", ".join(f"{t:g}" for t in population.cell_regimes)
    if not levels:
        return "none"
    return (
        f"in regime {levels}: {len(population.std_bins)} bins of STD by {population.cell_bins} of m, "
        f"{population.per_cell} trained of each"
    )


def _sampler(name: str, options: Mapping[str, Any]) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in options.items())])


def provenance(config: StudyConfig, dense: Mapping[str, Any]) -> dict[str, str]:
    """Return what the numbers of a study rest on, in words."""
    return {
        "sentei": __version__,
        "base network": f"{dense['val_accuracy']:.4f} on {dense['val_images']} validation and "
        f"{dense['accuracy']:.4f} on {dense['test_images']} test images",
        "SHA-256 of its weights": str(dense["sha256"]),
        "SHA-256 of the data": str(dense["data_digest"]),
        "study": json.dumps(config.as_json()),
        **machine_facts(),
    }

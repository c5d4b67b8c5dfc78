"""The stages of a run; each reads what earlier ones left on disk, and returns JSON values."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from sentei.cost import Counts, measure
from sentei.data import DataSplits
from sentei.data.base import num_samples
from sentei.deploy import TimerOptions, compare_latency, export_onnx
from sentei.errors import ModelError
from sentei.graph import trace
from sentei.pipeline.journal import ONNX_NAME, PLAN_NAME, RECORD_NAME, REPORT_NAME
from sentei.pipeline.network import Network, load_network
from sentei.pipeline.recording import make_record
from sentei.pipeline.rounds import (
    Kept,
    Selection,
    all_channels,
    compose,
    group_records,
    plan_of,
    prune_round,
)
from sentei.pipeline.splits import with_channels
from sentei.pipeline.workshop import DENSE_STAGE, EVALUATION_BATCH, Workshop, use_fast_format
from sentei.records import atomic_write_text, write_record
from sentei.report import write_report
from sentei.surgery.checkpoint import WEIGHTS_NAME
from sentei.train import TrainConfig, evaluate

VERIFIED_IMAGES = 2

Found: TypeAlias = dict[str, Any]
Stage: TypeAlias = Callable[[], Found]


def all_stages(shop: Workshop) -> dict[str, Stage]:
    """Return every stage of a run, in order, by name."""
    rounds: dict[str, Stage] = {
        f"round {step}": lambda step=step: _prune(shop, step)  # type: ignore[misc]
        for step in range(1, shop.config.steps + 1)
    }
    onnx: dict[str, Stage] = {"onnx": lambda: _export(shop)} if shop.config.onnx else {}
    return {
        DENSE_STAGE: lambda: _make_dense(shop),
        "dense on test": lambda: _test(shop, shop.dense_folder),
        **rounds,
        "recovery": lambda: _recover(shop),
        "pruned on test": lambda: _test(shop, shop.model_folder),
        "costs": lambda: _count(shop),
        "latency": lambda: _time(shop),
        **onnx,
        "record": lambda: _record(shop),
    }


def _make_dense(shop: Workshop) -> Found:
    config = shop.config
    data = shop.load_data(in_channels=None)
    network = load_network(
        config.model,
        num_classes=data.num_classes,
        weights=config.weights,
        pretrained=config.pretrained,
        trust_code=config.trust_code,
        seed=config.seed,
    )
    channels = None if network.input_shape is None else network.input_shape[0]
    shop.data = data = with_channels(data, channels, lambda n: shop.load_data(in_channels=n))
    network.check_takes(data.input_shape, of=config.data)
    _check_finite(network)
    digest = _digest(network.model)
    curve = _fine_tune(shop, network)
    shop.save(network.model, shop.dense_folder, source=network.source)
    return {
        "source": network.source,
        "data": _data_record(data),
        "data_channels": data.input_shape[0],
        "notes": list(network.notes),
        "digest": digest,
        "curve": curve,
    }


def _check_finite(network: Network) -> None:
    for name, tensor in network.model.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ModelError(
                f"{network.name}: {name} holds NaN or infinite values; load weights that are finite"
            )


def _fine_tune(shop: Workshop, network: Network) -> list[Found]:
    when = shop.config.fine_tune_when
    if when == "never" or (when == "new-classifier" and not network.is_new):
        return []
    return shop.train(network.model, shop.config.fine_tune, phase="fine-tune")


def _test(shop: Workshop, folder: Path) -> Found:
    model = shop.load(folder)
    use_fast_format(model)
    found = evaluate(
        model,
        shop.data.loader("test", batch_size=EVALUATION_BATCH),
        device=shop.config.device,
        on_progress=shop.journal.watch,
    )
    return {
        "accuracy": found.accuracy,
        "loss": found.loss,
        "num_samples": found.num_samples,
        "balanced_accuracy": found.balanced_accuracy,
        "f1": found.f1,
        "auc": found.auc,
    }


def _prune(shop: Workshop, step: int) -> Found:
    config = shop.config
    model = shop.load(shop.round_folder(step - 1))
    inputs = shop.example(VERIFIED_IMAGES)
    earlier = shop.journal.results.get(f"round {step - 1}", {})
    dense_costs = earlier.get("dense_costs") or dataclasses.asdict(measure(model, inputs[:1]))
    done = prune_round(
        model,
        inputs,
        budget=config.budget_of_step(step, dense_costs),
        selection=_selection(shop, earlier.get("groups")),
        batches=shop.calibration(),
        scoring_device=config.device,
    )
    kept = compose(earlier.get("kept") or all_channels(done.graph), done.plan)
    groups = earlier.get("groups") or group_records(done.graph, done.scores)
    shop.recalibrate(done.model)
    curve = []
    if step < config.steps and config.step_epochs:
        curve = shop.train(done.model, _between_rounds(shop), phase=f"round {step}")
    shop.save(done.model, shop.round_folder(step))
    if step == config.steps:
        _write_plan(shop, kept)
    return {
        "kept": kept,
        "groups": groups,
        "dense_costs": dense_costs,
        "verification": dataclasses.asdict(done.verification),
        "notes": list(done.allocation.notes),
        "curve": curve,
    }


def _selection(shop: Workshop, dense_groups: list[Found] | None) -> Selection:
    config = shop.config
    widths = None
    if dense_groups is not None:
        widths = {g["name"]: g["width_before"] for g in dense_groups if g["frozen"] is None}
    return Selection(
        criterion=config.criterion,
        scope=config.scope,
        round_to=config.round_to,
        floor=config.floor,
        tolerance=config.tolerance,
        protect=config.protect,
        dense_widths=widths,
    )


def _between_rounds(shop: Workshop) -> TrainConfig:
    recipe, epochs = shop.config.recover, shop.config.step_epochs
    return dataclasses.replace(
        recipe, epochs=epochs, warmup_epochs=min(recipe.warmup_epochs, epochs / 2)
    )


def _write_plan(shop: Workshop, kept: Kept) -> None:
    graph = trace(
        shop.load(shop.dense_folder), shop.example(VERIFIED_IMAGES), protect=shop.config.protect
    )
    atomic_write_text(shop.directory / PLAN_NAME, plan_of(graph, kept).to_json() + "\n")


def _recover(shop: Workshop) -> Found:
    model = shop.load(shop.round_folder(shop.config.steps))
    curve: list[Found] = []
    if shop.config.recover_when == "always":
        curve = shop.train(model, shop.config.recover, phase="recover")
    shop.save(model, shop.model_folder)
    return {"curve": curve}


def _count(shop: Workshop) -> Found:
    return {
        "dense": _costs(shop, shop.dense_folder),
        "pruned": _costs(shop, shop.model_folder),
    }


def _costs(shop: Workshop, folder: Path) -> Found:
    counts: Counts = measure(shop.load(folder), shop.example(1))
    size = (folder / WEIGHTS_NAME).stat().st_size
    return {**dataclasses.asdict(counts), "size_on_disk_bytes": size}


def _time(shop: Workshop) -> Found:
    config = shop.config.latency
    models = {"dense": shop.load(shop.dense_folder), "pruned": shop.load(shop.model_folder)}
    found: Found = {}
    for runtime in config.runtimes:
        compared = compare_latency(
            models,
            shop.example(1),
            runtime=runtime,
            options=TimerOptions(
                batch_size=config.batch_size,
                threads=config.threads,
                min_runs=config.min_runs,
                max_seconds=config.max_seconds,
                device=config.device,
            ),
            seed=shop.config.seed,
        )
        found[runtime] = {
            "dense": dataclasses.asdict(compared.latencies["dense"]),
            "pruned": dataclasses.asdict(compared.latencies["pruned"]),
            "speedup": dataclasses.asdict(compared.speedups["pruned"]),
        }
    return {"runtimes": found}


def _export(shop: Workshop) -> Found:
    exported = export_onnx(
        shop.load(shop.model_folder),
        shop.example(VERIFIED_IMAGES),
        shop.directory / ONNX_NAME,
    )
    return {
        "num_bytes": exported.num_bytes,
        "dynamic_batch": exported.dynamic_batch,
        "static_reason": exported.static_reason,
        "max_abs_difference": exported.max_abs_difference,
    }


def _record(shop: Workshop) -> Found:
    record = make_record(shop.config, shop.journal.results)
    write_record(shop.directory / RECORD_NAME, record)
    write_report([record], shop.directory / REPORT_NAME)
    return {}


def _data_record(data: DataSplits) -> Found:
    return {
        "name": data.name,
        "digest": data.digest,
        "num_train": num_samples(data.train),
        "num_val": num_samples(data.val),
        "num_test": num_samples(data.test),
    }


def _digest(model: nn.Module) -> str:
    """Return the SHA-256 of all tensors of a network, by name."""
    sha = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sha.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()

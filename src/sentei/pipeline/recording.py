"""What all stages found, as one record."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from sentei import __version__
from sentei.pipeline.config import RunConfig
from sentei.pipeline.workshop import DENSE_STAGE
from sentei.records import (
    DataRecord,
    EpochRecord,
    GroupRecord,
    LatencyRecord,
    Measurement,
    RunRecord,
    hardware,
    utc_now,
)

Results = Mapping[str, Mapping[str, Any]]


def make_record(config: RunConfig, results: Results) -> RunRecord:
    """Return the record of a run whose other stages are all done."""
    on_cuda = torch.device(config.device).type == "cuda"
    gpu = torch.cuda.get_device_name(config.device) if on_cuda else None
    last_round = results[f"round {config.steps}"]
    kept = last_round["kept"]
    groups = (
        GroupRecord(
            **{**group, "scores": tuple(group["scores"])},
            width_after=len(kept.get(group["name"], range(group["width_before"]))),
        )
        for group in last_round["groups"]
    )
    dense = results[DENSE_STAGE]
    return RunRecord(
        kind="prune",
        name=config.name,
        created=utc_now(),
        code_version=__version__,
        config=config.as_json(),
        seeds={"run": config.seed, "split": config.split_seed},
        data=DataRecord(**dense["data"]),
        checkpoint_digest=dense["digest"],
        hardware=hardware(gpu=gpu),
        before=_measurement(results, "dense"),
        after=_measurement(results, "pruned"),
        groups=tuple(groups),
        curve=tuple(_epoch(e) for found in results.values() for e in found.get("curve", ())),
        seconds={name: found["seconds"] for name, found in results.items()},
        notes=_notes(config, results),
    )


def _measurement(results: Results, network: str) -> Measurement:
    test = results[f"{network} on test"]
    fields = {field.name for field in dataclasses.fields(LatencyRecord)}
    return Measurement(
        **results["costs"][network],
        accuracy=test["accuracy"],
        loss=test["loss"],
        latencies=tuple(
            LatencyRecord(**{k: v for k, v in found[network].items() if k in fields})
            for found in results["latency"]["runtimes"].values()
        ),
    )


def _epoch(values: Mapping[str, Any]) -> EpochRecord:
    # Training counts epochs from 1, records from 0.
    return EpochRecord(**{**values, "epoch": values["epoch"] - 1})


def _notes(config: RunConfig, results: Results) -> tuple[str, ...]:
    notes = [*results[DENSE_STAGE]["notes"]]
    for step in range(1, config.steps + 1):
        found = results[f"round {step}"]
        notes += found["notes"]
        verification = found["verification"]
        notes.append(
            f"Round {step}: the pruned network equals the masked original within "
            f"{verification['output_error']:.1e} (outputs) and "
            f"{verification['gradient_error']:.1e} (input gradients), in float64."
        )
    for network in ("dense", "pruned"):
        test = results[f"{network} on test"]
        scores = {
            "balanced accuracy": test["balanced_accuracy"],
            "F1 of class 1": test["f1"],
            "AUC": test["auc"],
        }
        listed = ", ".join(f"{k} {v:.4f}" for k, v in scores.items() if v is not None)
        notes.append(f"Test, {network} network, {test['num_samples']} images: {listed}.")
    for runtime, found in results["latency"]["runtimes"].items():
        speedup = found["speedup"]
        notes.append(
            f"{runtime}: {speedup['ratio']:.2f} times as fast ({speedup['confidence']:.0%} "
            f"interval {speedup['low']:.2f} to {speedup['high']:.2f})."
        )
    return tuple(dict.fromkeys(notes))

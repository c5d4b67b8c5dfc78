"""One job of a comparison: a method, a target, a recipe and a seed, to a row of the table."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from sentei.allocate import Budget
from sentei.compare.config import CompareConfig
from sentei.cost import Counts, measure
from sentei.data import DataSplits
from sentei.engine.job import Report, Run
from sentei.methods import METHODS, Outcome, Task
from sentei.methods.base_network import load_base
from sentei.pipeline.workshop import EVALUATION_BATCH, use_fast_format
from sentei.records import code_commit
from sentei.train import evaluate
from sentei.train.progress import telling


def make_runner(context: Mapping[str, Any]) -> Run:
    """Return what runs the jobs of a comparison in a worker.

    Args:
        context: ``config``, as :meth:`CompareConfig.as_json` gives it, and ``directory``, where
            the base network lies.
    """
    config = CompareConfig.from_json(context["config"])
    model, data = load_base(config, Path(context["directory"]))
    bench = _Bench(config, model, data)
    return bench.run


class _Bench:
    """What all jobs of a worker share."""

    def __init__(self, config: CompareConfig, model: nn.Module, data: DataSplits) -> None:
        self.config = config
        self.model = model
        self.data = data
        images, _ = next(iter(data.loader("train", batch_size=1)))
        self.inputs = images
        self.dense = measure(model, images)
        self.commit = code_commit()

    def run(self, spec: dict[str, Any], report: Report) -> dict[str, Any]:
        """Return the row of one job."""
        config = self.config
        task = Task(
            model=self.model,
            data=self.data,
            budget=Budget.parse(spec["target"]),
            recipe=config.recipe(spec["recipe"]),
            seed=spec["seed"],
            batch_size=config.batch_size,
            augment=config.augment,
            calibration_images=config.calibration_images,
            floor=config.floor,
            tolerance=config.tolerance,
            round_to=config.round_to,
            protect=config.protect,
            device=config.device,
            on_progress=telling(report),
        )
        outcome = METHODS[spec["method"]].run(task)
        return {**spec, **self._row(spec["method"], outcome)}

    def _row(self, method: str, outcome: Outcome) -> dict[str, Any]:
        use_fast_format(outcome.model)
        batches = self.data.loader("test", batch_size=EVALUATION_BATCH)
        test = evaluate(outcome.model, batches, device=self.config.device)
        outcome.model.cpu()
        counts: Counts = measure(outcome.model, self.inputs)
        card = METHODS[method].card
        macs = counts.macs if outcome.sparse_macs is None else outcome.sparse_macs
        last = outcome.curve[-1] if outcome.curve else None
        return {
            "section": card.section,
            "granularity": card.granularity,
            "accuracy": test.accuracy,
            "loss": test.loss,
            "auc": test.auc,
            "val_accuracy": None if last is None else last.val_accuracy,
            "before_recovery": outcome.before_recovery.accuracy,
            "macs": macs,
            "macs_left": macs / self.dense.macs,
            "params_left": counts.num_parameters * outcome.density / self.dense.num_parameters,
            "widths": dict(outcome.widths),
            "seconds": {k: round(v, 3) for k, v in outcome.seconds.items()},
            "epochs": dict(Counter(r.phase for r in outcome.curve)),
            "curve": [dataclasses.asdict(r) for r in outcome.curve],
            "verification": None
            if outcome.verification is None
            else dataclasses.asdict(outcome.verification),
            "notes": list(outcome.notes),
            "commit": self.commit,
        }

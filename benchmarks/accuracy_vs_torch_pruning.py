"""Accuracy at equal MACs: sentei against the pruners of Torch-Pruning, one network, one recipe.

    python benchmarks/accuracy_vs_torch_pruning.py --data cifar10:DIR --weights FILE

Every row prunes the same checkpoint and has the same epochs, images, order and augmentation; a
pruner that trains sparse first pays for it with half of them. One JSON line a job goes to
docs/results/accuracy-vs-torch-pruning.jsonl (a run that was stopped goes on where it stopped),
the page beside it. Exit code 1 when a bar is missed.
"""

import argparse
import copy
import importlib
import importlib.metadata
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, this folder's parent is not on the path

from benchmarks.studylib import mean_and_error  # noqa: E402
from benchmarks.zoolib.runner import append_record, read_records, revision  # noqa: E402
from benchmarks.zoolib.table import table  # noqa: E402
from sentei.allocate import SCOPES, Budget  # noqa: E402
from sentei.cost import measure  # noqa: E402
from sentei.criteria import CRITERIA  # noqa: E402
from sentei.data import DataSplits  # noqa: E402
from sentei.methods import METHODS, Composition, Outcome, Task  # noqa: E402
from sentei.methods.base import BASELINE, Card, Method  # noqa: E402
from sentei.methods.task import Phase, Stopwatch  # noqa: E402
from sentei.models import load_model  # noqa: E402
from sentei.pipeline.config import RunConfig  # noqa: E402
from sentei.pipeline.splits import load_splits  # noqa: E402
from sentei.records import atomic_write_text, hardware  # noqa: E402
from sentei.train import Hook, TrainConfig, evaluate  # noqa: E402

RESULTS = ROOT / "docs" / "results" / "accuracy-vs-torch-pruning.jsonl"
PAGE = ROOT / "docs" / "results" / "accuracy-vs-torch-pruning.md"
TARGETS = (0.5, 0.25)
FLOOR = 0.1
RECIPE = TrainConfig(epochs=2, learning_rate=0.02, amp="bfloat16")
IMAGES = {"train": 4000, "val": 1000, "test": 4000}
# Torch-Pruning leaves shapes that do not fit when it cuts the residual stream of ResNet-20, whose
# shortcuts pad with zeros: it keeps the stream.
STREAM = ("conv1", *(f"layer{i}.{j}.conv2" for i in (1, 2, 3) for j in (0, 1, 2)), "linear")


@dataclass(frozen=True, kw_only=True)
class Rival(Method):
    """A pruner of Torch-Pruning on a task of sentei's: same images, recipe and budget of epochs.

    Attributes:
        pruner: Name of its class.
        importance: What builds its importance, of ``torch_pruning.importance``.
        is_global: One order over all layers.
        is_sparse: Half of the epochs train with the pruner's own regularizer.
    """

    pruner: str = "BasePruner"
    importance: Callable[[Any], Any]
    is_global: bool
    is_sparse: bool = False

    def run(self, task: Task) -> Outcome:
        """Return the smaller network; see :meth:`Method.run`."""
        watch = Stopwatch()
        model = copy.deepcopy(task.model)
        before, after = task.split_epochs(0.5 if self.is_sparse else 0.0)
        curve = []
        with watch("sparse"):
            hook = _Regularize(self._build(model, task, 0.5))
            curve += task.train(model, Phase(name="sparse", epochs=before, hooks=[hook]))
        with watch("score"):
            small = self._cut(model.eval(), task)
            task.recalibrate(small)
            judged = task.validate(small)
        with watch("recover"):
            phase = Phase(name="recover", epochs=after, first_epoch=len(curve))
            curve += task.train(small, phase)
            task.recalibrate(small)
        return Outcome(
            model=small,
            widths={},
            verification=None,
            curve=tuple(curve),
            seconds=watch.seconds,
            before_recovery=judged,
        )

    def _build(self, model: nn.Module, task: Task, ratio: float) -> Any:  # noqa: ANN401 - no types there
        rival: Any = importlib.import_module("torch_pruning")
        modules = dict(model.named_modules())
        return getattr(rival.pruner, self.pruner)(
            model,
            task.inputs[:1],
            importance=self.importance(rival.importance),
            global_pruning=self.is_global,
            pruning_ratio=ratio,
            max_pruning_ratio=1 - FLOOR,
            ignored_layers=[modules[name] for name in STREAM],
        )

    def _cut(self, model: nn.Module, task: Task) -> nn.Module:
        """Return the network of the ratio whose multiply-adds come nearest to the budget."""
        dense = measure(task.model, task.inputs[:1]).macs
        wanted = task.budget.macs
        assert wanted is not None
        ratios = np.linspace(0.05, 1 - FLOOR, 171)
        found: list[tuple[float, nn.Module]] = []
        low, high = 0, len(ratios)
        while high - low > 1:
            middle = (low + high) // 2
            small = copy.deepcopy(model)
            self._build(small, task, float(ratios[middle])).step()
            excess = measure(small, task.inputs[:1]).macs / dense - wanted
            found.append((abs(excess), small))
            low, high = (middle, high) if excess > 0 else (low, middle)
        return min(found, key=lambda pair: pair[0])[1]


class _Regularize(Hook):
    """Lets a pruner of Torch-Pruning add to the gradients."""

    def __init__(self, pruner: Any) -> None:  # noqa: ANN401 - no types there
        self.pruner = pruner

    def after_backward(self, model: nn.Module, /) -> None:
        self.pruner.regularize(model)


def _magnitude(p: int, importances: Any) -> Any:  # noqa: ANN401 - no types there
    return importances.MagnitudeImportance(p=p)


def _bn_scale(importances: Any) -> Any:  # noqa: ANN401 - no types there
    return importances.BNScaleImportance()


def _group_norm(importances: Any) -> Any:  # noqa: ANN401 - no types there
    return importances.GroupMagnitudeImportance(p=2)


def _rivals() -> dict[str, Method]:
    """Return the pruners of Torch-Pruning, by the name of their row."""
    magnitude = {
        f"MagnitudeImportance p={p}, {scope}": partial(
            Rival, importance=partial(_magnitude, p), is_global=scope == "global"
        )
        for p in (1, 2)
        for scope in ("local", "global")
    }
    trained = {
        f"{pruner}, {scope}": partial(
            Rival, pruner=pruner, importance=importance, is_global=scope == "global", is_sparse=True
        )
        for pruner, importance in (("BNScalePruner", _bn_scale), ("GroupNormPruner", _group_norm))
        for scope in ("local", "global")
    }
    card = Card(summary="A pruner of Torch-Pruning", section=BASELINE)
    rows = {**magnitude, **trained}
    return {f"Torch-Pruning {name}": build(card=card) for name, build in rows.items()}


def _own(names: Sequence[str]) -> dict[str, Method]:
    """Return rows of sentei: its default, the named methods, and ``criterion scope`` pairs."""
    config = RunConfig(model="resnet20", data="digits", output="unused", budget=Budget(macs=0.5))
    default = f"{config.criterion} {config.scope}"
    found: dict[str, Method] = {"sentei default": _pair(default)}
    for name in names:
        found[f"sentei {name}"] = _pair(name) if " " in name else METHODS[name]
    return found


def _pair(name: str) -> Composition:
    criterion, scope = name.split()
    card = Card(summary=name, section=BASELINE)
    return Composition(card=card, criterion=CRITERIA[criterion](), scope=SCOPES[scope]())


# Jobs ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The network and the images of all jobs."""

    model: nn.Module
    data: DataSplits

    def run(self, method: Method, target: float, seed: int) -> dict[str, Any]:
        """Return the record of one job."""
        begin = time.perf_counter()
        task = Task(
            model=self.model,
            data=self.data,
            budget=Budget(macs=target),
            recipe=RECIPE,
            seed=seed,
            floor=FLOOR,
            tolerance=0.02,  # local shares of narrow groups move in coarse steps
        )
        outcome = method.run(task)
        test = evaluate(outcome.model, self.data.loader("test", batch_size=256))
        inputs = task.inputs[:1]
        dense, small = measure(self.model, inputs), measure(outcome.model, inputs)
        return {
            "target": target,
            "seed": seed,
            "val_accuracy": outcome.curve[-1].val_accuracy,
            "test_accuracy": test.accuracy,
            "before_recovery": outcome.before_recovery.accuracy,
            "macs_left": small.macs / dense.macs,
            "params_left": small.num_parameters / dense.num_parameters,
            "seconds": round(time.perf_counter() - begin, 1),
            "commit": revision(ROOT),
        }


def load_bench(options: argparse.Namespace) -> Bench:
    """Return the network with a random part of its data, the same in every run."""
    model = load_model("resnet20", weights=options.weights).model.eval()
    return Bench(model=model, data=load_splits(options.data, counts=IMAGES))


# The page --------------------------------------------------------------------------------------

Records = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Mean and standard error over the seeds of one row at one budget, in points."""

    name: str
    val: tuple[float, float]
    test: tuple[float, float]
    before: float
    macs_left: float
    params_left: float


def rows_at(target: float, records: Records) -> list[Row]:
    """Return the rows of one budget, the best on test first."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for record in records.values():
        if record["target"] == target:
            by_name.setdefault(record["row"], []).append(record)
    rows = [
        Row(
            name=name,
            val=mean_and_error([100 * r["val_accuracy"] for r in own]),
            test=mean_and_error([100 * r["test_accuracy"] for r in own]),
            before=100 * statistics.fmean(r["before_recovery"] for r in own),
            macs_left=statistics.fmean(r["macs_left"] for r in own),
            params_left=statistics.fmean(r["params_left"] for r in own),
        )
        for name, own in by_name.items()
    ]
    return sorted(rows, key=lambda row: -row.test[0])


def bars(target: float, rows: Sequence[Row]) -> list[tuple[str, bool]]:
    """Return what must hold at a budget, and whether it does, on test images."""
    rival = next(r for r in rows if r.name.startswith("Torch-Pruning"))
    default = next(r for r in rows if r.name == "sentei default")
    best = next(r for r in rows if r.name.startswith("sentei"))
    error = math.hypot(default.test[1], rival.test[1])
    behind = rival.test[0] - default.test[0]
    return [
        (
            f"MACs {target:g}: the default is not behind {rival.name} by more than one standard "
            f"error ({-behind:+.1f}, error {error:.1f})",
            behind <= error,
        ),
        (
            f"MACs {target:g}: the best ({best.name}) is ahead "
            f"({best.test[0] - rival.test[0]:+.1f})",
            best.test[0] > rival.test[0],
        ),
    ]


def page(records: Records, base: float, command: str) -> tuple[str, bool]:
    """Return the page in Markdown, and whether all bars are met."""
    parts, verdicts = [], []
    for target in sorted({r["target"] for r in records.values()}, reverse=True):
        rows = rows_at(target, records)
        verdicts += bars(target, rows)
        head = ["row", "test", "val", "before recovery", "MACs left", "parameters left"]
        lines = [
            [
                row.name,
                f"{row.test[0]:.1f} ± {row.test[1]:.1f}",
                f"{row.val[0]:.1f} ± {row.val[1]:.1f}",
                f"{row.before:.1f}",
                f"{row.macs_left:.3f}",
                f"{row.params_left:.3f}",
            ]
            for row in rows
        ]
        parts.append(f"## MACs {target:g}\n\n{table(head, lines)}")
    bullets = "\n".join(f"- {'met' if holds else 'MISSED'}: {text}" for text, holds in verdicts)
    machine = hardware()
    text = _PAGE.format(
        command=command,
        commits=", ".join(sorted({f"`{r['commit']}`" for r in records.values()})),
        machine=f"{machine.cpu}, one thread",
        versions=f"torch-pruning {importlib.metadata.version('torch-pruning')}, "
        f"torch {machine.libraries['torch']}",
        base=f"{100 * base:.1f}",
        seeds=len({r["seed"] for r in records.values()}),
        epochs=RECIPE.epochs,
        rate=RECIPE.learning_rate,
        bars=bullets,
        tables="\n\n".join(parts),
        **IMAGES,
    )
    return text, all(holds for _, holds in verdicts)


_PAGE = """\
# Accuracy at equal MACs, beside Torch-Pruning

Written by `{command}`. ResNet-20 fine-tuned on CIFAR-10 (JPEG), {base} % on the {test} test images
used. Every row: the same checkpoint, {epochs} epochs over the same {train} images in the same order
(SGD {rate:g}, cosine, crop and flip, bfloat16), {seeds} seeds; accuracy in points with the standard
error over the seeds. Pruners of Torch-Pruning that regularize (BNScalePruner, GroupNormPruner) spend
half of the epochs on it, with their own defaults. Torch-Pruning keeps the residual stream, which it
cannot cut in this network; its MACs are the nearest that a ratio reaches. No tool's widths are
rounded: `sentei prune` rounds unless told otherwise, the row `sentei default` does not. The checkpoint
has seen the {val} validation images; nothing was chosen on test images.

- Commits {commits}. {machine}. {versions}.

{bars}

{tables}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what has not been run, write the page, and return 1 where a bar is missed."""
    options = _parse(arguments)
    torch.set_num_threads(1)
    rows = {**_own(options.rows), **({} if options.no_rivals else _rivals())}
    known = dict(read_records(options.results))
    bench = load_bench(options)
    jobs = [
        (f"{name} {target:g} seed{seed}", name, target, seed)
        for seed in range(options.seeds)
        for target in options.targets
        for name in rows
    ]
    for number, (key, name, target, seed) in enumerate(jobs, start=1):
        if key not in known:
            record = {"name": key, "row": name, **bench.run(rows[name], target, seed)}
            append_record(options.results, record)
            known[key] = record
            shown = f"val {record['val_accuracy']:.3f}, test {record['test_accuracy']:.3f}"
            print(f"[{number}/{len(jobs)}] {key}: {shown}, {record['seconds']} s", flush=True)
    base = evaluate(bench.model, bench.data.loader("test", batch_size=256)).accuracy
    if options.no_rivals:
        return 0
    command = "python benchmarks/accuracy_vs_torch_pruning.py --data cifar10:DIR --weights FILE"
    text, is_met = page({key: known[key] for key, *_ in jobs}, base, command)
    atomic_write_text(options.page, text)
    return 0 if is_met else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="sentei against Torch-Pruning at equal MACs.")
    parser.add_argument("--data", required=True, help="CIFAR-10, as in cifar10:DIR")
    parser.add_argument("--weights", type=Path, required=True, help="of ResNet-20")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--targets", nargs="+", type=float, default=list(TARGETS))
    parser.add_argument(
        "--rows",
        nargs="*",
        default=["l1 global", "l1 local", "l2 local", "l2 cost-aware", "cp-lasso"],
        help="methods, or 'criterion scope' pairs, to run beside the default",
    )
    parser.add_argument("--no-rivals", action="store_true", help="only sentei's; no page")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

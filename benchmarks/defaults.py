"""Which criterion, scope and normalization should be the default: measure it on two networks.

    python benchmarks/defaults.py --cifar cifar10:DIR --resnet20 FILE.safetensors --cache DIR

Every combination prunes the same checkpoint to the same multiply-adds. First stage, one seed:
the statistics of the norms are measured anew and the network is evaluated. Second stage, three
seeds: the best of each criterion and fixed references are trained for a short while, all by the
same recipe. Combinations are chosen on validation images; test images are reported only.

One JSON line a job goes to docs/results/defaults.jsonl; a study that was stopped goes on where it
stopped. The tables go to docs/results/defaults.md.
"""

import argparse
import copy
import dataclasses
import importlib
import importlib.metadata
import itertools
import sys
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model as load_weights
from safetensors.torch import save_model as save_weights
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, this folder's parent is not on the path

from benchmarks.studylib import (  # noqa: E402
    Combination,
    Job,
    Record,
    best_of_each_criterion,
    by_cell,
    page,
    run_jobs,
    seed_means,
)
from benchmarks.zoolib.runner import append_record, read_records, revision  # noqa: E402
from sentei.allocate import SCOPES, Budget, plan  # noqa: E402
from sentei.cost import measure  # noqa: E402
from sentei.criteria import CRITERIA, Criterion, Scores, score  # noqa: E402
from sentei.data import DataSplits, calibration_batches, load_data  # noqa: E402
from sentei.graph import Graph, trace  # noqa: E402
from sentei.index.atoms import IntArray  # noqa: E402
from sentei.models import load_model  # noqa: E402
from sentei.records import atomic_write_text, hardware  # noqa: E402
from sentei.seeding import derive_seed, make_generator  # noqa: E402
from sentei.surgery import apply  # noqa: E402
from sentei.train import TrainConfig, evaluate, fit, recalibrate_batch_norm  # noqa: E402

RESULTS = ROOT / "docs" / "results" / "defaults.jsonl"
PAGE = ROOT / "docs" / "results" / "defaults.md"
CRITERION_NAMES = ("l1", "l2", "bn-scale", "fpgm", "taylor", "taylor-gate", "lamp", "random")
SELECTING = "resnet20-cifar10"  # its first stage says what goes to the second, on both networks
NUM_BEST = 5
FLOOR = 0.1
TOLERANCE = 0.02  # small networks move in coarse steps
NUM_CALIBRATION = 512
# ResNet-20's residual stream by its norms: a convolution would protect its inputs too.
STREAM_NORMS = ("bn1", *(f"layer{i}.{j}.bn2" for i in (1, 2, 3) for j in (0, 1, 2)))
STREAM = ("conv1", *(f"layer{i}.{j}.conv2" for i in (1, 2, 3) for j in (0, 1, 2)))

Batches = list[tuple[torch.Tensor, torch.Tensor]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """How one network is judged.

    Attributes:
        macs: Budgets: shares of the multiply-adds that stay.
        batch_size: Of every pass.
        num_recovery_images: Training images of the recovery, the same for all jobs.
        num_quick: Validation images of the first stage.
        num_val: Validation images of the second.
        num_test: Test images of the second.
        bfloat16: The forward pass of the recovery runs in bfloat16 (faster or slower, by network).
        recovery: Recipe of the recovery; its seed is replaced by the job's.
    """

    macs: tuple[float, ...]
    batch_size: int
    num_recovery_images: int
    num_quick: int
    num_val: int
    num_test: int
    bfloat16: bool
    recovery: TrainConfig


PROTOCOLS = {
    "resnet20-cifar10": Protocol(
        macs=(0.5, 0.25),
        batch_size=64,
        num_recovery_images=3000,
        num_quick=1000,
        num_val=2000,
        num_test=2000,
        bfloat16=True,
        recovery=TrainConfig(epochs=1, learning_rate=0.01),
    ),
    "lite0-elpv": Protocol(
        macs=(0.5,),
        batch_size=32,
        num_recovery_images=640,
        num_quick=525,
        num_val=525,
        num_test=525,
        bfloat16=False,
        recovery=TrainConfig(epochs=1, optimizer="adamw", learning_rate=5e-4, weight_decay=0.01),
    ),
}
# SGD left this network at an AUC of 0.77 after four epochs.
BASE_RECIPE = TrainConfig(
    epochs=4, optimizer="adamw", learning_rate=1e-3, weight_decay=0.01, warmup_epochs=0.5
)
IMAGE_SIZE = 96


# The grid --------------------------------------------------------------------------------------


def grid(*, only_declared: bool = False) -> list[Combination]:
    """Return the combinations of the first stage.

    ``local`` looks inside a group only, ``cost-aware`` normalizes by itself, and ``random`` has
    nothing to normalize.

    Args:
        only_declared: Leave out what no criterion declares for itself.
    """
    found = []
    for name in CRITERION_NAMES:
        declared = "none" if _criterion(name, seed=0).comparable else "mean"
        every = (declared,) if only_declared else ("none", "mean", "max")
        norms = {"global": every, "cost-aware": ("",)}
        found.append(Combination(criterion=name, scope="local"))
        for scope, possible in norms.items():
            chosen = ("none",) if name == "random" and scope == "global" else possible
            found += [Combination(criterion=name, scope=scope, normalization=n) for n in chosen]
    return found


def probes() -> list[Combination]:
    """Return what explains the first stage and goes no further.

    Sums over slices, not normalized, keep that a channel of many layers matters more; and other
    floors.
    """
    sums = [
        Combination(criterion=c, scope="global", normalization="none", reduction="sum")
        for c in ("l1", "l2", "taylor")
    ]
    pairs = (("l1", "max"), ("l2", "mean"), ("taylor", "none"))
    floors = [
        Combination(criterion=c, scope="global", normalization=n, floor=floor)
        for c, n in pairs
        for floor in (0.0, 0.2, 0.3)
    ]
    return [*sums, *floors]


def references() -> list[Combination]:
    """Return what goes to the second stage whatever the first says: baselines, and scopes."""
    return [
        Combination(criterion="random", scope="local"),
        Combination(criterion="l1", scope="local"),
        *(Combination(criterion="l2", scope=s, normalization=n) for s, n in _SCOPES_OF_L2),
    ]


_SCOPES_OF_L2 = (("local", ""), ("global", "mean"), ("cost-aware", ""))


def rivals() -> list[Combination]:
    """Return Torch-Pruning's combinations, and ours under its limitation.

    It cannot remove channels from ResNet-20's residual stream, whose shortcuts pad with zeros
    (it leaves shapes that do not fit): all of these keep the stream whole.
    """
    both = (("l2", "local", ""), ("l2", "global", "mean"))
    kept = [
        Combination(criterion=c, scope=s, normalization=n, tool=tool, keeps_stream=True)
        for (c, s, n), tool in itertools.product(both, ("sentei", "torch-pruning"))
    ]
    bn_scale = dataclasses.replace(kept[3], criterion="bn-scale")
    return [*kept, bn_scale]


def first_stage(networks: Sequence[str]) -> list[Job]:
    """Return the jobs of the first stage, all with seed 0.

    Other normalizations than the declared ones are tried on the network that selects.
    """
    return [
        Job(stage="recalibrate", network=n, macs=macs, combination=c, seed=0)
        for n in networks
        for macs in PROTOCOLS[n].macs
        for c in (grid(only_declared=n != SELECTING) + (probes() if n == SELECTING else []))
    ]


def second_stage(
    networks: Sequence[str], finalists: Sequence[Combination], seeds: Sequence[int]
) -> list[Job]:
    """Return the jobs of the second stage, one seed after the other, larger budgets first."""
    cells = [(n, macs) for n in networks for macs in PROTOCOLS[n].macs]
    cells.sort(key=lambda cell: -cell[1])
    jobs = []
    for seed, (network, macs) in itertools.product(seeds, cells):
        own = [*finalists, *(rivals() if (network, macs) == (SELECTING, 0.5) else [])]
        jobs += [
            Job(stage="recover", network=network, macs=macs, combination=c, seed=seed) for c in own
        ]
    return jobs


def choose_finalists(records: Sequence[Record]) -> list[Combination]:
    """Return what goes to the second stage.

    These are the references, the best criteria on the network that selects, and the best
    combination on every other network.
    """
    found = list(references())
    for network in sorted({r["network"] for r in records}):
        own = seed_means(by_cell((r for r in records if r["network"] == network), "val_accuracy"))
        own = {c: cells for c, cells in own.items() if not c.is_probe and c.criterion != "random"}
        best = best_of_each_criterion(own)
        found += best[: NUM_BEST if network == SELECTING else 1]
    return list(dict.fromkeys(found))


# One network -----------------------------------------------------------------------------------


class Bench:
    """One network with its data, its graph and what has been scored."""

    def __init__(self, name: str, model: nn.Module, splits: DataSplits) -> None:
        self.protocol = PROTOCOLS[name]
        self.model = channels_last(model).eval()
        self.splits = splits
        self.example = (torch.zeros(1, *splits.input_shape),)
        self._graphs: dict[bool, Graph] = {}
        self._scores: dict[tuple[str, str, int, bool], Scores] = {}

    def graph(self, *, keeps_stream: bool) -> Graph:
        """Return the graph, traced once."""
        if keeps_stream not in self._graphs:
            protect = STREAM_NORMS if keeps_stream else ()
            self._graphs[keeps_stream] = trace(self.model, self.example, protect=protect)
        return self._graphs[keeps_stream]

    def calibration(self, seed: int) -> Batches:
        """Return the calibration images of a seed."""
        return calibration_batches(
            self.splits,
            num_images=NUM_CALIBRATION,
            batch_size=self.protocol.batch_size,
            seed=derive_seed(seed, "calibration"),
        )

    def scores(self, chosen: Combination, *, seed: int) -> Scores:
        """Return the scores of a criterion, computed once."""
        key = (chosen.criterion, chosen.reduction, seed, chosen.keeps_stream)
        if key not in self._scores:
            graph = self.graph(keeps_stream=chosen.keeps_stream)
            criterion = _criterion(chosen.criterion, seed=seed)
            if chosen.reduction != "mean":
                changed: Any = {"reduction": chosen.reduction}
                criterion = dataclasses.replace(criterion, **changed)
            self._scores[key] = score(graph, criterion, batches=self.calibration(seed))
        return self._scores[key]

    def run(self, job: Job) -> dict[str, Any]:
        """Prune, recalibrate, recover if the stage says so, and evaluate."""
        wall, cpu = time.perf_counter(), time.process_time()
        small, widths, costs = self.prune(job)
        recalibrate_batch_norm(small, self.calibration(job.seed))
        protocol = self.protocol
        if job.stage == "recalibrate":
            results = self.judge(small, "val", protocol.num_quick)
        else:
            self.recover(small, seed=job.seed)
            results = self.judge(small, "val", protocol.num_val)
            results |= self.judge(small, "test", protocol.num_test)
        return {
            **dataclasses.asdict(job),
            **results,
            "macs_left": costs / self.dense_macs,
            "parameters_left": sum(p.numel() for p in small.parameters())
            / sum(p.numel() for p in self.model.parameters()),
            "widths": widths,
            "wall_seconds": round(time.perf_counter() - wall, 2),
            "cpu_seconds": round(time.process_time() - cpu, 2),
            "commit": revision(ROOT),
        }

    def prune(self, job: Job) -> tuple[nn.Module, dict[str, int], int]:
        """Return the pruned network, not trained, its widths and its multiply-adds."""
        chosen = job.combination
        graph = self.graph(keeps_stream=chosen.keeps_stream)
        if chosen.tool == "torch-pruning":
            small, widths_G = self.prune_with_rival(job, graph)
        else:
            norm = {"normalization": chosen.normalization} if chosen.normalization else {}
            scores = self.scores(chosen, seed=job.seed)
            scope = SCOPES[chosen.scope](**norm)
            found = plan(
                graph,
                scores,
                budget=Budget(macs=job.macs),
                scope=scope,
                floor=chosen.floor,
                tolerance=TOLERANCE,
            )
            small, widths_G = apply(found, self.model), found.widths
        names = [g.name for g in graph.groups]
        macs = measure(small, self.example).macs
        return small, dict(zip(names, widths_G.tolist(), strict=True)), macs

    def prune_with_rival(self, job: Job, graph: Graph) -> tuple[nn.Module, IntArray]:
        """Return what Torch-Pruning makes at the ratio that comes nearest in multiply-adds."""
        ratios = np.linspace(0.05, 1 - FLOOR, 86)
        low, high = 0, len(ratios) - 1
        found: list[tuple[float, nn.Module]] = []
        while high - low > 1:
            middle = (low + high) // 2
            small = prune_by_ratio(self.model, self.example[0], job.combination, ratios[middle])
            excess = measure(small, self.example).macs / self.dense_macs - job.macs
            found.append((abs(excess), small))
            low, high = (middle, high) if excess > 0 else (low, middle)
        best = min(found, key=lambda pair: pair[0])[1]
        weights = dict(best.named_parameters())
        widths_G = np.array([len(weights[f"{g.name}.weight"]) for g in graph.groups])
        return best, widths_G

    @cached_property
    def dense_macs(self) -> int:
        """Multiply-adds of the network before pruning."""
        return measure(self.model, self.example).macs

    def recover(self, small: nn.Module, *, seed: int) -> None:
        """Train a pruned network by the recipe; changes it."""
        protocol = self.protocol
        config = dataclasses.replace(protocol.recovery, seed=derive_seed(seed, "recover") % 2**31)
        batches = self.recovery_splits.loader(
            "train",
            batch_size=protocol.batch_size,
            shuffle=True,
            augment=True,
            seed=derive_seed(seed, "order"),
        )
        fit(_InBfloat16(small) if protocol.bfloat16 else small, batches, config=config)

    @cached_property
    def recovery_splits(self) -> DataSplits:
        """The data with the training images of the recovery only."""
        train: Any = self.splits.train
        order = torch.randperm(len(train), generator=make_generator(0, "recovery images"))
        chosen = order[: self.protocol.num_recovery_images]
        return dataclasses.replace(self.splits, train=train.subset(chosen))

    def judge(self, model: nn.Module, part: str, num_images: int) -> dict[str, Any]:
        """Return what a network does on the first images of a part, in a fixed random order."""
        images: Any = self.splits.val if part == "val" else self.splits.test
        order = torch.randperm(len(images), generator=make_generator(0, part))[:num_images]
        batches = [images.batch(chunk.tolist()) for chunk in order.split(64)]
        found = evaluate(model, batches)
        return {
            f"{part}_accuracy": found.accuracy,
            f"{part}_loss": found.loss,
            f"{part}_auc": found.auc,
            f"{part}_images": found.num_samples,
        }


def channels_last(model: nn.Module) -> nn.Module:
    """Lay out the weights of a model as its convolutions run fastest; return it."""
    chosen: Any = model  # torch types this argument for tensors only
    chosen.to(memory_format=torch.channels_last)
    return model


class _InBfloat16(nn.Module):
    """Runs the forward pass of a network in bfloat16; the weights stay what they are."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images [N, C, H, W] to logits [N, K], float32."""
        with torch.autocast("cpu", torch.bfloat16):
            logits: torch.Tensor = self.model(images)
        return logits.float()


def _criterion(name: str, *, seed: int) -> Criterion:
    return CRITERIA[name](seed=seed) if name == "random" else CRITERIA[name]()


def prune_by_ratio(
    model: nn.Module, example: torch.Tensor, chosen: Combination, ratio: float
) -> nn.Module:
    """Return a copy that Torch-Pruning has pruned, with its defaults for groups and scales.

    Args:
        model: ResNet-20.
        example: An input.
        chosen: Importance and scope.
        ratio: Share of the channels that go.
    """
    pruning = importlib.import_module("torch_pruning")
    importances = {
        "l2": pruning.importance.GroupMagnitudeImportance,
        "bn-scale": pruning.importance.BNScaleImportance,
    }
    small = copy.deepcopy(model)
    modules = dict(small.named_modules())
    pruning.pruner.BasePruner(
        small,
        example,
        importance=importances[chosen.criterion](),
        global_pruning=chosen.scope == "global",
        pruning_ratio=float(ratio),
        max_pruning_ratio=1 - FLOOR,
        ignored_layers=[modules[name] for name in (*STREAM, "linear")],
    ).step()
    return small


# The networks ----------------------------------------------------------------------------------


def make_bench(name: str, options: argparse.Namespace) -> Bench:
    """Load a network and its data."""
    if name == "resnet20-cifar10":
        loaded = load_model("resnet20", weights=options.resnet20)
        return Bench(name, loaded.model, load_data(options.cifar))
    splits = load_data("elpv", image_size=IMAGE_SIZE)
    spec = "timm:tf_efficientnet_lite0"
    model = load_model(spec, num_classes=splits.num_classes, pretrained=True).model
    channels_last(model)
    file = options.cache / "lite0-elpv.safetensors"
    if file.exists():
        load_weights(model, file)
        return Bench(name, model, splits)
    batches = splits.loader("train", batch_size=32, shuffle=True, augment=True)
    result = fit(model, batches, config=BASE_RECIPE)
    print(f"base of {name}: {result.seconds:.0f} s", flush=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_weights(model, str(file))
    return Bench(name, model, splits)


class Study:
    """The networks, loaded when first needed, and the records."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.known: dict[str, Record] = dict(read_records(options.results))
        self._benches: dict[str, Bench] = {}

    def bench(self, name: str) -> Bench:
        """Return a network, loaded once."""
        if name not in self._benches:
            self._benches[name] = make_bench(name, self.options)
        return self._benches[name]

    def run(self, jobs: Sequence[Job]) -> list[Record]:
        """Run what has not been run and return the records of all."""
        path = self.options.results
        run_jobs(jobs, lambda j: self.bench(j.network).run(j), path=path, known=self.known)
        return [self.known[job.name] for job in jobs]

    def base_records(self) -> list[Record]:
        """Return what the networks do before pruning, measured once."""
        for name in self.options.networks:
            key = f"base {name}"
            if key not in self.known:
                bench = self.bench(name)
                protocol = bench.protocol
                results = bench.judge(bench.model, "val", protocol.num_val)
                results |= bench.judge(bench.model, "test", protocol.num_test)
                groups = bench.graph(keeps_stream=False).groups
                record = {
                    "name": key,
                    "stage": "base",
                    "network": name,
                    "macs": bench.dense_macs,
                    "num_parameters": sum(p.numel() for p in bench.model.parameters()),
                    "widths": {g.name: g.width for g in groups},
                    "data_digest": bench.splits.digest,
                    **results,
                }
                append_record(self.options.results, record)
                self.known[key] = record
        return [self.known[f"base {name}"] for name in self.options.networks]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what has not been run and write the page."""
    options = _parse(arguments)
    torch.set_num_threads(1)
    study = Study(options)
    base = study.base_records()
    first = study.run(_narrowed(first_stage(options.networks), options))
    finalists = choose_finalists(first)
    print(f"second stage: {', '.join(map(str, finalists))}", flush=True)
    jobs = second_stage(options.networks, finalists, options.seeds)
    second = study.run(_narrowed(jobs, options))
    if options.only or options.quick:
        return  # a part of the study must not pass for the whole
    atomic_write_text(options.page, page(preface([*first, *second]), base, first, second))


def preface(records: Sequence[Record]) -> str:
    """Return title, protocol and provenance, in Markdown.

    Args:
        records: Of both stages.
    """
    machine = hardware()
    libraries = ", ".join(f"{k} {machine.libraries[k]}" for k in sorted(machine.libraries))
    rival = importlib.metadata.version("torch-pruning")
    commits = ", ".join(sorted({f"`{r['commit']}`" for r in records}))
    hours = sum(r["wall_seconds"] for r in records) / 3600
    cpu_hours = sum(r["cpu_seconds"] for r in records) / 3600
    seeds = sorted({r["seed"] for r in records if r["stage"] == "recover"})
    lines = [f"- {name}: {_protocol(p)}" for name, p in PROTOCOLS.items()]
    return _PREFACE.format(
        protocols="\n".join(lines),
        commits=commits,
        machine=f"{machine.cpu}, {machine.num_cores} cores shared with others, one thread",
        versions=f"Python {machine.python}, {libraries}, torch-pruning {rival}",
        seeds=", ".join(map(str, seeds)),
        jobs=len(records),
        time=f"{hours:.1f} h wall, {cpu_hours:.1f} h CPU",
    )


def _protocol(p: Protocol) -> str:
    recipe = p.recovery
    precision = "bfloat16 forward" if p.bfloat16 else "float32"
    return (
        f"MACs {', '.join(f'{m:g}' for m in p.macs)}; recovery {recipe.epochs} epoch of "
        f"{p.num_recovery_images} images, {recipe.optimizer} {recipe.learning_rate:g} (weight "
        f"decay {recipe.weight_decay:g}), {recipe.schedule}, batch "
        f"{p.batch_size}, crop and flip, {precision}; {p.num_quick} validation images in the "
        f"first stage, {p.num_val} validation and {p.num_test} test images in the second."
    )


_PREFACE = """\
# Which criterion, scope and normalization should be the default

What follows from these figures is in
[decision 3](../decisions/0003-default-method.md). Written by:

    python benchmarks/defaults.py --cifar cifar10:DIR --resnet20 FILE --cache DIR

One checkpoint a network. Every combination is scored on 512 training images, pruned to the same
MACs (at most 2 % below; floor 0.1), its batch norms are measured anew on the same images, and
it is evaluated, or first trained for a short while: same recipe, same images in the same order for
all combinations of a seed. A seed decides calibration images, order, augmentation and `random`.

{protocols}

The second stage takes the baselines, `l2` in all scopes, the five best criteria of the first
stage of ResNet-20, each with its best scope and normalization, and the best combination of the
first stage of EfficientNet-Lite0. ResNet-20 on CIFAR-10 (JPEG) is the checkpoint fine-tuned on
all 50,000 training images: **it has seen the validation images**, so its validation figures are
too high, for all combinations alike. Its test images are clean, and so are all parts of
EfficientNet-Lite0 (ImageNet weights, 96 pixels, four epochs of AdamW on ELPV), where 69 % of the
images have one class.

- Commits {commits} (that of the tree when a job ran); seeds {seeds}; {jobs} jobs, {time}.
- {machine}. {versions}.
"""


def _narrowed(jobs: Sequence[Job], options: argparse.Namespace) -> list[Job]:
    return [
        job
        for job in jobs
        if options.only in job.name
        and (not options.quick or job.combination.criterion in {"l1", "random"})
    ]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Find the default criterion and scope.")
    parser.add_argument("--cifar", required=True, help="data of ResNet-20, as in cifar10:DIR")
    parser.add_argument("--resnet20", type=Path, required=True, help="its weights")
    parser.add_argument("--cache", type=Path, required=True, help="where trained bases are kept")
    parser.add_argument("--networks", nargs="+", choices=list(PROTOCOLS), default=list(PROTOCOLS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", default="", metavar="TEXT", help="jobs whose name contains it")
    parser.add_argument("--quick", action="store_true", help="two criteria, own files in the cache")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    if options.quick:
        options.seeds, options.results = options.seeds[:1], options.cache / "defaults.jsonl"
    return options


if __name__ == "__main__":
    main()

"""Evaluate one subnetwork: widths in, a row out. What all jobs share is computed once a worker."""

# Shapes: G = groups.

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from sentei.allocate import Budget, plan_widths
from sentei.cost import CostModel
from sentei.criteria import CRITERIA, Scores, score
from sentei.criteria.random import Random
from sentei.data import DataSplits, calibration_batches
from sentei.data.base import num_samples
from sentei.data.tensor_images import TensorImages
from sentei.engine.job import Report, Run
from sentei.errors import ConfigError, TraceError
from sentei.graph import Graph, trace
from sentei.graph.capture import copied, no_fast_path
from sentei.index.atoms import IntArray
from sentei.methods.base_network import BASE_FOLDER
from sentei.methods.scratch import reset_parameters
from sentei.methods.task import VERIFIED_IMAGES, Phase, Stopwatch, Task
from sentei.pipeline.splits import load_splits
from sentei.pipeline.workshop import EVALUATION_BATCH, is_channels_last, use_fast_format
from sentei.seeding import derive_seed
from sentei.spaces.prefix import Prefix
from sentei.spaces.protocol import Protocol, SubnetJob
from sentei.spaces.supernet import load_supernet
from sentei.spaces.zero_cost import PROXIES
from sentei.surgery import Plan, apply
from sentei.surgery.checkpoint import load_pretrained
from sentei.train import EpochRecord, Evaluation, evaluate, recalibrate_batch_norm
from sentei.train.checks import Batches
from sentei.train.progress import OnProgress, telling
from sentei.train.recalibrate import start_measuring

CACHE_BYTES = 1 << 30  # images of validation that a worker keeps in memory, normalised

_PHASES = ("prune", "recalibrate", "validate", "train", "test")

_UNJUDGED: Mapping[str, Any] = {
    **dict.fromkeys(("val_accuracy", "val_loss", "test_accuracy", "test_loss", "one_shot")),
    "curve": [],
}

T = TypeVar("T")
_Batches: TypeAlias = list[tuple[Tensor, Tensor]]


def make_runner(context: Mapping[str, Any]) -> Run:
    """Return what runs the jobs of a study of subnetworks in a worker.

    Args:
        context: ``protocol``, as :meth:`Protocol.as_json` gives it; ``data``, as
            :func:`sentei.data.load_data` takes it; and ``directory``, in which ``base/`` holds
            the trained network, and ``supernet/`` perhaps shared weights.

    Returns:
        A function of a specification, the fields of :class:`SubnetJob`, and a report.
    """
    protocol = Protocol.from_json(context["protocol"])
    model = load_pretrained(Path(context["directory"]) / BASE_FOLDER, trust_code=True).eval()
    data = load_splits(
        context["data"],
        model=model,
        image_size=protocol.image_size,
        seed=protocol.split_seed,
        counts={part: getattr(protocol, f"{part}_images") for part in ("train", "val", "test")},
    )
    shared = load_supernet(model, Path(context["directory"]))
    return Evaluator(protocol=protocol, model=model, data=data, shared=shared).run


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluator:
    """Evaluates subnetworks of one network, each apart from the others.

    Attributes:
        protocol: How.
        model: The trained network, in evaluation mode, on the CPU; not changed.
        data: Training reads train, scores are of val, test is read once at the end if at all.
        shared: The network with the weights of a supernet, for jobs that want them.
        shares: What a job computes as the one before did is kept and not computed again.
    """

    protocol: Protocol
    model: nn.Module = field(repr=False)
    data: DataSplits
    shared: nn.Module | None = field(default=None, repr=False)
    shares: bool = True

    def run(self, spec: Mapping[str, Any], report: Report) -> dict[str, Any]:
        """Return the row of one job; on the CPU equal jobs have equal rows, times apart.

        Keys: ``val_accuracy``, ``val_loss`` (nats) at the end; ``test_accuracy``, ``test_loss``,
        None where test was not read; ``one_shot``, the same of val before training; ``macs``,
        ``num_parameters``; ``curve``, one mapping an epoch; ``seconds`` by phase. A job of a
        zero-cost score has ``score``, large is good, None where it is not finite; and the other
        results of validation are None.

        Raises:
            ConfigError: The specification is no job.
            UnknownNameError: There is no such group.
            PruningError: A group cannot have its width.
            TrainingError: Training fails; the message says why.
        """
        job = SubnetJob.parse(spec, self.protocol)
        watch = Stopwatch(_PHASES)
        with watch("prune"):
            widths_G = self.widths_G(job.widths)
            plan = self._plan(job, widths_G)
            model = self._cut(job, plan)
        costs = self._costs.costs(widths_G, names=("macs", "num_parameters"))
        counts = {name: int(value) for name, value in costs.items()}
        if job.zero_cost is not None:
            found = self._score(model, job.zero_cost, watch)
            return {**_UNJUDGED, **counts, "score": found, "seconds": _rounded(watch)}
        before = self._one_shot(model, job, plan, watch, goes_on=job.epochs > 0 or job.tests)
        with watch("train"):
            curve = self._train(model, job, telling(report))
        with watch("test"):
            test = self._test(model) if job.tests else None
        last = curve[-1] if curve else None
        return {
            "val_accuracy": before.accuracy if last is None else last.val_accuracy,
            "val_loss": before.loss if last is None else last.val_loss,
            "test_accuracy": None if test is None else test.accuracy,
            "test_loss": None if test is None else test.loss,
            "one_shot": {"val_accuracy": before.accuracy, "val_loss": before.loss},
            **counts,
            "curve": [_without_seconds(record) for record in curve],
            "seconds": _rounded(watch),
        }

    def network(
        self, spec: Mapping[str, Any], *, on_progress: OnProgress | None = None
    ) -> nn.Module:
        """Return the network that :meth:`run` judges, trained; the same weights on the CPU."""
        job = SubnetJob.parse(spec, self.protocol)
        plan = self._plan(job, self.widths_G(job.widths))
        model = self._cut(job, plan)
        self._one_shot(model, job, plan, Stopwatch(_PHASES), goes_on=True)
        self._train(model, job, on_progress)
        return model

    def widths_G(self, widths: Mapping[str, int]) -> IntArray:
        """Return widths of all groups, [G], in the order of the graph.

        Raises:
            UnknownNameError: There is no such group.
        """
        found = self.graph.widths
        for name, width in widths.items():
            found[self.graph[name].index] = width
        return found

    def subnetwork(self, job: SubnetJob, widths_G: IntArray) -> nn.Module:
        """Return a new network of these widths, before batch norms are measured anew."""
        return self._cut(job, self._plan(job, widths_G))

    def _plan(self, job: SubnetJob, widths_G: IntArray) -> Plan:
        scores = self.scores
        if job.ranking == "random":
            seed = derive_seed(self.protocol.root(job), "ranking")
            scores = score(self.graph, Random(seed=seed))
        return plan_widths(self.graph, scores, widths_G)

    def _cut(self, job: SubnetJob, plan: Plan) -> nn.Module:
        small = apply(plan, self._shared if job.supernet else self.model)
        if job.weights == "new":
            reset_parameters(small, seed=derive_seed(self.protocol.root(job), "weights"))
        use_fast_format(small)
        return small

    @property
    def _shared(self) -> nn.Module:
        if self.shared is None:
            raise ConfigError(
                "this job wants the weights of a supernet and the study has none; train one "
                "(sentei.spaces.supernet.train_supernet) and save it, or leave supernet out"
            )
        return self.shared

    @cached_property
    def graph(self) -> Graph:
        """The graph of the network."""
        return trace(self.model, self._example)

    @cached_property
    def _example(self) -> Tensor:
        images, _ = next(iter(self.data.loader("train", batch_size=VERIFIED_IMAGES)))
        return images

    @cached_property
    def _costs(self) -> CostModel:
        return CostModel.of(self.graph)

    @cached_property
    def scores(self) -> Scores:
        """Scores of the trained network by the protocol's criterion."""
        protocol = self.protocol
        criterion = CRITERIA[protocol.criterion]().seeded(derive_seed(protocol.seed, "criterion"))
        return score(self.graph, criterion, batches=self._calibration(protocol.calibration_images))

    def _calibration(self, num_images: int) -> _Batches:
        return calibration_batches(
            self.data,
            num_images=num_images,
            batch_size=self.protocol.batch_size,
            seed=derive_seed(self.protocol.seed, "calibration"),
        )

    @cached_property
    def _first_batch(self) -> tuple[Tensor, Tensor]:
        protocol = self.protocol
        num_images = min(protocol.batch_size, protocol.calibration_images)
        ((images, labels),) = self._calibration(num_images)
        return images.to(self.protocol.device), labels.to(self.protocol.device)

    def _score(self, model: nn.Module, name: str, watch: Stopwatch) -> float | None:
        """Return a zero-cost score on the first batch that the criterion looks at."""
        with watch("validate"):
            found = PROXIES[name](model.to(self.protocol.device), *self._first_batch)
        return found if math.isfinite(found) else None

    # Forward passes -----------------------------------------------------------------------------

    def _one_shot(
        self, model: nn.Module, job: SubnetJob, plan: Plan, watch: Stopwatch, *, goes_on: bool
    ) -> Evaluation:
        """Measure batch norms anew and validate; changes the model's statistics if it goes on."""
        half = self.protocol.one_shot_dtype == "bfloat16"
        kind = torch.device(self.protocol.device).type
        by_batch = self.protocol.one_shot_norms == "val"
        # Attention in one call for all would be another call where first activations are shared.
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=half), no_fast_path():
            if goes_on or not by_batch:
                with watch("recalibrate"):
                    self._recalibrate(model, job, plan)
            with watch("validate"):
                return self._validate(model, job, plan, by_batch=by_batch)

    def _recalibrate(self, model: nn.Module, job: SubnetJob, plan: Plan) -> None:
        root = self.protocol.root(job)
        batches = self._recalibration(root)
        measure = partial(
            recalibrate_batch_norm,
            model,
            batches,
            max_batches=len(batches),
            device=self.protocol.device,
        )
        if self._may_share(job):
            self._run(self._measured, model, measure, plan, source=(job.supernet, root))
        else:
            measure()

    def _validate(
        self, model: nn.Module, job: SubnetJob, plan: Plan, *, by_batch: bool
    ) -> Evaluation:
        batches = self._val_by_batch if by_batch else self._val
        judge = partial(self._evaluate, model, batches, norm_by_batch=by_batch)
        if self._may_share(job) and isinstance(batches, list):  # else perhaps others every time
            statistics = None if by_batch else self.protocol.root(job)
            return self._run(self._judged, model, judge, plan, source=(job.supernet, statistics))
        return judge()

    # Jobs that only judge start where the subnetwork of the last one was another.

    def _may_share(self, job: SubnetJob) -> bool:
        return self.shares and job.epochs == 0 and job.weights == "kept"

    def _run(
        self,
        prefix: Prefix,
        model: nn.Module,
        once: Callable[[], T],
        plan: Plan,
        *,
        source: tuple[bool, int | None],
    ) -> T:
        source_and_layout = (*source, is_channels_last(model))
        return prefix.run(model, once, removed=plan.removed, source=source_and_layout)

    @cached_property
    def _measured(self) -> Prefix:
        """Of passes that measure batch norms anew."""
        model = copied(self.model)
        start_measuring(model)
        count = self.protocol.recalibration_images
        try:
            return Prefix(graph=trace(model, self._example), num_images=count, measures=True)
        except TraceError:  # in this mode; nothing is shared then
            return Prefix(graph=self.graph, num_images=count, num_bytes=0)

    @cached_property
    def _judged(self) -> Prefix:
        """Of passes that validate."""
        return Prefix(graph=self.graph, num_images=num_samples(self.data.val))

    def _test(self, model: nn.Module) -> Evaluation:
        return self._evaluate(model, self.data.loader("test", batch_size=EVALUATION_BATCH))

    def _evaluate(
        self, model: nn.Module, batches: Batches, *, norm_by_batch: bool = False
    ) -> Evaluation:
        return evaluate(model, batches, device=self.protocol.device, norm_by_batch=norm_by_batch)

    @cached_property
    def _val(self) -> Batches:
        return self._kept(self.data.loader("val", batch_size=EVALUATION_BATCH))

    @cached_property
    def _val_by_batch(self) -> Batches:
        """Validation images in random order, in batches of about one size."""
        val = self.data.val
        count = num_samples(val)
        seed = derive_seed(self.protocol.seed, "validation")
        order_N = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        mixed = (
            val.subset(order_N) if isinstance(val, TensorImages) else Subset(val, order_N.tolist())
        )
        num_batches = math.ceil(count / self.protocol.recalibration_batch)
        data = dataclasses.replace(self.data, val=mixed)
        return self._kept(data.loader("val", batch_size=math.ceil(count / num_batches)))

    def _kept(self, loader: Batches) -> Batches:
        """Return images of validation: in memory where they are few enough, else as they are."""
        bytes_each = 4 * int(np.prod(self.data.input_shape))
        if num_samples(self.data.val) * bytes_each > CACHE_BYTES:
            return loader
        return self._prepared(loader)

    @cached_property
    def _kept_recalibration(self) -> dict[int, _Batches]:
        return {}

    def _recalibration(self, root: int) -> _Batches:
        """Return the images for batch norms; those of the last root are kept."""
        kept = self._kept_recalibration
        if root not in kept:
            kept.clear()
            batches = calibration_batches(
                self.data,
                num_images=self.protocol.recalibration_images,
                batch_size=self.protocol.recalibration_batch,
                seed=derive_seed(root, "recalibration"),
            )
            # One image may have no variance to measure.
            kept[root] = self._prepared([b for b in batches if len(b[1]) > 1] or batches)
        return kept[root]

    def _prepared(self, batches: Batches | Sequence[tuple[Tensor, Tensor]]) -> _Batches:
        """Return batches where they are computed on, images channels last as the weights are."""
        return [
            (
                images.to(self.protocol.device, memory_format=torch.channels_last)
                if images.dim() == 4
                else images.to(self.protocol.device),
                labels,
            )
            for images, labels in batches
        ]

    # Training -----------------------------------------------------------------------------------

    def _train(
        self, model: nn.Module, job: SubnetJob, on_progress: OnProgress | None
    ) -> tuple[EpochRecord, ...]:
        """Train ``model`` in place for the epochs of the job."""
        if job.epochs == 0:
            return ()
        task = Task(
            model=self.model,
            data=self.data,
            budget=Budget(macs=1.0),
            recipe=self.protocol.recipe(job.epochs),
            seed=self.protocol.root(job),
            batch_size=self.protocol.batch_size,
            augment=self.protocol.augment,
            device=self.protocol.device,
            on_progress=on_progress,
        )
        return task.train(model, Phase(name="recover", epochs=job.epochs))


def _rounded(watch: Stopwatch) -> dict[str, float]:
    return {phase: round(seconds, 4) for phase, seconds in watch.seconds.items()}


def _without_seconds(record: EpochRecord) -> dict[str, Any]:
    return {k: v for k, v in dataclasses.asdict(record).items() if k != "seconds"}

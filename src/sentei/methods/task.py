"""A task: what every method of a comparison is given, the same for all of a seed."""

import copy
import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sentei.allocate import Budget
from sentei.data import DataSplits, calibration_batches
from sentei.pipeline.batches import EpochBatches
from sentei.pipeline.workshop import EVALUATION_BATCH, RECALIBRATION_BATCH, use_fast_format
from sentei.seeding import derive_seed
from sentei.train import (
    EpochRecord,
    Evaluation,
    Hook,
    RunOptions,
    TrainConfig,
    evaluate,
    fit,
    recalibrate_batch_norm,
)
from sentei.train.progress import OnProgress

VERIFIED_IMAGES = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Phase:
    """What a part of the epochs is spent on.

    Attributes:
        name: Of the phase, in records and checkpoints.
        epochs: How many, >= 0; 0 does nothing.
        first_epoch: How many were spent before: decides the images' order.
        num_steps: Batches of each epoch, >= 1; None is all.
        hooks: Called by the loop.
    """

    name: str
    epochs: int
    first_epoch: int = 0
    num_steps: int | None = None
    hooks: Sequence[Hook] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A trained network, data, a budget and a recipe.

    Two methods run on tasks of one seed see the same training images in the same order in every
    epoch, whatever an epoch is spent on.

    Attributes:
        model: The trained network, on the CPU; not to be changed.
        data: Images; training reads train, choices are made on val, test is never read.
        budget: What the result may cost, relative to ``model``.
        recipe: How to train; its epochs are all that a method may spend.
        seed: Of everything random, >= 0.
        batch_size: Images of a training batch, >= 1.
        augment: Crop and mirror training images at random.
        calibration_images: Training images that criteria and compensations look at, >= 1.
        floor: Least share of a group that stays, in (0, 1].
        tolerance: How far below its limit the binding cost may end, relative, in [0, 1).
        round_to: Widths become multiples of it, >= 1.
        protect: Names of modules or parameters that stay whole.
        device: Where to train.
        checkpoint_dir: Where training keeps its state; None keeps nothing.
        on_progress: Told of every step of training.
    """

    model: nn.Module = field(repr=False)
    data: DataSplits
    budget: Budget
    recipe: TrainConfig
    seed: int = 0
    batch_size: int = 64
    augment: bool = True
    calibration_images: int = 512
    floor: float = 0.1
    tolerance: float = 0.005
    round_to: int = 1
    protect: tuple[str, ...] = ()
    device: str = "cpu"
    checkpoint_dir: Path | None = None
    on_progress: OnProgress | None = None

    @cached_property
    def inputs(self) -> Tensor:
        """The first training images, [2, C, H, W]: to trace and to verify with."""
        images, _ = next(iter(self.data.loader("train", batch_size=VERIFIED_IMAGES)))
        return images

    @cached_property
    def calibration(self) -> list[tuple[Tensor, Tensor]]:
        """Batches (images, labels) of random training images, the same for all methods."""
        return calibration_batches(
            self.data,
            num_images=self.calibration_images,
            batch_size=self.batch_size,
            seed=derive_seed(self.seed, "calibration"),
        )

    @property
    def steps_per_epoch(self) -> int:
        """Number of training batches of one epoch."""
        return len(self._batches())

    def config(self, phase: Phase) -> TrainConfig:
        """Return the recipe of a phase of at least one epoch."""
        settings: dict[str, Any] = {
            "epochs": phase.epochs,
            "warmup_epochs": min(self.recipe.warmup_epochs, phase.epochs / 2),
            "seed": derive_seed(self.seed, "train", phase.name),
        }
        return dataclasses.replace(self.recipe, **settings)

    def train(self, model: nn.Module, phase: Phase) -> tuple[EpochRecord, ...]:
        """Train ``model`` in place by the recipe; it ends on the CPU.

        Raises:
            TrainingError: training fails; the message says why.
        """
        if phase.epochs == 0:
            return ()
        config = self.config(phase)
        use_fast_format(model)
        result = fit(
            model,
            self._batches(first_epoch=phase.first_epoch, num_steps=phase.num_steps),
            config=config,
            options=RunOptions(
                val_batches=self.data.loader("val", batch_size=EVALUATION_BATCH),
                teacher=copy.deepcopy(self.model) if config.distill_weight > 0 else None,
                hooks=phase.hooks,
                checkpoint_dir=self.checkpoint_dir and self.checkpoint_dir / phase.name,
                on_progress=self.on_progress,
                device=self.device,
                phase=phase.name,
            ),
        )
        model.cpu()
        return result.curve

    def _batches(self, *, first_epoch: int = 0, num_steps: int | None = None) -> "_Part":
        batches = EpochBatches(
            self.data,
            batch_size=self.batch_size,
            augment=self.augment,
            seed=derive_seed(self.seed, "order"),
        )
        return _Part(batches, first_epoch, num_steps)

    def recalibrate(self, model: nn.Module) -> None:
        """Measure the batch norms of ``model`` anew on the calibration images; changes it."""
        images = torch.cat([images for images, _ in self.calibration])
        labels = torch.cat([labels for _, labels in self.calibration])
        size = max(self.batch_size, RECALIBRATION_BATCH)
        chunks = zip(images.split(size), labels.split(size), strict=True)
        # One image that is left over would count as much as a whole batch.
        batches = [c for c in chunks if len(c[0]) > 1] or [(images, labels)]
        recalibrate_batch_norm(model, batches, device=self.device)
        model.cpu()

    def validate(self, model: nn.Module) -> Evaluation:
        """Return what ``model`` does on the validation images."""
        use_fast_format(model)
        found = evaluate(
            model, self.data.loader("val", batch_size=EVALUATION_BATCH), device=self.device
        )
        model.cpu()
        return found

    def split_epochs(self, share: float) -> tuple[int, int]:
        """Return the epochs before and after a removal, for a share in [0, 1] before it.

        A share above 0 gets an epoch at least, and leaves one if it is below 1 and there are two.
        """
        epochs = self.recipe.epochs
        before = math.floor(share * epochs + 0.5)
        if share > 0:
            before = max(1, before)
        if share < 1 and epochs > 1:
            before = min(before, epochs - 1)
        return before, epochs - before


class _Part:
    """The first batches of each epoch, with epochs counted on from an earlier phase."""

    def __init__(self, batches: EpochBatches, first_epoch: int, num_steps: int | None) -> None:
        self.batches = batches
        self.first_epoch = first_epoch
        self.num_steps = num_steps

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the phase, from 0."""
        self.batches.set_epoch(self.first_epoch + epoch)

    def __len__(self) -> int:
        return min(len(self.batches), self.num_steps or len(self.batches))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return islice(self.batches, len(self))


class Stopwatch:
    """Adds up wall time by phase.

    Args:
        phases: What there is a sum of, 0 where nothing is spent.
    """

    def __init__(self, phases: Sequence[str] = ("sparse", "score", "recover")) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(phases, 0.0)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add the time of a ``with`` block to a phase."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] += time.perf_counter() - begin

"""What the stages of a run share: its data, its networks on disk, its training."""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sentei.data import DataSplits, calibration_batches, load_data
from sentei.errors import DataError
from sentei.pipeline.batches import EpochBatches
from sentei.pipeline.config import RunConfig
from sentei.pipeline.journal import CHECKPOINTS_FOLDER, DENSE_FOLDER, Journal
from sentei.pipeline.network import MODEL_FOLDER
from sentei.pipeline.splits import with_channels
from sentei.seeding import derive_seed
from sentei.surgery.checkpoint import load_pretrained, save_pretrained
from sentei.train import RunOptions, TrainConfig, fit, recalibrate_batch_norm

EVALUATION_BATCH = 128
RECALIBRATION_BATCH = 64
RECALIBRATION_BATCHES = 20
DENSE_STAGE = "dense network"


class Workshop:
    """Loads, trains and saves for the stages of one run.

    Args:
        config: Of the run.
        journal: Of the run.
    """

    def __init__(self, config: RunConfig, journal: Journal) -> None:
        self.config = config
        self.journal = journal
        self.directory = journal.directory
        self.dense_folder = self.directory / DENSE_FOLDER
        self.model_folder = self.directory / MODEL_FOLDER

    def round_folder(self, step: int) -> Path:
        """Return where the network after round ``step`` lies; before the first it is the dense."""
        if step == 0:
            return self.dense_folder
        return self.directory / CHECKPOINTS_FOLDER / f"round-{step}"

    @cached_property
    def data(self) -> DataSplits:
        """The data, the same as in the process that began the run.

        Raises:
            DataError: they have changed since.
        """
        done = self.journal.results[DENSE_STAGE]
        data = with_channels(
            self.load_data(in_channels=None),
            done["data_channels"],
            lambda n: self.load_data(in_channels=n),
        )
        if data.digest != done["data"]["digest"]:
            raise DataError(
                f"{self.config.data}: the images, labels or split changed since this run began; "
                "restore them, or start over with --fresh"
            )
        return data

    def load_data(self, *, in_channels: int | None) -> DataSplits:
        """Load the data, with so many channels; None is their own."""
        return load_data(
            self.config.data,
            image_size=self.config.image_size,
            seed=self.config.split_seed,
            in_channels=in_channels,
        )

    def load(self, folder: Path) -> nn.Module:
        """Return a network that this run wrote; the user named its source, so it is trusted."""
        return load_pretrained(folder, trust_code=True)

    def save(self, model: nn.Module, folder: Path, *, source: dict[str, Any] | None = None) -> None:
        """Write a network with what is needed to load it by itself."""
        source = source or self.journal.results[DENSE_STAGE]["source"]
        metadata = {"input_shape": list(self.data.input_shape), "data": self.config.data}
        save_pretrained(model, folder, source=source, metadata=metadata)

    def example(self, count: int) -> Tensor:
        """Return the first training images, [count, C, H, W]."""
        images, _ = next(iter(self.data.loader("train", batch_size=count)))
        return images

    def calibration(self) -> list[tuple[Tensor, Tensor]]:
        """Return the batches that the criterion looks at."""
        return calibration_batches(
            self.data,
            num_images=self.config.calibration_images,
            batch_size=self.config.batch_size,
            seed=derive_seed(self.config.seed, "calibration"),
        )

    def train(self, model: nn.Module, recipe: TrainConfig, *, phase: str) -> list[dict[str, Any]]:
        """Train ``model`` in place, going on where a killed process stopped; return the curve.

        Where the recipe distils, the dense network of the run teaches.
        """
        seed = derive_seed(self.config.seed, phase, str(recipe.seed))
        teacher = self.load(self.dense_folder) if recipe.distill_weight > 0 else None
        for network in (model, teacher):
            if network is not None:
                use_fast_format(network)
        result = fit(
            model,
            EpochBatches(
                self.data,
                batch_size=self.config.batch_size,
                augment=self.config.augment,
                seed=seed,
            ),
            config=dataclasses.replace(recipe, seed=seed),
            options=RunOptions(
                val_batches=self.data.loader("val", batch_size=EVALUATION_BATCH),
                teacher=teacher,
                checkpoint_dir=self.directory / CHECKPOINTS_FOLDER / phase.replace(" ", "-"),
                on_progress=self.journal.watch,
                device=self.config.device,
                phase=phase,
            ),
        )
        self.recalibrate(model)
        return [dataclasses.asdict(epoch) for epoch in result.curve]

    def recalibrate(self, model: nn.Module) -> None:
        """Measure batch norms on unchanged training images; the model ends on the CPU."""
        batches = EpochBatches(
            self.data,
            batch_size=max(self.config.batch_size, RECALIBRATION_BATCH),
            augment=False,
            seed=derive_seed(self.config.seed, "recalibrate"),
        )
        recalibrate_batch_norm(
            model, batches, max_batches=RECALIBRATION_BATCHES, device=self.config.device
        )
        model.cpu()


_NARROW = 16  # channels that one vector instruction may take


def use_fast_format(model: nn.Module) -> None:
    """Lay out the weights of 2d convolutions channels last: a third faster, the same numbers.

    Not where a 1x1 convolution with a stride reads fewer channels than a vector instruction takes:
    channels last, its weight gradient then writes past its memory (torch 2.13.0 with oneDNN; seen
    below 8 channels on AVX2, 16 is the width of AVX-512). Weights that were channels last are laid
    out plainly there.
    """
    if any(parameter.dim() > 4 for parameter in model.parameters()):
        return
    narrow = any(_strides_over_few(module) for module in model.modules())
    # The stub knows no call with a memory format alone.
    model.to(memory_format=torch.contiguous_format if narrow else torch.channels_last)  # type: ignore[call-overload]


def is_channels_last(model: nn.Module) -> bool:
    """Return whether weights of 2d convolutions are laid out channels last, all or some."""
    return any(
        parameter.dim() == 4
        and not parameter.is_contiguous()
        and parameter.is_contiguous(memory_format=torch.channels_last)
        for parameter in model.parameters()
    )


def _strides_over_few(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels // module.groups < _NARROW
    )

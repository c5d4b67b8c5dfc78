"""The network a study starts from, and the images it uses: the same for all of its jobs."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from sentei.allocate import Budget
from sentei.data import DataSplits, Split
from sentei.engine.lock import locked
from sentei.errors import CheckpointError, ConfigError
from sentei.methods.task import Phase, Task
from sentei.pipeline import splits
from sentei.pipeline.config import fine_tune_recipe
from sentei.pipeline.network import Network, load_network
from sentei.pipeline.workshop import EVALUATION_BATCH
from sentei.records import atomic_write_text
from sentei.surgery.checkpoint import (
    WEIGHTS_NAME,
    load_pretrained,
    read_metadata,
    save_pretrained,
)
from sentei.train import evaluate
from sentei.train.progress import OnProgress

BASE_FOLDER = "base"
_FACTS_NAME = "facts.json"
_TRAINING_FOLDER = "training"
_FACTS = (
    *("sha256", "data_digest", "accuracy", "test_images"),
    *("val_accuracy", "val_images", "trained_here"),
)
_REMEDY = "restore it, or start in another directory (-o)"
_JUDGED: tuple[Split, ...] = ("val", "test")


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """A network and its images.

    Args:
        model: As ``RunConfig.model``.
        data: As ``RunConfig.data``.
        weights: File of weights to start from, or None.
        pretrained: Start from published weights.
        base_epochs: Epochs that a network with a new classifier learns the data first, >= 1.
        image_size: Height and width in pixels; None is the data set's own.
        batch_size: Images of a training batch, >= 1.
        augment: Crop and mirror training images at random.
        train_images: Training images that are used; None is all.
        val_images: Validation images that are used; None is all.
        test_images: Test images that are used; None is all.
        split_seed: Of the split into train, val and test, >= 0.
        device: Where to train.
        trust_code: Run code outside sentei that a saved network names as its source.

    Raises:
        ConfigError: A number is below 1.
    """

    model: str
    data: str
    weights: str | None = None
    pretrained: bool = False
    base_epochs: int = 5
    image_size: int | None = None
    batch_size: int = 64
    augment: bool = True
    train_images: int | None = None
    val_images: int | None = None
    test_images: int | None = None
    split_seed: int = 0
    device: str = "cpu"
    trust_code: bool = False

    def __post_init__(self) -> None:
        images = ("train_images", "val_images", "test_images")
        check_counts(self, ("base_epochs", "batch_size", *images))


def check_counts(config: object, names: Sequence[str]) -> None:
    """Refuse a field that is a number below 1; None is no number.

    Raises:
        ConfigError: One is.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; give at least 1")


Check: TypeAlias = Callable[[nn.Module, tuple[int, int, int]], None]
"""Given the network and the shape (C, H, W) of one image, raises where a study cannot be."""


def prepare_base(
    config: BaseConfig,
    directory: Path,
    *,
    on_progress: OnProgress | None = None,
    check: Check | None = None,
) -> dict[str, Any]:
    """Return what is known of the base network; make it in ``directory/base`` if it is not there.

    Where it must learn the data first, a training that was interrupted goes on after its last epoch.

    Args:
        config: The network and its images.
        directory: Of the study.
        on_progress: Told of every step of that training.
        check: Asked before any training whether the study can be.

    Returns:
        ``sha256`` of the weights, ``data_digest``, ``accuracy`` and ``test_images`` on test,
        ``val_accuracy`` and ``val_images``, and ``trained_here``.

    Raises:
        PruningError: Names, files, data or the training are wrong; or the weights there are not
            those that it began with; or another process is at work in the directory.
    """
    with locked(directory):  # or two that begin at once would overwrite each other's network
        facts = base_facts(directory)
        if facts is None:
            return _make(config, directory, on_progress, check)
        if check is not None:
            folder = directory / BASE_FOLDER
            check(load_pretrained(folder, trust_code=True), read_metadata(folder)["input_shape"])
        return facts


def base_facts(directory: Path) -> dict[str, Any] | None:
    """Return what is known of a base network that was made, as `prepare_base` does; else None.

    Raises:
        CheckpointError: The weights there are not those that it began with, or a file is missing
            or damaged.
    """
    folder = directory / BASE_FOLDER
    path = folder / _FACTS_NAME
    if not path.exists():
        return None
    facts = _read_facts(path)
    if not (folder / WEIGHTS_NAME).is_file():
        raise CheckpointError(f"{folder / WEIGHTS_NAME} is missing, the base network; {_REMEDY}")
    if facts["sha256"] != _digest(folder):
        raise CheckpointError(
            f"{folder}: the base network is not the one this study began with; {_REMEDY}"
        )
    return facts


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); {_REMEDY}") from error
    missing = [name for name in _FACTS if not isinstance(facts, dict) or name not in facts]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}: it was altered; {_REMEDY}")
    return dict(facts)


def _make(
    config: BaseConfig, directory: Path, on_progress: OnProgress | None, check: Check | None
) -> dict[str, Any]:
    folder = directory / BASE_FOLDER
    data = load_splits(config)
    network = _load(config, data)
    channels = None if network.input_shape is None else network.input_shape[0]
    data = splits.with_channels(data, channels, lambda _: load_splits(config, network.model))
    network.check_takes(data.input_shape, of=config.data)
    if check is not None:
        check(network.model, data.input_shape)
    with resumable(directory) as training:
        if network.is_new:
            _learn(config, network.model, data, training, on_progress)
        save_pretrained(
            network.model,
            folder,
            source=network.source,
            metadata={"input_shape": list(data.input_shape), "data": config.data},
        )
    model = load_pretrained(folder, trust_code=True)
    val, test = (
        evaluate(model, data.loader(part, batch_size=EVALUATION_BATCH), device=config.device)
        for part in _JUDGED
    )
    facts = {
        "sha256": _digest(folder),
        "data_digest": data.digest,
        "accuracy": test.accuracy,
        "test_images": test.num_samples,
        "val_accuracy": val.accuracy,
        "val_images": val.num_samples,
        "trained_here": network.is_new,
    }
    atomic_write_text(folder / _FACTS_NAME, json.dumps(facts) + "\n")
    return facts


def load_base(config: BaseConfig, directory: Path) -> tuple[nn.Module, DataSplits]:
    """Return the prepared network in eval mode, and its images."""
    model = load_pretrained(directory / BASE_FOLDER, trust_code=True).eval()
    return model, load_splits(config, model)


def load_splits(config: BaseConfig, model: nn.Module | None = None) -> DataSplits:
    """Return the images of a study, as many as it uses of each part."""
    return splits.load_splits(
        config.data,
        model=model,
        image_size=config.image_size,
        seed=config.split_seed,
        counts={part: getattr(config, f"{part}_images") for part in ("train", "val", "test")},
    )


def _load(config: BaseConfig, data: DataSplits) -> Network:
    return load_network(
        config.model,
        num_classes=data.num_classes,
        weights=config.weights,
        pretrained=config.pretrained,
        trust_code=config.trust_code,
    )


@contextmanager
def resumable(directory: Path) -> Iterator[Path]:
    """Yield where trainings keep their state; it is deleted once the block, with their result, ends."""
    folder = directory / _TRAINING_FOLDER
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _learn(
    config: BaseConfig,
    model: nn.Module,
    data: DataSplits,
    training: Path,
    on_progress: OnProgress | None,
) -> None:
    """Train a network with a new classifier on the data."""
    task = Task(
        model=model,
        data=data,
        budget=Budget(macs=1.0),
        recipe=dataclasses.replace(fine_tune_recipe(), epochs=config.base_epochs),
        batch_size=config.batch_size,
        augment=config.augment,
        device=config.device,
        checkpoint_dir=training,
        on_progress=on_progress,
    )
    task.train(model, Phase(name="base", epochs=config.base_epochs))


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / WEIGHTS_NAME).read_bytes()).hexdigest()

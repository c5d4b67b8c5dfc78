"""From a specification to data: built in, or the user's own."""

import torch
from torch import Tensor

from sentei.data.base import DATASETS, DataOptions, DataSplits, Split, fetch, num_samples
from sentei.data.user_data import load_user_splits
from sentei.errors import DataError

_PARTS: tuple[Split, ...] = ("train", "val", "test")


def load_data(
    spec: str, *, image_size: int | None = None, seed: int = 0, in_channels: int | None = None
) -> DataSplits:
    """Load the data set ``spec`` and split it into train, val and test.

    Args:
        spec: ``digits``, ``elpv``, ``cifar10:DIR``, ``folder:DIR``, or the user's code, which is
            run: ``path/to/file.py:factory`` or ``module:factory``.
        image_size: Height and width, in pixels, >= 1; None is the data set's own.
        seed: Of the split, >= 0.
        in_channels: Channels of the images; None is the data set's own.

    Raises:
        UnknownNameError: no such data set; the message proposes names.
        DataError: the data are missing, empty, unreadable, or cannot take the wanted shape.
        ValueError: a number is out of range.
    """
    for name, value, least in (
        ("image_size", image_size, 1),
        ("seed", seed, 0),
        ("in_channels", in_channels, 1),
    ):
        if value is not None and value < least:
            raise ValueError(f"{name} is {value}, expected >= {least}")
    options = DataOptions(image_size=image_size, seed=seed, in_channels=in_channels)
    name, colon, location = spec.partition(":")
    is_user_code = colon and name not in DATASETS
    splits = load_user_splits(spec, options) if is_user_code else DATASETS[name](location, options)
    _check(spec, splits, in_channels)
    return splits


def calibration_batches(
    splits: DataSplits, *, num_images: int, batch_size: int, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Return batches (images [N, C, H, W], labels [N]) of random training images, none twice.

    Args:
        splits: The data; only train is read.
        num_images: How many images, >= 1; all of train where it has fewer.
        batch_size: Images of a batch, >= 1; the last may be smaller.
        seed: Of the choice.

    Raises:
        ValueError: a number is out of range.
    """
    if num_images < 1 or batch_size < 1:
        raise ValueError(
            f"num_images is {num_images} and batch_size {batch_size}, expected both >= 1"
        )
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(num_samples(splits.train), generator=generator)[:num_images]
    return [fetch(splits.train, chunk.tolist()) for chunk in order.split(batch_size)]


def _check(spec: str, splits: DataSplits, in_channels: int | None) -> None:
    for part in _PARTS:
        if num_samples(splits.split(part)) == 0:
            raise DataError(f"{spec}: {part} is empty; every part needs images")
    if splits.num_classes < 2:
        raise DataError(f"{spec}: {splits.num_classes} class, expected at least 2")
    if in_channels is not None and splits.input_shape[0] != in_channels:
        raise DataError(
            f"{spec}: images have {splits.input_shape[0]} channels, {in_channels} were asked"
        )

"""Data of a study: as many channels as a network takes, and some images of each part."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import Subset

from sentei.data import DataSplits, load_data
from sentei.data.base import Images, num_samples
from sentei.seeding import make_generator


def load_splits(
    spec: str,
    *,
    model: nn.Module | None = None,
    image_size: int | None = None,
    seed: int = 0,
    counts: Mapping[str, int | None] | None = None,
) -> DataSplits:
    """Return the images of a study, the same in every process.

    Args:
        spec: As :func:`sentei.data.load_data` takes it.
        model: Its first convolution says how many channels an image has: they are asked for where
            the data's own are others. None is the data's own.
        image_size: Height and width, in pixels, >= 1; None is the data's own.
        seed: Of the split, >= 0.
        counts: Part (``train``, ``val``, ``test``) -> images to use of it, at random, >= 1; None
            or more than there are is all.

    Raises:
        DataError: The data are missing, unreadable, or cannot take the wanted shape.
        UnknownNameError: There is no such data set.
    """
    load = partial(load_data, spec, image_size=image_size, seed=seed)
    channels = None if model is None else _in_channels(model)
    data = with_channels(load(), channels, lambda wanted: load(in_channels=wanted))
    parts: dict[str, Any] = {
        part: _some(getattr(data, part), count, part)
        for part, count in (counts or {}).items()
        if count is not None
    }
    return dataclasses.replace(data, **parts)


def with_channels(
    data: DataSplits, channels: int | None, load: Callable[[int], DataSplits]
) -> DataSplits:
    """Return data whose images have as many channels as a network takes.

    Channels are asked for only where the images have others: a user's factory need not know the
    option.

    Args:
        data: As they are.
        channels: Of an image, >= 1; None takes any.
        load: Returns the data with as many channels as it is given.
    """
    if channels is None or channels == data.input_shape[0]:
        return data
    return load(channels)


def _in_channels(model: nn.Module) -> int | None:
    """Return the channels of the images that the first convolution takes."""
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    return None if first is None else first.in_channels


def _some(images: Images, count: int, part: str) -> Images:
    """Return a random part of a data set, the same in every worker."""
    total = num_samples(images)
    if count >= total:
        return images
    order = torch.randperm(total, generator=make_generator(0, "images", part))[:count]
    return Subset(images, order.tolist()) if not hasattr(images, "subset") else images.subset(order)

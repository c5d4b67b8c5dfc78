"""CIFAR-10 in its binary version: ``cifar10:DIR``.

Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from sentei.data.base import DATASETS, DataOptions, DataSplits
from sentei.data.splits import split_images, stratified_split
from sentei.data.tensor_images import TensorImages, check_channels, resize, to_grey
from sentei.errors import DataError

_RECORD = 1 + 3 * 32 * 32  # a label, then red, green and blue rows
_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
_TEST = "test_batch.bin"
_CLASSES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]
_MEAN, _STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]  # of the training images


@DATASETS.register("cifar10")
def load_cifar10(location: str, options: DataOptions) -> DataSplits:
    """Return CIFAR-10: a tenth of the training images (5,000) are val, every class in proportion.

    Args:
        location: The folder with the six ``.bin`` files, or the folder above it.
        options: What the user asked.

    Raises:
        DataError: a file is missing or has a wrong size or label, or ``in_channels`` is not 1 or 3.
    """
    name = f"cifar10:{location}"
    check_channels(options.in_channels, name=name)
    folder = _find_folder(location)
    train = np.concatenate([_read_records(folder / file) for file in _TRAIN])
    records = np.concatenate([train, _read_records(folder / _TEST)])
    labels = records[:, 0].astype(np.int64)
    images = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32))
    images = resize(images, options.image_size)
    mean, std = _MEAN, _STD
    if options.in_channels == 1:
        images, mean, std = to_grey(images), mean[1:2], std[1:2]
    indices = stratified_split(labels[: len(train)], {"val": 0.1}, seed=options.seed, name=name)
    return split_images(
        TensorImages(images, torch.from_numpy(labels), mean=mean, std=std),
        {**indices, "test": np.arange(len(train), len(records))},
        name=name,
        class_names=_CLASSES,
    )


def _find_folder(location: str) -> Path:
    if not location:
        raise DataError("cifar10: name the folder with the .bin files, as in 'cifar10:DIR'")
    folder = Path(location).expanduser()
    inner = folder / "cifar-10-batches-bin"
    return inner if inner.is_dir() else folder


def _read_records(path: Path) -> npt.NDArray[np.uint8]:
    """Return the file's records, shape [N, 3073]."""
    if not path.is_file():
        raise DataError(
            f"{path}: there is no such file; expected the binary version of CIFAR-10: "
            f"{', '.join(_TRAIN)}, {_TEST}"
        )
    content = np.fromfile(path, dtype=np.uint8)
    if len(content) == 0 or len(content) % _RECORD:
        raise DataError(
            f"{path}: {len(content)} bytes, expected a multiple of {_RECORD} (one label and "
            f"3x32x32 pixels a record); the file is torn, copy it again"
        )
    records = content.reshape(-1, _RECORD)
    wrong = np.flatnonzero(records[:, 0] >= len(_CLASSES))
    if len(wrong):
        raise DataError(
            f"{path}: record {wrong[0]} has label {records[wrong[0], 0]}, expected 0 to 9; "
            f"the file is not CIFAR-10's binary version"
        )
    return records

"""Stratified splits, and the digest that names a data set."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from sentei.data.base import DataSplits
from sentei.data.tensor_images import TensorImages
from sentei.errors import DataError

IntArray = npt.NDArray[np.int64]


def stratified_split(
    labels: IntArray, fractions: Mapping[str, float], *, seed: int, name: str
) -> dict[str, IntArray]:
    """Divide samples at random, every class in the same proportions.

    Args:
        labels: Class index of every sample, shape [N].
        fractions: Part -> its share of each class, in (0, 1); "train" is the rest. A class with
            enough samples gives at least one to every part.
        seed: Of the permutation within each class.
        name: The data set, for messages.

    Returns:
        Part -> sorted indices into ``labels``; "train" is one of the parts.

    Raises:
        DataError: a part would be empty.
    """
    rng = np.random.default_rng(seed)
    chosen = np.full(len(labels), "train", dtype=object)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        total = len(members)
        least = 1 if total > len(fractions) else 0
        for part, fraction in fractions.items():
            count = max(least, round(total * fraction))
            chosen[members[:count]] = part
            members = members[count:]
    indices = {part: np.flatnonzero(chosen == part) for part in ("train", *fractions)}
    for part, found in indices.items():
        if len(found) == 0:
            raise DataError(
                f"{name}: {len(labels)} images are too few to split, {part} would be empty; "
                f"give at least {len(fractions) + 1} images a class"
            )
    return indices


def split_images(
    pool: TensorImages,
    indices: Mapping[str, IntArray],
    *,
    name: str,
    class_names: Sequence[str],
    can_flip: bool = True,
) -> DataSplits:
    """Return the splits of images in memory; ``indices`` has train, val and test."""
    parts = {part: pool.subset(torch.from_numpy(found)) for part, found in indices.items()}
    arrays = [
        pool.images.numpy(),
        pool.labels.numpy(),
        *(indices[part] for part in sorted(indices)),
    ]
    height, width = pool.images.shape[2:]
    return DataSplits(
        name=name,
        train=parts["train"],
        val=parts["val"],
        test=parts["test"],
        num_classes=len(class_names),
        class_names=tuple(class_names),
        input_shape=(len(pool.mean), height, width),
        digest=digest_of(np.ascontiguousarray(a).data.cast("B") for a in arrays),
        can_flip=can_flip,
    )


def digest_of(chunks: Iterable[bytes | memoryview]) -> str:
    """Return the SHA-256 of all chunks, each preceded by its length, in hexadecimal."""
    sha = hashlib.sha256()
    for chunk in chunks:
        sha.update(len(chunk).to_bytes(8, "little"))
        sha.update(chunk)
    return sha.hexdigest()

"""What every data set is known by: the registry, the three splits and their loaders."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from sentei.data.augment import crop_and_flip
from sentei.data.tensor_images import TensorImages
from sentei.registry import Registry

Split = Literal["train", "val", "test"]
Images = Dataset[tuple[Tensor, int]]
Batches = DataLoader[tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What the user asked of a data set.

    Attributes:
        image_size: Height and width, in pixels, >= 1; None is the data set's own.
        seed: Of the split into train, val and test.
        in_channels: Channels of an image, 1 or 3; None is the data set's own.
    """

    image_size: int | None = None
    seed: int = 0
    in_channels: int | None = None


@dataclass(frozen=True, kw_only=True)
class DataSplits:
    """A data set in three parts that share no image.

    Attributes:
        name: As the user wrote it.
        train: For fitting; samples are (float32 normalised image [C, H, W], class index).
        val: For choosing between fits.
        test: For the final number only.
        num_classes: Number of classes, >= 2.
        class_names: One name a class, in the order of the indices.
        input_shape: Shape (C, H, W) of every image.
        digest: SHA-256, in hexadecimal, that changes with the images, labels or split.
        can_flip: Whether a mirrored image keeps its class (not so for digits).
    """

    name: str
    train: Images
    val: Images
    test: Images
    num_classes: int
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    digest: str
    can_flip: bool = True

    def split(self, split: Split) -> Images:
        """Return one of the three data sets.

        Raises:
            ValueError: ``split`` is not one of them.
        """
        parts = {"train": self.train, "val": self.val, "test": self.test}
        if split not in parts:
            raise ValueError(f"split is {split!r}, expected 'train', 'val' or 'test'")
        return parts[split]

    def loader(
        self,
        split: Split,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        num_workers: int = 0,
        augment: bool = False,
    ) -> Batches:
        """Return batches (images [N, C, H, W], labels [N]) of one part; the last may be smaller.

        Every pass over the loader shuffles and augments anew; two loaders of one seed give the
        same passes, whatever ``num_workers``. Torch's global generator is not touched.

        Args:
            split: Which part.
            batch_size: Images of a batch, >= 1.
            shuffle: Permute the images before each pass.
            seed: Of the order and of the augmentation.
            num_workers: Processes that decode, >= 0; images in memory need none.
            augment: Crop at random from the zero-padded image (one eighth of the size each side)
                and mirror half of the images where the data set allows it; train only.

        Raises:
            ValueError: a number is out of range, or ``augment`` is asked of val or test.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected >= 1")
        if augment and split != "train":
            raise ValueError(f"augment=True would change the {split} images; use it for train only")
        dataset = self.split(split)
        sampler = _BatchSampler(
            num_samples(dataset), batch_size=batch_size, shuffle=shuffle, seed=seed
        )
        return DataLoader(
            _BatchView(dataset, augment=augment, can_flip=self.can_flip),
            sampler=sampler,
            batch_size=None,
            num_workers=num_workers,
            generator=torch.Generator().manual_seed(seed),
        )


DataFactory = Callable[[str, DataOptions], DataSplits]
"""Builds the splits from what follows the colon ("" where nothing does) and the options."""

DATASETS: Registry[DataFactory] = Registry("data set")


class _BatchSampler(Sampler[tuple[list[int], int]]):
    """Indices of each batch, with a seed for its augmentation: workers then need no state."""

    def __init__(self, num_images: int, *, batch_size: int, shuffle: bool, seed: int) -> None:
        self.num_images = num_images
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return math.ceil(self.num_images / self.batch_size)

    def __iter__(self) -> Iterator[tuple[list[int], int]]:
        order = torch.arange(self.num_images)
        if self.shuffle:
            order = torch.randperm(self.num_images, generator=self.generator)
        for indices in order.split(self.batch_size):
            seed = int(torch.randint(2**62, (), generator=self.generator))
            yield indices.tolist(), seed


class _BatchView(Dataset[tuple[Tensor, Tensor]]):
    """A data set indexed by whole batches; images in memory are sliced, others collated."""

    def __init__(self, dataset: Images, *, augment: bool, can_flip: bool) -> None:
        self.dataset = dataset
        self.augment = augment
        self.can_flip = can_flip

    def __len__(self) -> int:
        return num_samples(self.dataset)

    def __getitem__(self, batch: tuple[list[int], int]) -> tuple[Tensor, Tensor]:
        indices, seed = batch
        images, labels = fetch(self.dataset, indices)
        if self.augment:
            generator = torch.Generator().manual_seed(seed)
            images = crop_and_flip(images, generator=generator, flip=self.can_flip)
        return images, labels


def num_samples(dataset: Images) -> int:
    """Return the number of samples of a map-style data set."""
    return len(dataset)  # type: ignore[arg-type] # torch leaves the length to subclasses


def fetch(dataset: Images, indices: list[int]) -> tuple[Tensor, Tensor]:
    """Return images [N, C, H, W] and labels [N] (int64) of the given samples."""
    if isinstance(dataset, TensorImages):
        return dataset.batch(indices)
    samples: Any = default_collate([dataset[i] for i in indices])
    images, labels = samples
    return images, labels

"""Training batches that are a function of the epoch alone, so that a run can go on anywhere."""

from collections.abc import Iterator

from torch import Tensor

from sentei.data import DataSplits
from sentei.data.base import num_samples
from sentei.seeding import derive_seed


class EpochBatches:
    """Shuffled training batches (images [N, C, H, W], labels [N]).

    A last batch of a single image is left out (after others): it has no variance to normalize by.

    Args:
        data: The data; only train is read.
        batch_size: Images of a batch, >= 1.
        augment: Crop and mirror at random.
        seed: Root of the order and of the augmentation of all epochs.
    """

    def __init__(self, data: DataSplits, *, batch_size: int, augment: bool, seed: int) -> None:
        self.data = data
        self.batch_size = batch_size
        self.augment = augment
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, that the next pass belongs to."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(num_samples(self.data.train), self.batch_size)
        return full + (rest > 1 or (rest == 1 and full == 0))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        loader = self.data.loader(
            "train",
            batch_size=self.batch_size,
            shuffle=True,
            augment=self.augment,
            seed=derive_seed(self.seed, f"epoch {self.epoch}"),
        )
        for _, batch in zip(range(len(self)), loader, strict=False):
            yield batch

"""Images held in memory as bytes, normalised when fetched."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sentei.errors import DataError


class TensorImages(Dataset[tuple[Tensor, int]]):
    """A data set in memory: bytes in, (byte / 255 - mean) / std out.

    Grey images (C = 1) come out with as many equal channels as ``mean`` has numbers.

    Args:
        images: Bytes, shape [N, C, H, W].
        labels: Class indices, int64, shape [N].
        mean: One number a channel, in [0, 1].
        std: One number a channel, > 0.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, *, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self.images = images
        self.labels = labels
        self.mean = tuple(mean)
        self.std = tuple(std)
        self._mean = torch.tensor(self.mean).view(-1, 1, 1)
        self._std = torch.tensor(self.std).view(-1, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        images, labels = self.batch([index])
        return images[0], int(labels[0])

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return normalised images [N, C, H, W] (float32) and labels [N] of the given samples."""
        chosen = torch.as_tensor(indices)
        images = (self.images[chosen].float() / 255 - self._mean) / self._std
        return images, self.labels[chosen]

    def subset(self, indices: Tensor) -> "TensorImages":
        """Return a data set with copies of the given samples, indices of shape [n]."""
        return TensorImages(
            self.images[indices], self.labels[indices], mean=self.mean, std=self.std
        )


def resize(images: Tensor, size: int | None) -> Tensor:
    """Return bytes [N, C, H, W] at ``size`` x ``size`` pixels, bilinear; None keeps them."""
    if size is None or tuple(images.shape[2:]) == (size, size):
        return images
    resized = nn.functional.interpolate(
        images.float(), size=(size, size), mode="bilinear", antialias=True
    )
    return resized.round().clamp(0, 255).to(torch.uint8)


def to_grey(images: Tensor) -> Tensor:
    """Return bytes [N, 1, H, W], the mean over the channels of bytes [N, C, H, W]."""
    return images.float().mean(dim=1, keepdim=True).round().to(torch.uint8)


def check_channels(in_channels: int | None, *, name: str) -> None:
    """Raise DataError unless ``in_channels`` is None, 1 or 3: what colour images can give."""
    if in_channels not in {None, 1, 3}:
        raise DataError(f"{name}: in_channels is {in_channels}, the images give 1 or 3")

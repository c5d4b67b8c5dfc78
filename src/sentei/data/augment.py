"""Random crops and mirror images, for a whole batch at a time."""

import torch
from torch import Tensor, nn


def crop_and_flip(images: Tensor, *, generator: torch.Generator, flip: bool) -> Tensor:
    """Shift every image by up to one eighth of its size, zeros entering; mirror half of them.

    Args:
        images: Shape [N, C, H, W].
        generator: Source of the shifts and flips; advanced.
        flip: Whether to mirror left and right.

    Returns:
        A new tensor of the same shape.
    """
    count, _, height, width = images.shape
    pad_y, pad_x = height // 8, width // 8
    windows = (
        nn.functional.pad(images, (pad_x, pad_x, pad_y, pad_y))
        .unfold(2, height, 1)
        .unfold(3, width, 1)
    )  # [N, C, shifts down, shifts right, H, W], a view
    down = torch.randint(2 * pad_y + 1, (count,), generator=generator)
    right = torch.randint(2 * pad_x + 1, (count,), generator=generator)
    cropped = windows[torch.arange(count), :, down, right]
    if not flip:
        return cropped
    mirrored = torch.rand(count, generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], cropped.flip(3), cropped)

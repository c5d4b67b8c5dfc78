"""Batches of an epoch depend on nothing but its number."""

import torch

from sentei.data import DataSplits, load_data
from sentei.pipeline.batches import EpochBatches


def images(batches: EpochBatches, epoch: int) -> torch.Tensor:
    batches.set_epoch(epoch)
    return torch.cat([batch for batch, _ in batches])


def digits(batch_size: int) -> tuple[DataSplits, EpochBatches]:
    data = load_data("digits")
    return data, EpochBatches(data, batch_size=batch_size, augment=True, seed=3)


def test_epoch_is_the_same_whatever_came_before() -> None:
    _, one = digits(256)
    _, other = digits(256)
    images(one, 0)

    torch.testing.assert_close(images(one, 1), images(other, 1), rtol=0, atol=0)


def test_epochs_differ() -> None:
    _, batches = digits(256)

    assert not torch.equal(images(batches, 0), images(batches, 1))


def test_last_batch_of_one_image_is_left_out() -> None:
    data, _ = digits(1)
    count = len(data.train)  # type: ignore[arg-type] # torch leaves the length to subclasses
    _, batches = digits(count - 1)

    assert len(batches) == len(list(batches)) == 1


def test_all_images_are_there_otherwise() -> None:
    data, batches = digits(100)

    assert len(images(batches, 0)) == len(data.train)  # type: ignore[arg-type]

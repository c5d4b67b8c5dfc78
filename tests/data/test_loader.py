"""Splits, loaders, augmentation and calibration, on the digits."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from sentei.data import DataSplits, Split, calibration_batches, load_data
from sentei.data.augment import crop_and_flip
from sentei.data.splits import stratified_split
from sentei.data.tensor_images import TensorImages
from sentei.errors import DataError

PARTS: tuple[Split, ...] = ("train", "val", "test")


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    return load_data("digits")


def gather(
    splits: DataSplits,
    split: Split,
    *,
    shuffle: bool = False,
    augment: bool = False,
    seed: int = 0,
    num_workers: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return one pass over a loader, concatenated."""
    loader = splits.loader(
        split,
        batch_size=100,
        shuffle=shuffle,
        augment=augment,
        seed=seed,
        num_workers=num_workers,
    )
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_digits_are_split_sixty_twenty_twenty(digits: DataSplits) -> None:
    labels = load_digits().target
    fifth = sum(round(0.2 * np.sum(labels == c)) for c in range(10))

    sizes = [len(gather(digits, part)[1]) for part in PARTS]

    assert sizes == [1797 - 2 * fifth, fifth, fifth]


def test_every_class_keeps_its_share(digits: DataSplits) -> None:
    counts = [np.bincount(gather(digits, part)[1].numpy()) for part in PARTS]

    np.testing.assert_array_equal(counts[1], counts[2])
    np.testing.assert_allclose(counts[1] / sum(counts), 0.2, atol=0.5 / 174)


def test_splits_share_no_image_and_lose_none(digits: DataSplits) -> None:
    rows = torch.cat([gather(digits, part)[0].flatten(1) for part in PARTS])

    # Pixels become integers 0 to 16 again; scikit-learn's own 1,797 rows are all different.
    pixels = (rows * 0.3761 + 0.3053) * 16
    found = {tuple(row) for row in pixels.round().int().tolist()}

    assert found == {tuple(row) for row in load_digits().data.astype(int).tolist()}


def test_train_pixels_are_normalised(digits: DataSplits) -> None:
    images = gather(digits, "train")[0]

    assert images.dtype == torch.float32
    assert images.mean().item() == pytest.approx(0, abs=0.02)
    assert images.std().item() == pytest.approx(1, abs=0.02)


def test_single_samples_equal_batches(digits: DataSplits) -> None:
    images, labels = gather(digits, "val")

    image, label = digits.val[7]

    assert torch.equal(image, images[7])
    assert label == labels[7]


def test_digest_depends_on_the_split_alone(digits: DataSplits) -> None:
    same, other = load_data("digits"), load_data("digits", seed=1)

    assert digits.digest == same.digest != other.digest


def test_digest_depends_on_the_pixels(digits: DataSplits) -> None:
    assert digits.digest != load_data("digits", image_size=10).digest


def test_image_size_and_channels_are_obeyed() -> None:
    splits = load_data("digits", image_size=16, in_channels=3)

    images = gather(splits, "test")[0]

    assert tuple(images.shape[1:]) == splits.input_shape == (3, 16, 16)
    assert torch.equal(images[:, 0], images[:, 2])


def test_shuffle_is_a_permutation(digits: DataSplits) -> None:
    plain, shuffled = gather(digits, "train")[0], gather(digits, "train", shuffle=True)[0]

    def rows(images: Tensor) -> list[list[float]]:
        return sorted(images.flatten(1).tolist())

    assert not torch.equal(plain, shuffled)
    assert rows(plain) == rows(shuffled)


def test_images_keep_their_labels_when_shuffled(digits: DataSplits) -> None:
    plain = {
        tuple(i.flatten().tolist()): int(y) for i, y in zip(*gather(digits, "val"), strict=True)
    }

    shuffled = zip(*gather(digits, "val", shuffle=True), strict=True)

    assert all(plain[tuple(image.flatten().tolist())] == label for image, label in shuffled)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_same_seed_same_batches(digits: DataSplits, num_workers: int) -> None:
    first = gather(digits, "train", shuffle=True, augment=True, seed=3)

    again = gather(digits, "train", shuffle=True, augment=True, seed=3, num_workers=num_workers)

    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


def test_other_seed_other_order(digits: DataSplits) -> None:
    first = gather(digits, "train", shuffle=True, seed=3)[1]

    assert not torch.equal(first, gather(digits, "train", shuffle=True, seed=4)[1])


def test_every_pass_shuffles_anew(digits: DataSplits) -> None:
    loader = digits.loader("train", batch_size=200, shuffle=True)

    assert not torch.equal(next(iter(loader))[1], next(iter(loader))[1])


def test_loader_leaves_the_global_generator_alone(digits: DataSplits) -> None:
    before = torch.get_rng_state()

    gather(digits, "train", shuffle=True, augment=True)

    assert torch.equal(torch.get_rng_state(), before)


def test_length_counts_the_smaller_last_batch(digits: DataSplits) -> None:
    loader = digits.loader("val", batch_size=100)

    assert len(loader) == len(list(loader)) == 4


def test_crop_and_flip_moves_each_image_as_a_slow_loop_finds() -> None:
    images = torch.randn(40, 2, 16, 8, generator=torch.Generator().manual_seed(0))

    moved = crop_and_flip(images, generator=torch.Generator().manual_seed(1), flip=True)

    padded = torch.zeros(40, 2, 20, 10)
    padded[:, :, 2:18, 1:9] = images
    found = set()
    for image, wide in zip(moved, padded, strict=True):
        for down in range(5):
            for right in range(3):
                crop = wide[:, down : down + 16, right : right + 8]
                found |= {(down, right, "as is")} if torch.equal(image, crop) else set()
                found |= {(down, right, "mirrored")} if torch.equal(image, crop.flip(2)) else set()
    assert {down for down, _, _ in found} == set(range(5))
    assert {right for _, right, _ in found} == set(range(3))
    assert {side for _, _, side in found} == {"as is", "mirrored"}


def test_digits_are_never_mirrored() -> None:
    # A single bright column left of the middle cannot pass it by a shift of one pixel.
    images = torch.zeros(64, 1, 8, 8)
    images[..., 1] = 1

    moved = crop_and_flip(images, generator=torch.Generator().manual_seed(0), flip=False)

    assert not moved[..., 4:].any()
    assert not load_data("digits").can_flip


def test_augmentation_is_for_train_only(digits: DataSplits) -> None:
    with pytest.raises(ValueError, match="augment=True would change the val images"):
        digits.loader("val", batch_size=8, augment=True)


def test_batch_size_out_of_range(digits: DataSplits) -> None:
    with pytest.raises(ValueError, match="batch_size is 0, expected >= 1"):
        digits.loader("val", batch_size=0)


def test_unknown_split(digits: DataSplits) -> None:
    with pytest.raises(ValueError, match="split is 'valid', expected 'train', 'val' or 'test'"):
        digits.loader("valid", batch_size=8)  # type: ignore[arg-type] # what is tested


def test_calibration_images_are_different_training_images(digits: DataSplits) -> None:
    batches = calibration_batches(digits, num_images=100, batch_size=32, seed=0)

    rows = {tuple(r) for images, _ in batches for r in images.flatten(1).tolist()}
    train = {tuple(r) for r in gather(digits, "train")[0].flatten(1).tolist()}
    assert [len(labels) for _, labels in batches] == [32, 32, 32, 4]
    assert len(rows) == 100
    assert rows <= train


def test_calibration_follows_its_seed(digits: DataSplits) -> None:
    def labels(seed: int) -> list[int]:
        batches = calibration_batches(digits, num_images=64, batch_size=64, seed=seed)
        return batches[0][1].tolist()

    assert labels(0) == labels(0) != labels(1)


def test_calibration_takes_all_of_a_small_train(digits: DataSplits) -> None:
    batches = calibration_batches(digits, num_images=10_000, batch_size=2_000, seed=0)

    assert len(batches[0][1]) == len(gather(digits, "train")[1])


def test_calibration_number_out_of_range(digits: DataSplits) -> None:
    with pytest.raises(ValueError, match="num_images is 0"):
        calibration_batches(digits, num_images=0, batch_size=8, seed=0)


def test_stratified_split_gives_small_classes_to_every_part() -> None:
    labels = np.array([0] * 3 + [1] * 20)

    parts = stratified_split(labels, {"val": 0.15, "test": 0.15}, seed=0, name="toy")

    assert {part: np.bincount(labels[i]).tolist() for part, i in parts.items()} == {
        "train": [1, 14],
        "val": [1, 3],
        "test": [1, 3],
    }


def test_too_few_images_to_split() -> None:
    with pytest.raises(DataError, match="toy: 2 images are too few to split, val would be empty"):
        stratified_split(np.array([0, 1]), {"val": 0.2}, seed=0, name="toy")


def test_tensor_images_normalise_by_hand() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    data = TensorImages(images, torch.tensor([0, 1, 0]), mean=[0.5], std=[0.25])

    pixels = data.batch([2, 1, 0])[0]

    torch.testing.assert_close(pixels.flatten(), torch.tensor([2.0, -1.2, -2.0]))

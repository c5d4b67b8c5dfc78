"""The binary version of CIFAR-10, on small files of the same layout."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from sentei.data import load_data
from sentei.errors import DataError

FILES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]


def records(seed: int) -> npt.NDArray[np.uint8]:
    """Return 20 records, two of each class, with random pixels."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (20, 3073), dtype=np.uint8)
    rows[:, 0] = np.arange(20) % 10
    return rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, name in enumerate(FILES):
        (tmp_path / name).write_bytes(records(i).tobytes())
    return tmp_path


def test_a_tenth_of_train_is_val(folder: Path) -> None:
    splits = load_data(f"cifar10:{folder}")

    loaders = [splits.loader(part, batch_size=1000) for part in ("train", "val", "test")]
    counts = [np.bincount(next(iter(loader))[1].numpy()).tolist() for loader in loaders]

    assert counts == [[9] * 10, [1] * 10, [2] * 10]


def test_test_images_are_those_of_the_test_file(folder: Path) -> None:
    rows = records(5)
    pixels = rows[:, 1:].reshape(20, 3, 32, 32) / 255
    expected = (pixels - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))

    images, labels = next(iter(load_data(f"cifar10:{folder}").loader("test", batch_size=20)))

    torch.testing.assert_close(images, torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-5)
    assert labels.tolist() == rows[:, 0].tolist()


def test_test_images_do_not_depend_on_the_seed(folder: Path) -> None:
    first, second = (load_data(f"cifar10:{folder}", seed=seed) for seed in (0, 1))

    assert torch.equal(first.test[3][0], second.test[3][0])
    assert first.digest != second.digest


def test_folder_above_is_found(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    above = tmp_path_factory.mktemp("data")
    folder.rename(above / "cifar-10-batches-bin")

    assert load_data(f"cifar10:{above}").num_classes == 10


def test_grey_and_resized(folder: Path) -> None:
    splits = load_data(f"cifar10:{folder}", image_size=16, in_channels=1)

    assert splits.train[0][0].shape == splits.input_shape == (1, 16, 16)


def test_missing_file_is_named(folder: Path) -> None:
    (folder / "data_batch_3.bin").unlink()

    with pytest.raises(DataError, match=r"data_batch_3.bin: there is no such file"):
        load_data(f"cifar10:{folder}")


@pytest.mark.parametrize("length", [0, 3072, 3074])
def test_torn_file_is_named(folder: Path, length: int) -> None:
    (folder / "test_batch.bin").write_bytes(bytes(length))

    with pytest.raises(DataError, match=rf"test_batch.bin: {length} bytes, expected a multiple"):
        load_data(f"cifar10:{folder}")


def test_wrong_label_is_named(folder: Path) -> None:
    rows = records(0)
    rows[4, 0] = 37
    (folder / "data_batch_2.bin").write_bytes(rows.tobytes())

    with pytest.raises(DataError, match=r"data_batch_2.bin: record 4 has label 37"):
        load_data(f"cifar10:{folder}")


def test_folder_is_needed() -> None:
    with pytest.raises(DataError, match="as in 'cifar10:DIR'"):
        load_data("cifar10")


def test_other_channels_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="in_channels is 2, the images give 1 or 3"):
        load_data(f"cifar10:{folder}", in_channels=2)

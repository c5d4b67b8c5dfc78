"""Folders of images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sentei.data import load_data
from sentei.errors import DataError


def write(path: Path, *, colour: tuple[int, int, int] = (0, 0, 0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), colour).save(path)


def write_classes(root: Path, classes: dict[str, int]) -> Path:
    for i, (name, count) in enumerate(classes.items()):
        for j in range(count):
            write(root / name / f"{j:02}.png", colour=(10 * i, j, 255))
    return root


def sizes(spec: str) -> list[int]:
    splits = load_data(spec, image_size=8)
    return [
        sum(len(labels) for _, labels in splits.loader(part, batch_size=64))
        for part in ("train", "val", "test")
    ]


def test_classes_are_split_seventy_fifteen_fifteen(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 20, "dog": 40})

    assert sizes(f"folder:{tmp_path}") == [42, 9, 9]


def test_given_split_is_used(tmp_path: Path) -> None:
    for part, count in (("train", 4), ("val", 1), ("test", 2)):
        write_classes(tmp_path / part, {"cat": count, "dog": count})

    assert sizes(f"folder:{tmp_path}") == [8, 2, 4]


def test_val_is_split_off_train_where_it_is_not_given(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"cat": 20, "dog": 20})
    write_classes(tmp_path / "test", {"cat": 5, "dog": 5})

    assert sizes(f"folder:{tmp_path}") == [34, 6, 10]


def test_given_split_needs_test(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_classes(tmp_path / part, {"cat": 2, "dog": 2})

    with pytest.raises(DataError, match="found train, val but no test"):
        load_data(f"folder:{tmp_path}")


def test_class_that_train_does_not_have(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"cat": 4, "dog": 4})
    write_classes(tmp_path / "test", {"cat": 2, "wolf": 2})

    with pytest.raises(DataError, match="train has no class 'wolf'"):
        load_data(f"folder:{tmp_path}")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".bmp", ".webp"])
def test_formats_are_decoded(tmp_path: Path, suffix: str) -> None:
    for name in ("cat", "dog"):
        for i in range(3):
            write(tmp_path / name / f"{i}{suffix}", colour=(255, 128, 0))

    image = load_data(f"folder:{tmp_path}", image_size=6).train[0][0]

    assert tuple(image.shape) == (3, 6, 6)
    # Lossy formats move a byte by a few steps.
    expected = torch.tensor([(1 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, -0.406 / 0.225])
    torch.testing.assert_close(image.mean(dim=(1, 2)), expected, rtol=0, atol=0.08)


def test_grey_images(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 3, "dog": 3})

    splits = load_data(f"folder:{tmp_path}", image_size=6, in_channels=1)

    assert splits.val[0][0].shape == splits.input_shape == (1, 6, 6)


def test_images_are_224_pixels_unless_asked(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 3, "dog": 3})

    assert load_data(f"folder:{tmp_path}").input_shape == (3, 224, 224)


def test_labels_follow_the_class_names(tmp_path: Path) -> None:
    write_classes(tmp_path, {"dog": 3, "cat": 3})
    splits = load_data(f"folder:{tmp_path}", image_size=4)

    # write_classes paints dogs with red 0 and cats with red 10.
    red = [round((float(i[0, 0, 0]) * 0.229 + 0.485) * 255) for i, _ in _samples(splits.test)]

    assert splits.class_names == ("cat", "dog")
    assert [label for _, label in _samples(splits.test)] == [0 if r == 10 else 1 for r in red]


def _samples(
    dataset: torch.utils.data.Dataset[tuple[torch.Tensor, int]],
) -> list[tuple[torch.Tensor, int]]:
    return [dataset[i] for i in range(2)]


def test_digest_changes_with_a_file(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 5, "dog": 5})
    before, again = (load_data(f"folder:{tmp_path}").digest for _ in range(2))

    write(tmp_path / "cat" / "00.png", colour=(1, 2, 3))

    assert before == again != load_data(f"folder:{tmp_path}").digest


def test_digest_does_not_depend_on_the_place(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    digests = {load_data(f"folder:{write_classes(p, {'cat': 5, 'dog': 5})}").digest
               for p in (tmp_path, other)}  # fmt: skip

    assert len(digests) == 1


@pytest.mark.parametrize("content", [b"", b"no image", "torn"])
def test_unreadable_image_is_named(tmp_path: Path, content: bytes | str) -> None:
    write_classes(tmp_path, {"cat": 3, "dog": 3})
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for path in tmp_path.rglob("*.png"):
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:900] if isinstance(content, str) else content)

    splits = load_data(f"folder:{tmp_path}")

    with pytest.raises(DataError, match=r"\d\d.png: the image cannot be read"):
        splits.loader("train", batch_size=2).__iter__().__next__()


def test_folder_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        load_data(f"folder:{tmp_path / 'nothing'}")


def test_empty_class_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "emu").mkdir()

    with pytest.raises(DataError, match="no image of class 'emu'"):
        load_data(f"folder:{tmp_path}")


@pytest.mark.parametrize("classes", [{}, {"cat": 3}])
def test_fewer_than_two_classes(tmp_path: Path, classes: dict[str, int]) -> None:
    write_classes(tmp_path, classes)

    with pytest.raises(DataError, match=f"{len(classes)} class folders, expected at least 2"):
        load_data(f"folder:{tmp_path}")


def test_too_few_images_to_split(tmp_path: Path) -> None:
    write_classes(tmp_path, {"cat": 1, "dog": 1})

    with pytest.raises(DataError, match="2 images are too few to split, val would be empty"):
        load_data(f"folder:{tmp_path}")

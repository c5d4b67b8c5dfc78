"""A folder of images, one subfolder a class: ``folder:DIR``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from sentei.data.base import DATASETS, DataOptions, DataSplits
from sentei.data.splits import digest_of, stratified_split
from sentei.data.tensor_images import check_channels
from sentei.errors import DataError

IntArray = npt.NDArray[np.int64]

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
_IMAGE_SIZE = 224
_HEAD_BYTES = 4096  # of each file in the digest: cheap for large folders
# Of ImageNet's images; grey is their average.
_STATISTICS = {3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), 1: ((0.449,), (0.226,))}


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """Image files, decoded when fetched.

    The centre square is resized to ``image_size`` and normalised.

    Args:
        paths: The files.
        labels: Class index of each file, shape [N].
        image_size: Height and width, in pixels.
        channels: 3 (colour) or 1 (grey).
    """

    def __init__(
        self, paths: Sequence[Path], labels: IntArray, *, image_size: int, channels: int
    ) -> None:
        self.paths = tuple(paths)
        self.labels = labels
        self.image_size = image_size
        mean, std = _STATISTICS[channels]
        self._mode = "RGB" if channels == 3 else "L"
        self._mean = torch.tensor(mean).view(-1, 1, 1)
        self._std = torch.tensor(std).view(-1, 1, 1)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one normalised image [C, H, W] and its class.

        Raises:
            DataError: the file cannot be decoded.
        """
        path = self.paths[index]
        try:
            with Image.open(path) as image:
                square = ImageOps.fit(
                    image.convert(self._mode),
                    (self.image_size, self.image_size),
                    Image.Resampling.BILINEAR,
                )
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(
                f"{path}: the image cannot be read ({error}); replace or remove the file"
            ) from error
        pixels = torch.from_numpy(np.array(square)).view(self.image_size, self.image_size, -1)
        values = (pixels.permute(2, 0, 1).float() / 255 - self._mean) / self._std
        return values, int(self.labels[index])


@dataclass(frozen=True, kw_only=True)
class _Listing:
    """The images below one folder: files, and class indices of shape [N]."""

    class_names: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: IntArray

    def select(self, indices: IntArray) -> "_Listing":
        return _Listing(
            class_names=self.class_names,
            paths=tuple(self.paths[i] for i in indices),
            labels=self.labels[indices],
        )


@DATASETS.register("folder")
def load_folder(location: str, options: DataOptions) -> DataSplits:
    """Return the images below a folder (png, jpg, bmp, webp), 224x224 unless asked otherwise.

    ``DIR/CLASS/*`` is split 70/15/15 with every class in proportion. Where all subfolders are
    called train, val and test, they are the split; without val, 15 % of train become val.

    Args:
        location: The folder.
        options: What the user asked.

    Raises:
        DataError: no folder, a class without images, fewer than two classes, a class that train
            does not have, or ``in_channels`` is not 1 or 3.
    """
    name = f"folder:{location}"
    check_channels(options.in_channels, name=name)
    root = Path(location).expanduser()
    if not location or not root.is_dir():
        raise DataError(f"{name}: there is no such folder; write 'folder:DIR'")
    parts = _find_parts(root, seed=options.seed)
    size, channels = options.image_size or _IMAGE_SIZE, options.in_channels or 3
    datasets = {
        part: ImageFiles(listing.paths, listing.labels, image_size=size, channels=channels)
        for part, listing in parts.items()
    }
    return DataSplits(
        name=name,
        train=datasets["train"],
        val=datasets["val"],
        test=datasets["test"],
        num_classes=len(parts["train"].class_names),
        class_names=parts["train"].class_names,
        input_shape=(channels, size, size),
        digest=digest_of(_chunks(root, parts)),
    )


def _find_parts(root: Path, *, seed: int) -> dict[str, _Listing]:
    folders = _subfolders(root)
    names = {folder.name for folder in folders}
    if names and names <= {"train", "val", "test"}:
        return _given_parts(root, names, seed=seed)
    listing = _list_images(root, None)
    fractions = {"val": 0.15, "test": 0.15}
    split = stratified_split(listing.labels, fractions, seed=seed, name=f"folder {root}")
    return {part: listing.select(indices) for part, indices in split.items()}


def _given_parts(root: Path, names: set[str], *, seed: int) -> dict[str, _Listing]:
    for part in ("train", "test"):
        if part not in names:
            raise DataError(
                f"folder {root}: found {', '.join(sorted(names))} but no {part}; "
                f"train and test are needed, val may be split off train"
            )
    train = _list_images(root / "train", None)
    parts = {p: _list_images(root / p, train.class_names) for p in names - {"train"}}
    if "val" in parts:
        return {"train": train, **parts}
    split = stratified_split(train.labels, {"val": 0.15}, seed=seed, name=f"folder {root}")
    return {**{part: train.select(indices) for part, indices in split.items()}, **parts}


def _list_images(folder: Path, class_names: tuple[str, ...] | None) -> _Listing:
    """List the images below ``folder``; ``class_names`` are those of train, None for train."""
    found = tuple(child.name for child in _subfolders(folder))
    if len(found) < (2 if class_names is None else 1):
        raise DataError(
            f"folder {folder}: {len(found)} class folders, expected at least 2, each with images"
        )
    class_names = class_names or found
    paths: list[Path] = []
    labels: list[int] = []
    for name in found:
        if name not in class_names:
            raise DataError(
                f"folder {folder / name}: train has no class {name!r}; add or remove it"
            )
        files = sorted(p for p in (folder / name).rglob("*") if p.suffix.lower() in _SUFFIXES)
        if not files:
            raise DataError(
                f"folder {folder / name}: no image of class {name!r}; expected files ending in "
                f"{', '.join(sorted(_SUFFIXES))}. Folders of a split are train, val and test"
            )
        paths += files
        labels += [class_names.index(name)] * len(files)
    return _Listing(
        class_names=class_names, paths=tuple(paths), labels=np.array(labels, dtype=np.int64)
    )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _chunks(root: Path, parts: dict[str, _Listing]) -> Iterator[bytes]:
    for part in sorted(parts):
        yield part.encode()
        yield parts[part].labels.tobytes()
        for path in parts[part].paths:
            with path.open("rb") as file:
                head = file.read(_HEAD_BYTES)
            yield f"{path.relative_to(root).as_posix()} {path.stat().st_size}".encode()
            yield head

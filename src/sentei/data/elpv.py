"""ELPV: 2,624 electroluminescence images of solar cells, 300x300 pixels, grey.

Source: Deitsch et al., Solar Energy 2019, arXiv:1807.02894; PyPI package ``elpv-dataset``.
Difference: two classes; a cell is defective when its defect probability exceeds 0.5.
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sentei.data.base import DATASETS, DataOptions, DataSplits
from sentei.data.splits import split_images, stratified_split
from sentei.data.tensor_images import TensorImages
from sentei.errors import DataError

_IMAGE_SIZE = 128


@DATASETS.register("elpv")
def load_elpv(location: str, options: DataOptions) -> DataSplits:
    """Return the cells, split 60/20/20 with both classes in proportion, in memory.

    Images are 128x128 unless another size is asked, with three equal channels, mean and standard
    deviation 0.5, as many ImageNet networks expect.

    Raises:
        DataError: the package ``elpv-dataset`` is not installed, or ``location`` is not empty.
    """
    if location:
        raise DataError(f"elpv:{location}: this data set has no location; write 'elpv'")
    files, probabilities = _read_table(_data_folder())
    size = options.image_size or _IMAGE_SIZE
    images = torch.empty(len(files), 1, size, size, dtype=torch.uint8)
    for i, path in enumerate(files):
        with Image.open(path) as image:
            resized = image.convert("L").resize((size, size), Image.Resampling.BILINEAR)
        images[i, 0] = torch.from_numpy(np.array(resized))
    labels = (probabilities > 0.5).astype(np.int64)
    channels = options.in_channels or 3
    pool = TensorImages(
        images, torch.from_numpy(labels), mean=[0.5] * channels, std=[0.5] * channels
    )
    indices = stratified_split(labels, {"val": 0.2, "test": 0.2}, seed=options.seed, name="elpv")
    return split_images(pool, indices, name="elpv", class_names=("functional", "defective"))


def _data_folder() -> Path:
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise DataError("elpv: the images are not installed; run: pip install 'sentei[elpv]'")
    return Path(spec.origin).parent / "data"


def _read_table(folder: Path) -> tuple[list[Path], np.ndarray]:
    """Return every image's file and defect probability, shape [N], in the table's order."""
    rows = [line.split() for line in (folder / "labels.csv").read_text().splitlines() if line]
    return [folder / row[0] for row in rows], np.array([float(row[1]) for row in rows])

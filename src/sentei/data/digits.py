"""The 1,797 handwritten digits of scikit-learn: 8x8 pixels, grey, nothing to download."""

import numpy as np
import torch
from sklearn.datasets import load_digits

from sentei.data.base import DATASETS, DataOptions, DataSplits
from sentei.data.splits import split_images, stratified_split
from sentei.data.tensor_images import TensorImages, resize
from sentei.errors import DataError

_MEAN, _STD = 0.3053, 0.3761  # of all pixels, black 0, white 1


@DATASETS.register("digits")
def load_digits_splits(location: str, options: DataOptions) -> DataSplits:
    """Return the digits, split 60/20/20 with every class in proportion.

    Raises:
        DataError: ``location`` is not empty.
    """
    if location:
        raise DataError(f"digits:{location}: this data set has no location; write 'digits'")
    bunch = load_digits()
    # The pixels are the integers 0 to 16.
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    channels = options.in_channels or 1
    pool = TensorImages(
        resize(torch.from_numpy(pixels)[:, None], options.image_size),
        torch.from_numpy(labels),
        mean=[_MEAN] * channels,
        std=[_STD] * channels,
    )
    indices = stratified_split(labels, {"val": 0.2, "test": 0.2}, seed=options.seed, name="digits")
    return split_images(
        pool, indices, name="digits", class_names=[str(i) for i in range(10)], can_flip=False
    )

"""Data sets: built in and the user's own; split, normalised and loaded the same way."""

from sentei.data import (  # noqa: F401 - importing a data set registers it
    cifar10,
    digits,
    elpv,
    folder,
)
from sentei.data.base import DATASETS, DataOptions, DataSplits, Split
from sentei.data.load import calibration_batches, load_data

__all__ = ["DATASETS", "DataOptions", "DataSplits", "Split", "calibration_batches", "load_data"]

"""One training loop for everything: base training, recovery after pruning, sparse training.

It knows nothing of pruning; other packages take part through `sentei.train.hooks.Hook`.
"""

from sentei.train.config import TrainConfig
from sentei.train.evaluate import Evaluation, evaluate
from sentei.train.hooks import Hook
from sentei.train.loop import FitResult, RunOptions, fit
from sentei.train.progress import EpochRecord, Progress
from sentei.train.recalibrate import recalibrate_batch_norm

__all__ = [
    "EpochRecord",
    "Evaluation",
    "FitResult",
    "Hook",
    "Progress",
    "RunOptions",
    "TrainConfig",
    "evaluate",
    "fit",
    "recalibrate_batch_norm",
]

"""Accuracy and loss of a classifier, with their counts."""

import time
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sentei.errors import DataError
from sentei.train.checks import (
    Batches,
    check_batch,
    check_outputs,
    explain_batch_norm,
    preserve_modes,
    resolve_device,
)
from sentei.train.distill import widen
from sentei.train.progress import OnProgress, Progress
from sentei.train.recalibrate import batch_statistics

# Shapes: N = images, K = classes.


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a classifier did on a set of images.

    Args:
        accuracy: Share of images classified right, in [0, 1].
        loss: Mean cross entropy, in nats.
        num_samples: Number of images, >= 1.
        confusion: Counts [K][K]; row = true class, column = predicted class.
        auc: Area under the ROC curve with class 1 as the positive one, in [0, 1]; None unless
            there are two classes, both present, and all outputs are finite.
    """

    accuracy: float
    loss: float
    num_samples: int
    confusion: tuple[tuple[int, ...], ...]
    auc: float | None = None

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the classes present of the share classified right, in [0, 1]."""
        recalls = [row[k] / sum(row) for k, row in enumerate(self.confusion) if sum(row)]
        return sum(recalls) / len(recalls)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall of class 1, in [0, 1].

        None unless there are two classes and class 1 occurs or is predicted.
        """
        if len(self.confusion) != 2:
            return None
        (_, false_positives), (false_negatives, true_positives) = self.confusion
        denominator = 2 * true_positives + false_positives + false_negatives
        return 2 * true_positives / denominator if denominator else None


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Batches,
    *,
    device: str | torch.device = "cpu",
    norm_by_batch: bool = False,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Run the model in evaluation mode over all batches.

    Moves the model to ``device``; modes are restored, nothing else changes.

    Args:
        model: Returns logits [N, K].
        batches: (images [N, ...], labels [N]) pairs.
        device: Where to run.
        norm_by_batch: Batch norms normalise every batch by its own mean and biased variance. It is
            what measuring running statistics on a batch and then evaluating that batch finds (but
            for the variance, unbiased there), in one forward pass instead of two.
        on_progress: Called after every batch, with the phase ``"evaluate"``.

    Raises:
        DataError: there is no image, or a label has no class.
        TrainingError: the model does not return logits [N, K]; or a batch leaves a batch norm that
            normalises by it one value a channel.
        DeviceError: the device is not there.
    """
    device = resolve_device(device)
    begin = time.perf_counter()
    parts: list[_Part] = []
    with preserve_modes(model), explain_batch_norm(model), ExitStack() as stack:
        model.to(device).eval()
        if norm_by_batch:
            stack.enter_context(batch_statistics(model))
        for images, labels in batches:
            check_batch(images, labels)
            parts.append(_measure(check_outputs(model(images.to(device)), labels), labels))
            if on_progress is not None:
                on_progress(
                    Progress(
                        phase="evaluate",
                        epoch=1,
                        num_epochs=1,
                        step=len(parts),
                        num_steps=len(batches),
                        loss=float(parts[-1].losses.mean()),
                        seconds=time.perf_counter() - begin,
                    )
                )
    if sum(len(part.labels) for part in parts) == 0:
        raise DataError("no image to evaluate on: the batches are empty; check the data set")
    return _summarize(parts)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What is kept of one batch, on the CPU: a few numbers an image, whatever K is."""

    num_classes: int
    labels: Tensor
    predictions: Tensor
    losses: Tensor
    margins: Tensor | None


def _measure(logits_NK: Tensor, labels_N: Tensor) -> _Part:
    logits_NK = widen(logits_NK)
    labels_N = labels_N.long()
    losses_N = nn.functional.cross_entropy(
        logits_NK, labels_N.to(logits_NK.device), reduction="none"
    )
    num_classes = logits_NK.shape[1]
    return _Part(
        num_classes=num_classes,
        labels=labels_N.cpu(),
        predictions=logits_NK.argmax(dim=1).cpu(),
        losses=losses_N.cpu(),
        margins=(logits_NK[:, 1] - logits_NK[:, 0]).cpu() if num_classes == 2 else None,
    )


def _summarize(parts: list[_Part]) -> Evaluation:
    num_classes = parts[0].num_classes
    labels_N = torch.cat([part.labels for part in parts])
    cells_N = labels_N * num_classes + torch.cat([part.predictions for part in parts])
    confusion_KK = torch.bincount(cells_N, minlength=num_classes**2).view(num_classes, -1)
    margins = [part.margins for part in parts if part.margins is not None]
    return Evaluation(
        accuracy=int(confusion_KK.trace()) / len(labels_N),
        loss=float(torch.cat([part.losses for part in parts]).double().mean()),
        num_samples=len(labels_N),
        confusion=tuple(tuple(row) for row in confusion_KK.tolist()),
        auc=_auc(torch.cat(margins), labels_N) if margins else None,
    )


def _auc(scores_N: Tensor, labels_N: Tensor) -> float | None:
    """Return the area under the ROC curve from ranks; tied scores share their mean rank.

    Source: the Mann-Whitney U statistic, divided by the number of pairs.
    """
    positive_N = labels_N == 1
    num_positive = int(positive_N.sum())
    num_negative = len(labels_N) - num_positive
    if not num_positive or not num_negative or not bool(scores_N.isfinite().all()):
        return None
    _, inverse_N, counts = torch.unique(scores_N, return_inverse=True, return_counts=True)
    mean_ranks = counts.cumsum(0) - (counts.double() - 1) / 2
    rank_sum = float(mean_ranks[inverse_N][positive_N].sum())
    return (rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative)

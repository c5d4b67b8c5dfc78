"""New running statistics for batch norms whose inputs have changed."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sentei.errors import DataError
from sentei.train.checks import Batches, explain_batch_norm, preserve_modes, resolve_device


def recalibrate_batch_norm(
    model: nn.Module,
    batches: Batches,
    *,
    max_batches: int = 100,
    device: str | torch.device = "cpu",
) -> int:
    """Measure the running statistics of every batch norm anew; changes the model's buffers.

    Each statistic becomes the plain mean over batches of the batch's mean and of its unbiased
    variance. Only batch norms run in training mode: dropout and the like stay off. Momenta and
    modes are restored; if anything fails, so are the statistics. Moves the model to ``device``.

    Source: Li et al., EagleEye (adaptive batch normalization), ECCV 2020, arXiv:2007.02491.
    Difference: a mean over the batches, not an exponential one.

    Args:
        model: Any network; one without running statistics is left as it is.
        batches: (images [N, ...], labels [N]) pairs; labels are not used.
        max_batches: Most batches to use, >= 1.
        device: Where to run.

    Returns:
        Number of batches used; 0 if the model has no running statistics.

    Raises:
        ValueError: ``max_batches`` is below 1.
        DataError: there is no batch.
        TrainingError: a batch leaves a batch norm one value a channel.
        DeviceError: the device is not there.
    """
    if max_batches < 1:
        raise ValueError(f"max_batches={max_batches} is not allowed; give at least 1")
    device = resolve_device(device)
    norms = _running_norms(model)
    if not norms:
        return 0
    images = (images.to(device) for images, _ in islice(batches, max_batches))
    first = next(images, None)
    if first is None:
        raise DataError("no batch to recalibrate batch norms with; check the data set")
    model.to(device)
    with preserve_modes(model), explain_batch_norm(model), _restored_statistics(norms):
        model.eval()
        start_measuring(model)
        return _forward_all(model, chain([first], images))


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Let batch norms normalise by the batch they see, in a ``with`` block; buffers stay.

    The rest of the model keeps its modes. Modes of the norms are the caller's to restore.
    """
    tracking = [(norm, norm.track_running_stats) for norm in _running_norms(model)]
    try:
        for norm, _ in tracking:
            norm.train()
            norm.track_running_stats = False  # in training mode: no buffer is read or written
        yield
    finally:
        for norm, tracks in tracking:
            norm.track_running_stats = tracks


def start_measuring(model: nn.Module) -> None:
    """Have batch norms measure their statistics anew from here on, as plain means over batches."""
    for norm in _running_norms(model):
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()


def _running_norms(model: nn.Module) -> list[_BatchNorm]:
    return [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]


@torch.no_grad()
def _forward_all(model: nn.Module, batches: Iterable[Tensor]) -> int:
    count = 0
    for images in batches:
        model(images)
        count += 1
    return count


@contextmanager
def _restored_statistics(norms: list[_BatchNorm]) -> Iterator[None]:
    """Give back the momenta at the end, and the statistics on failure."""
    saved = [
        (norm.momentum, {name: buffer.clone() for name, buffer in norm.named_buffers()})
        for norm in norms
    ]
    try:
        yield
    except BaseException:
        for norm, (_, buffers) in zip(norms, saved, strict=True):
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])
        raise
    finally:
        for norm, (momentum, _) in zip(norms, saved, strict=True):
            norm.momentum = momentum

"""What training and evaluation ask of data, outputs, modes and devices; said once."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sentei.errors import DataError, DeviceError, TrainingError

# Shapes: N = images, K = classes.


@runtime_checkable
class Batches(Protocol):
    """Batches of (images [N, ...], labels [N]) that can be counted and iterated many times."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...

    def __len__(self) -> int: ...


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device of a name such as ``"cpu"`` or ``"cuda:0"``.

    Raises:
        DeviceError: torch does not know the name, or there is no such device here.
    """
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(f"unknown device {device!r}; use 'cpu', 'cuda' or 'cuda:0'") from error
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"device {str(device)!r} is not there ({torch.cuda.device_count()} CUDA devices "
            "found); use 'cpu', or a torch built for CUDA on a machine with such a device"
        )
    return resolved


@contextmanager
def preserve_modes(model: nn.Module) -> Iterator[None]:
    """Give every module back its training or evaluation mode at the end of a ``with`` block."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        # Through train(): some modules clear caches made from weights when their mode changes.
        model.train(modes[0][1])
        for module, training in modes:
            module.training = training


def check_batch(images: object, labels: object) -> None:
    """Check that labels are class indices, one an image.

    Raises:
        DataError: they are not.
    """
    if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
        raise DataError(
            f"a batch holds ({type(images).__name__}, {type(labels).__name__}); "
            "give a tensor of images and a tensor of labels"
        )
    if labels.dim() != 1 or labels.is_floating_point() or len(labels) != len(images):
        raise DataError(
            f"labels have shape {list(labels.shape)} and type {labels.dtype} for {len(images)} "
            f"images; give one class index an image: shape [{len(images)}], torch.int64"
        )


def check_outputs(logits_NK: object, labels_N: Tensor) -> Tensor:
    """Return the model's output, checked to be [N, K] with every label below K.

    Args:
        logits_NK: What the model returned.
        labels_N: The labels of the batch, [N]; on the CPU the check does not wait for a device.

    Raises:
        TrainingError: the output is no tensor of shape [N, K].
        DataError: a label has no class.
    """
    num_images = len(labels_N)
    if not isinstance(logits_NK, Tensor):
        raise TrainingError(
            f"the model returned a {type(logits_NK).__name__}; expected one tensor of logits "
            f"[{num_images}, classes]; wrap the model so that it returns only them"
        )
    if logits_NK.dim() != 2 or len(logits_NK) != num_images:
        raise TrainingError(
            f"the model returned a tensor of shape {list(logits_NK.shape)}; expected logits "
            f"[{num_images}, classes]; wrap the model so that it returns them"
        )
    num_classes = logits_NK.shape[1]
    outside = (labels_N < 0) | (labels_N >= num_classes)
    if bool(outside.any()):
        raise DataError(
            f"label {int(labels_N[outside][0])} is out of range: the model has {num_classes} "
            f"classes, labels must be in [0, {num_classes}); fix the labels or the classifier"
        )
    return logits_NK


def check_same_outputs(student_NK: Tensor, teacher_NK: object) -> None:
    """Check that a teacher returns logits of the student's shape.

    Raises:
        TrainingError: it does not.
    """
    if not isinstance(teacher_NK, Tensor) or teacher_NK.shape != student_NK.shape:
        found = (
            f"a tensor of shape {list(teacher_NK.shape)}"
            if isinstance(teacher_NK, Tensor)
            else f"a {type(teacher_NK).__name__}"
        )
        raise TrainingError(
            f"the teacher returned {found}; expected logits {list(student_NK.shape)} like the "
            "model's; give a teacher trained on the same classes"
        )


@contextmanager
def explain_batch_norm(model: nn.Module) -> Iterator[None]:
    """Turn torch's refusal of one value a channel in a batch norm into a `TrainingError`."""
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        owners = [f.f_locals.get("self") for f, _ in traceback.walk_tb(error.__traceback__)]
        layers = [
            f"{name} ({type(module).__name__})"
            for name, module in model.named_modules()
            if isinstance(module, _BatchNorm) and any(module is owner for owner in owners)
        ]
        raise TrainingError(
            f"batch norm {', '.join(layers)} got a single value a channel (a batch of one image "
            "whose map is 1x1), which has no variance; use batches of at least 2 images, or drop "
            "the last, smaller batch"
        ) from error

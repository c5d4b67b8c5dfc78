"""What training tells while it runs, and what it leaves behind of every epoch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

_STEPS_BETWEEN_REPORTS = 20


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands; enough to draw a bar with the time left.

    Args:
        phase: What is being done, for instance ``"recover"`` or ``"evaluate"``.
        epoch: The running epoch, from 1 to ``num_epochs``.
        num_epochs: Epochs of the whole run.
        step: Steps done in this epoch, from 1 to ``num_steps``.
        num_steps: Steps of one epoch.
        loss: Loss of the last step, in nats.
        seconds: Wall time since this epoch began, in seconds.
    """

    phase: str
    epoch: int
    num_epochs: int
    step: int
    num_steps: int
    loss: float
    seconds: float


OnProgress: TypeAlias = Callable[[Progress], None]


def telling(report: Callable[[Mapping[str, Any]], None]) -> OnProgress:
    """Return what passes on every 20th step, and the last of an epoch, as JSON values."""

    def tell(step: Progress) -> None:
        if step.step == step.num_steps or step.step % _STEPS_BETWEEN_REPORTS == 0:
            loss = step.loss if math.isfinite(step.loss) else None
            report(
                {"phase": step.phase, "epoch": step.epoch, "epochs": step.num_epochs, "loss": loss}
            )

    return tell


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One finished epoch.

    Args:
        phase: What the run was for, for instance ``"recover"``.
        epoch: Number of the epoch, from 1.
        train_loss: Mean over the epoch's images of the loss that was minimized, in nats, with
            label smoothing, distillation and penalties.
        val_loss: Mean cross entropy over the validation images, in nats; None without them.
        val_accuracy: Share of validation images classified right, in [0, 1]; None without them.
        learning_rate: Learning rate of the epoch's last step.
        seconds: Wall time of the epoch with its validation, in seconds.
    """

    phase: str
    epoch: int
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float
    seconds: float

"""The recipe of a training run, as one frozen value."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

_Schedule = Literal["cosine", "constant", "step"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train: everything that, with the data and the first weights, decides the last ones.

    Weight decay is not applied to parameters of fewer than two dimensions (scales of norms,
    biases): shrinking them does not regularize the function that a normalized layer computes.

    Args:
        epochs: Passes over the training batches, >= 1.
        optimizer: ``"sgd"`` or ``"adamw"``.
        learning_rate: Largest step size, reached at the end of the warm-up, > 0.
        momentum: Momentum of SGD, or the first beta of AdamW (its second is 0.999), in [0, 1).
        nesterov: Nesterov momentum; SGD only, needs ``momentum`` > 0.
        weight_decay: Decay of the weights, >= 0: an L2 term in SGD, decoupled in AdamW.
        schedule: After the warm-up: ``"cosine"`` falls to zero, ``"constant"`` stays, ``"step"``
            falls to a tenth at each of ``step_at``.
        step_at: Where a step schedule falls, as shares of ``epochs``, ascending, in (0, 1).
        warmup_epochs: Length of the linear warm-up in epochs, in [0, ``epochs``]; may be fractional.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1).
        ema_decay: Decay of the exponential moving average of the weights a step, in [0, 1);
            0 turns it off. See `sentei.train.ema.Ema`.
        clip_norm: Largest L2 norm of the whole gradient, > 0; None leaves gradients as they are.
        amp: ``"auto"`` runs the forward pass in bfloat16 (float16 with loss scaling where the
            device has no bfloat16) on CUDA and in full precision elsewhere; ``"bfloat16"`` in
            bfloat16 everywhere, which some processors are fast at; ``"off"`` never.
        distill_weight: Share w of the distillation loss, in [0, 1]: the loss is
            ``(1 - w) * cross_entropy + w * distillation``; more than 0 needs a teacher.
        distill_temperature: Temperature of the softened outputs, > 0; larger is softer.
        seed: Seed of the random numbers drawn while training (dropout, augmentation), >= 0.

    Raises:
        ValueError: a field is out of its range; the message names it.
    """

    epochs: int
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: _Schedule = "cosine"
    step_at: tuple[float, ...] = (0.5, 0.75)
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    clip_norm: float | None = None
    amp: Literal["auto", "bfloat16", "off"] = "auto"
    distill_weight: float = 0.0
    distill_temperature: float = 4.0
    seed: int = 0

    def __post_init__(self) -> None:
        nesterov_works = self.optimizer != "sgd" or not self.nesterov or self.momentum > 0
        allowed = (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("optimizer", self.optimizer in ("sgd", "adamw"), "'sgd' or 'adamw'"),
            ("learning_rate", 0 < self.learning_rate < math.inf, "a finite number > 0"),
            ("momentum", 0 <= self.momentum < 1, "a number in [0, 1)"),
            ("nesterov", nesterov_works, "False where momentum is 0"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "a finite number >= 0"),
            ("schedule", self.schedule in get_args(_Schedule), "'cosine', 'constant' or 'step'"),
            ("step_at", _ascends(self.step_at), "shares of the epochs in (0, 1), ascending"),
            ("warmup_epochs", 0 <= self.warmup_epochs <= self.epochs, "in [0, epochs]"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "a number in [0, 1)"),
            ("ema_decay", 0 <= self.ema_decay < 1, "a number in [0, 1); 0 turns it off"),
            ("clip_norm", self.clip_norm is None or self.clip_norm > 0, "a number > 0, or None"),
            ("amp", self.amp in ("auto", "bfloat16", "off"), "'auto', 'bfloat16' or 'off'"),
            ("distill_weight", 0 <= self.distill_weight <= 1, "a number in [0, 1]"),
            ("distill_temperature", 0 < self.distill_temperature < math.inf, "a finite number > 0"),
            ("seed", 0 <= self.seed < 2**63, "an integer in [0, 2^63)"),
        )
        for name, holds, expected in allowed:
            if not holds:
                raise ValueError(
                    f"TrainConfig: {name}={getattr(self, name)!r} is not allowed; give {expected}"
                )

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, ``step_at`` only where the schedule heeds it.

        What was written before there were steps then still is of the same recipe.
        """
        values = asdict(self)
        step_at = list(values.pop("step_at"))
        return {**values, "step_at": step_at} if self.schedule == "step" else values


def _ascends(shares: Sequence[float]) -> bool:
    """Return whether shares in (0, 1) ascend; there may be none."""
    return all(early < late for early, late in pairwise((0.0, *shares, 1.0)))

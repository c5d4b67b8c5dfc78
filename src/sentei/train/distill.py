"""The loss of a classifier: cross entropy, mixed with the outputs of a teacher."""

import torch
from torch import Tensor, nn

from sentei.train.config import TrainConfig

# Shapes: N = images, K = classes.


def distillation_loss(student_NK: Tensor, teacher_NK: Tensor, *, temperature: float) -> Tensor:
    r"""Return the divergence of softened outputs, averaged over the images.

    .. math:: T^2 \frac{1}{N} \sum_n \mathrm{KL}(\mathrm{softmax}(z^t_n / T) \,\|\,
              \mathrm{softmax}(z^s_n / T))

    The factor :math:`T^2` keeps the size of the gradient when the temperature changes.

    Source: Hinton, Vinyals and Dean, 2015, arXiv:1503.02531.

    Args:
        student_NK: Logits of the network in training, [N, K].
        teacher_NK: Logits of the teacher, [N, K].
        temperature: T, > 0.

    Returns:
        A scalar >= 0, in nats; its gradient reaches both arguments.
    """
    student = nn.functional.log_softmax(student_NK / temperature, dim=1)
    teacher = nn.functional.log_softmax(teacher_NK / temperature, dim=1)
    return temperature**2 * nn.functional.kl_div(
        student, teacher, reduction="batchmean", log_target=True
    )


def classification_loss(
    config: TrainConfig, logits_NK: Tensor, labels_N: Tensor, teacher_NK: Tensor | None
) -> Tensor:
    """Return ``(1 - w) * cross_entropy + w * distillation``, w = ``config.distill_weight``.

    Args:
        config: The recipe (label smoothing, weight and temperature of the distillation).
        logits_NK: Logits, [N, K]; half precision is widened to float32 first.
        labels_N: Class indices, [N], integers in [0, K).
        teacher_NK: Logits of the teacher, [N, K]; None leaves the cross entropy alone.

    Returns:
        A scalar, in nats.
    """
    logits_NK = widen(logits_NK)
    loss = nn.functional.cross_entropy(logits_NK, labels_N, label_smoothing=config.label_smoothing)
    if teacher_NK is None:
        return loss
    distilled = distillation_loss(
        logits_NK, widen(teacher_NK), temperature=config.distill_temperature
    )
    return (1 - config.distill_weight) * loss + config.distill_weight * distilled


def widen(logits: Tensor) -> Tensor:
    """Return half-precision logits as float32, and wider ones as they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))

"""The losses against formulas written out, and their gradient."""

import math

import pytest
import torch

from sentei.train.config import TrainConfig
from sentei.train.distill import classification_loss, distillation_loss

STUDENT = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]], dtype=torch.float64)
TEACHER = torch.tensor([[1.0, 0.0, -2.0], [0.5, 3.0, -1.0]], dtype=torch.float64)
LABELS = torch.tensor([2, 0])


def _softmax(logits: list[float], temperature: float) -> list[float]:
    weights = [math.exp(z / temperature) for z in logits]
    return [weight / sum(weights) for weight in weights]


def _expected_divergence(temperature: float) -> float:
    total = 0.0
    for student, teacher in zip(STUDENT.tolist(), TEACHER.tolist(), strict=True):
        p, q = _softmax(teacher, temperature), _softmax(student, temperature)
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(STUDENT)


def _expected_cross_entropy(smoothing: float) -> float:
    total = 0.0
    for logits, label in zip(STUDENT.tolist(), LABELS.tolist(), strict=True):
        logs = [math.log(q) for q in _softmax(logits, 1.0)]
        total -= (1 - smoothing) * logs[label] + smoothing * sum(logs) / 3
    return total / len(STUDENT)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_is_the_divergence_from_teacher_to_student(temperature: float) -> None:
    loss = distillation_loss(STUDENT, TEACHER, temperature=temperature)
    assert float(loss) == pytest.approx(_expected_divergence(temperature), rel=1e-12)


def test_distillation_of_equal_outputs_is_zero() -> None:
    assert float(distillation_loss(TEACHER + 3.0, TEACHER, temperature=2.0)) == pytest.approx(
        0.0, abs=1e-15
    )


def test_gradient_is_the_difference_of_the_softened_outputs() -> None:
    student = STUDENT.clone().requires_grad_()
    distillation_loss(student, TEACHER, temperature=4.0).backward()
    # d/dz of T^2 KL / N is T (q - p) / N.
    expected = [
        [4.0 * (q - p) / 2 for q, p in zip(_softmax(s, 4.0), _softmax(t, 4.0), strict=True)]
        for s, t in zip(STUDENT.tolist(), TEACHER.tolist(), strict=True)
    ]
    torch.testing.assert_close(
        student.grad, torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-12
    )


def test_distillation_passes_gradcheck() -> None:
    student = STUDENT.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: distillation_loss(z, TEACHER, temperature=3.0), (student,)
    )


def test_weight_mixes_smoothed_cross_entropy_with_distillation() -> None:
    config = TrainConfig(epochs=1, label_smoothing=0.1, distill_weight=0.3, distill_temperature=2.0)
    loss = classification_loss(config, STUDENT, LABELS, TEACHER)
    expected = 0.7 * _expected_cross_entropy(0.1) + 0.3 * _expected_divergence(2.0)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_without_a_teacher_the_loss_is_the_whole_cross_entropy() -> None:
    loss = classification_loss(TrainConfig(epochs=1), STUDENT, LABELS, None)
    assert float(loss) == pytest.approx(_expected_cross_entropy(0.0), rel=1e-12)


def test_half_precision_logits_are_widened_before_the_loss() -> None:
    loss = classification_loss(TrainConfig(epochs=1), STUDENT.bfloat16(), LABELS, None)
    assert loss.dtype == torch.float32

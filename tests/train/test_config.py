"""A recipe refuses what cannot work, by name and value."""

import re
from typing import Any

import pytest

from sentei.train.config import TrainConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("optimizer", "adam"),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("momentum", 1.0),
        ("weight_decay", -1e-4),
        ("schedule", "steps"),
        ("step_at", (0.5, 0.5)),
        ("step_at", (0.5, 1.0)),
        ("step_at", (0.0,)),
        ("warmup_epochs", 4.0),
        ("label_smoothing", 1.0),
        ("ema_decay", 1.0),
        ("clip_norm", 0.0),
        ("amp", "on"),
        ("distill_weight", 1.5),
        ("distill_temperature", 0.0),
        ("seed", -1),
    ],
)
def test_message_names_the_field_and_the_value(field: str, value: object) -> None:
    fields: dict[str, Any] = {"epochs": 3, field: value}
    with pytest.raises(
        ValueError, match=re.escape(f"TrainConfig: {field}={value!r} is not allowed; give ")
    ):
        TrainConfig(**fields)


def test_only_a_step_schedule_says_in_json_where_it_falls() -> None:
    assert "step_at" not in TrainConfig(epochs=1).as_json()
    assert TrainConfig(epochs=1, schedule="step").as_json()["step_at"] == [0.5, 0.75]


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ValueError, match=r"nesterov=True is not allowed; give False where"):
        TrainConfig(epochs=1, momentum=0.0)


def test_adamw_ignores_nesterov() -> None:
    assert TrainConfig(epochs=1, optimizer="adamw", momentum=0.0).nesterov

"""Learning rates against values worked out by hand."""

import math

import pytest

from sentei.train.config import TrainConfig
from sentei.train.schedule import learning_rate_at


def _rates(config: TrainConfig, num_steps: int) -> list[float]:
    steps = range(config.epochs * num_steps)
    return [learning_rate_at(config, step=step, num_steps=num_steps) for step in steps]


def test_cosine_falls_from_the_full_rate_over_quarters_of_a_half_turn() -> None:
    config = TrainConfig(epochs=2, learning_rate=2.0)
    assert _rates(config, 2) == pytest.approx([2.0, 1 + math.sqrt(0.5), 1.0, 1 - math.sqrt(0.5)])


def test_half_an_epoch_of_warmup_rises_linearly_then_cosine_takes_the_rest() -> None:
    config = TrainConfig(epochs=2, learning_rate=1.0, warmup_epochs=0.5)
    # 8 steps, 2 of warm-up, then cos(pi * k / 6) for k = 0..5.
    high, middle = (1 + math.sqrt(0.75)) / 2, 0.75
    expected = [0.5, 1.0, 1.0, high, middle, 0.5, 1 - middle, 1 - high]
    assert _rates(config, 4) == pytest.approx(expected)


def test_a_warmup_that_ends_inside_a_step_never_exceeds_the_full_rate() -> None:
    config = TrainConfig(epochs=1, learning_rate=1.0, warmup_epochs=0.625, schedule="constant")
    assert _rates(config, 4) == pytest.approx([0.4, 0.8, 1.0, 1.0])


def test_a_run_that_is_all_warmup_ends_at_the_full_rate() -> None:
    config = TrainConfig(epochs=1, learning_rate=1.0, warmup_epochs=1.0)
    assert _rates(config, 4) == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_steps_fall_to_a_tenth_at_shares_of_the_run_however_long_it_is() -> None:
    config = TrainConfig(epochs=3, learning_rate=1.0, schedule="step", step_at=(1 / 3, 2 / 3))
    assert _rates(config, 2) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    longer = TrainConfig(epochs=30, learning_rate=1.0, schedule="step", step_at=(1 / 3, 2 / 3))
    assert _rates(longer, 7) == pytest.approx([1] * 70 + [0.1] * 70 + [0.01] * 70)

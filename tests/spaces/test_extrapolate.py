"""Curves of known laws are found again, intervals cover, and too little is refused."""

import numpy as np
import pytest

from sentei.spaces.extrapolate import extrapolate


@pytest.mark.parametrize("form", ["power", "exponential"])
def test_a_curve_of_a_known_law_is_found_again(form: str) -> None:
    t = np.arange(1, 9)
    falling = t**-0.7 if form == "power" else np.exp(-0.7 * t)

    found = extrapolate((0.3 + 1.5 * falling).tolist(), epoch=40)

    later = 40**-0.7 if form == "power" else np.exp(-0.7 * 40)
    assert found.form == form
    assert (found.asymptote, found.scale, found.rate) == pytest.approx((0.3, 1.5, 0.7), rel=1e-3)
    assert found.value == pytest.approx(0.3 + 1.5 * later, rel=1e-4)


def test_an_accuracy_that_rises_has_a_negative_scale() -> None:
    found = extrapolate([0.9 - 0.5 * 0.6**t for t in range(1, 8)], epoch=30)

    assert found.scale < 0
    assert found.value == pytest.approx(0.9, abs=1e-4)


def test_about_nine_in_ten_noisy_runs_end_inside_intervals_of_nine_in_ten() -> None:
    t = np.arange(1, 13)
    inside = 0
    for rng in map(np.random.default_rng, range(6)):
        for _ in range(80):
            seen = 0.3 + np.exp(-0.4 * t) + rng.normal(0, 0.01, len(t))
            end = 0.3 + np.exp(-0.4 * 20) + rng.normal(0, 0.01)
            found = extrapolate(seen.tolist(), epoch=20, form="exponential", confidence=0.9)
            inside += int(found.low <= end <= found.high)

    # Four standard errors of a share of 480.
    assert abs(inside / 480 - 0.9) < 4 * np.sqrt(0.9 * 0.1 / 480)


def test_an_interval_is_wider_for_a_later_epoch() -> None:
    seen = [1.0, 0.72, 0.55, 0.5, 0.42, 0.41]

    near, far = (extrapolate(seen, epoch=e, form="power") for e in (7, 100))

    assert far.high - far.low > near.high - near.low > 0


@pytest.mark.parametrize(
    ("values", "epoch", "message"),
    [
        ([1.0, 0.9, 0.8, 0.7], 10, "a curve of 4 epochs cannot be extrapolated; give at least 5"),
        ([1.0, 0.9, float("nan"), 0.7, 0.6], 10, "the curve holds nan; give finite values"),
        ([1.0, 0.8, 0.7, 0.65, 0.62], 3, "epoch 3 is inside the 5 that were seen"),
        ([1.0, 0.9, 0.8, 0.7, 0.6, 0.5], 10, "these 6 epochs do not bend towards an asymptote"),
        ([0.5] * 6, 10, "do not bend towards an asymptote; train for more epochs"),
    ],
)
def test_what_cannot_be_extrapolated_is_refused(
    values: list[float], epoch: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        extrapolate(values, epoch=epoch)


def test_a_confidence_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"confidence is 1.5; give a number in \(0, 1\)"):
        extrapolate([1.0, 0.8, 0.7, 0.65, 0.62], epoch=9, confidence=1.5)

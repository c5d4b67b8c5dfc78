"""Formats, scales and derived numbers against slower or independent ways."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentei.records import GroupRecord
from sentei.report import formats
from sentei.report.curves import spread
from sentei.report.facts import PROBABILITIES, derive, pareto_front
from sentei.report.scales import Scale, linear_scale, log_scale
from tests.report.samples import record

moderate = st.floats(-1e12, 1e12).filter(lambda x: abs(x) > 1e-4)


@given(st.floats(1e-4, 999_000.0))
def test_three_digits_lose_at_most_half_a_percent(value: float) -> None:
    assert float(formats.significant(value)) == pytest.approx(value, rel=0.00501)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formats.count(999), "999"),
        (formats.count(999_600), "1.00\u00a0M"),
        (formats.count(4_089_184_256), "4.09\u00a0G"),
        (formats.num_bytes(0), "0\u00a0B"),
        (formats.num_bytes(102_441_000), "102\u00a0MB"),
        (formats.significant(-0.00002345), "\u22122.35\u00d710\u207b\u2075"),
        (formats.significant(1.234e9), "1.23\u00d710\u2079"),
        (formats.percent(1 / 3), "33.33\u00a0%"),
        (formats.change(-0.505), "\u221250.5\u00a0%"),
        (formats.change(0.0), "0\u00a0%"),
        (formats.points(0.0125), "+1.25\u00a0points"),
        (formats.integer(-1234567), "\u22121,234,567"),
        (formats.duration(0.25), "0.250\u00a0s"),
        (formats.duration(59.9), "1\u00a0min 0\u00a0s"),
        (formats.duration(3672), "1\u00a0h 1\u00a0min"),
        (formats.plural(1, "group"), "1\u00a0group"),
        (formats.plural(1200, "group"), "1,200\u00a0groups"),
        (formats.tick_log(1e-3), "10\u207b\u00b3"),
        (formats.tick_log(0.5), "0.5"),
        (formats.tick_count(2_500_000_000), "2.5\u00a0G"),
    ],
)
def test_formats_by_hand(shown: str, expected: str) -> None:
    assert shown == expected


@given(st.lists(moderate, min_size=1, max_size=20))
def test_linear_scale_keeps_order_and_proportion(values: list[float]) -> None:
    scale = linear_scale(values)

    places = [scale(value) for value in values]
    assert all(0 < place < 1 for place in places)
    expected = (np.array(values) - scale.low) / (scale.high - scale.low)
    np.testing.assert_allclose(places, expected, rtol=1e-10, atol=1e-12)


@given(st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=20))
def test_log_scale_gives_equal_ratios_equal_room(values: list[float]) -> None:
    scale = log_scale(values, gutter=0.1)

    low, high = np.log([scale.low, scale.high])
    expected = 0.1 + 0.9 * (np.log(values) - low) / (high - low)
    np.testing.assert_allclose([scale(v) for v in values], expected, rtol=1e-9, atol=1e-9)
    assert scale(0.0) == scale(-1.0) == 0.05


@given(st.lists(moderate, min_size=1, max_size=5), st.integers(2, 8))
@example([421052631632.0], 2)
def test_ticks_are_few_and_inside(values: list[float], most: int) -> None:
    scale = linear_scale(values)

    ticks = scale.ticks(most)
    slack = 1e-8 * (scale.high - scale.low)
    assert 1 <= len(ticks) <= most + 1
    assert all(scale.low - slack <= tick <= scale.high + slack for tick in ticks)
    assert list(ticks) == sorted(set(ticks))


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (Scale(low=0, high=1), (0.0, 0.5, 1.0)),
        (Scale(low=0.41, high=0.79), (0.5, 0.6, 0.7)),
        (Scale(low=-3, high=3), (-2, 0, 2)),
        (Scale(low=0.0005, high=2, log=True), (0.001, 0.01, 0.1, 1)),
        (Scale(low=1, high=9, log=True), (2, 4, 6, 8)),
    ],
)
def test_ticks_by_hand(scale: Scale, expected: tuple[float, ...]) -> None:
    assert scale.ticks(4) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, 1.0, -5.0, 1e-9])
def test_scale_of_one_value_has_room_around_it(value: float) -> None:
    assert 0 < linear_scale([value, value])(value) < 1


points = st.tuples(st.integers(0, 5), st.integers(0, 5))


@given(st.lists(points, max_size=12))
def test_front_equals_brute_force(pairs: list[tuple[int, int]]) -> None:
    costs, accuracies = [c for c, _ in pairs], [a for _, a in pairs]

    front = pareto_front(costs, accuracies)
    beaten = {
        i
        for i, (c, a) in enumerate(pairs)
        if any(d <= c and b >= a and (d, b) != (c, a) for d, b in pairs)
    }
    assert set(front) == set(range(len(pairs))) - beaten
    assert len(front) == len(set(front))
    assert [costs[i] for i in front] == sorted(costs[i] for i in front)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_quantiles_equal_numpy(scores: list[float]) -> None:
    group = GroupRecord(name="g", width_before=9, width_after=9, scores=tuple(scores))

    (summary,) = derive(replace(record(), groups=(group,))).scores
    expected = np.quantile(scores, PROBABILITIES)
    np.testing.assert_allclose(summary.quantiles, expected, rtol=1e-10, atol=1e-9)


def test_removed_share_is_scaled_to_the_recorded_scores() -> None:
    group = GroupRecord(
        name="g", width_before=2048, width_after=512, scores=tuple(float(i) for i in range(512))
    )

    (summary,) = derive(replace(record(), groups=(group,))).scores
    assert summary.num_lowest == 384


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=2))
def test_two_labels_are_pushed_apart_about_their_middle(positions: list[float]) -> None:
    moved = spread(positions, 14)

    assert abs(moved[1] - moved[0]) >= 14 - 1e-9
    assert sum(moved) == pytest.approx(sum(positions), abs=1e-9)

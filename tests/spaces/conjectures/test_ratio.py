"""C1: an optimal ratio exists. C7: it does not depend on the weights."""

from dataclasses import replace

import numpy as np
import pytest

from sentei.spaces.conjectures import Setting, Thresholds, optimal_ratio_exists, same_optimum
from sentei.spaces.conjectures.ratio import edge_loss
from sentei.spaces.simulate import Effect
from sentei.spaces.stats_base import Observations, Resampling
from sentei.spaces.stats_noise import noise
from sentei.spaces.stats_power import optimum_power
from tests.support.populations import BOUNDS, KAPPA, measured

SETTING = Setting(bounds=BOUNDS, resampling=Resampling(draws=200), rounds=10)
MIDDLE = (BOUNDS[0] * BOUNDS[1]) ** 0.5


def test_half_a_point_at_200_stratified_recipes_is_supported() -> None:
    found = [
        optimal_ratio_exists(measured(200, seed, kappa=KAPPA, optimum=1.0), SETTING)
        for seed in range(20)
    ]

    assert np.mean([one.verdict == "supported" for one in found]) >= 0.95
    assert found[0].estimate == pytest.approx(1, abs=0.1)


def test_no_effect_is_seldom_supported() -> None:
    found = [optimal_ratio_exists(measured(100, seed, kappa=0), SETTING) for seed in range(60)]

    assert np.mean([one.verdict == "supported" for one in found]) <= 0.02


def test_no_effect_in_a_large_study_is_not_supported() -> None:
    assert optimal_ratio_exists(measured(1000, 0, kappa=0), SETTING).text == "not supported"


def test_no_effect_in_a_small_study_is_inconclusive_with_its_power() -> None:
    found = optimal_ratio_exists(measured(12, 0, kappa=0), SETTING)

    assert found.verdict == "inconclusive"
    assert found.power < 0.8
    assert f"(power {found.power:.2f})" in found.text


def test_a_falling_drop_that_levels_off_is_never_supported() -> None:
    # Lind and Mehlum's test takes it for a valley; two lines do not.
    for seed in range(10):
        table = measured(200, seed, kappa=0)
        fall = 3 * np.exp(-2 * np.log(table.ratio))
        found = optimal_ratio_exists(
            replace(table, drop=table.drop + fall, test_drop=table.test_drop + fall), SETTING
        )
        assert [check.holds for check in found.checks[:2]] == [True, False]
        assert found.verdict != "supported"


def test_a_falling_drop_is_not_supported() -> None:
    table = measured(300, 0, kappa=0)
    falling = replace(table, drop=table.drop - 2 * np.log(table.ratio), test_drop=table.drop)

    found = optimal_ratio_exists(falling, SETTING)

    assert found.verdict == "not supported"
    assert not found.checks[0].holds
    assert "clear of the attainable bounds" in found.checks[3].text
    assert not found.checks[3].holds


def test_a_valley_that_is_no_valley_on_test_images_is_not_supported() -> None:
    table = measured(200, 0, kappa=KAPPA, optimum=1.0)

    found = optimal_ratio_exists(replace(table, test_drop=-table.drop), SETTING)

    assert found.verdict == "not supported"
    assert [check.holds for check in found.checks] == [True] * 5 + [False]


def test_a_valley_too_shallow_to_matter_is_not_supported() -> None:
    deep = replace(SETTING, thresholds=Thresholds(smallest_drop=0.5))

    found = optimal_ratio_exists(measured(200, 0, kappa=KAPPA, optimum=1.0), deep)

    assert found.verdict == "not supported"
    assert found.numbers["loss_high"] < 0.5


def test_the_power_is_that_of_the_least_favourable_place() -> None:
    table = measured(60, 0, kappa=0)
    observations = table.observations(covariates=("std",))
    columns = np.column_stack([np.vander(observations.log_ratio, 3), table.std])
    spread = np.sqrt(np.linalg.lstsq(columns, table.drop)[1][0] / (60 - 4))
    low, high = np.log(BOUNDS)
    powers = [
        optimum_power(
            observations,
            Effect(
                curvature=0.1 / np.log(1.25) ** 2,
                optimum=float(np.exp(low + place * (high - low))),
                structure=float(spread),
                seed=0,
            ),
            bounds=BOUNDS,
            both=True,
            simulation=Resampling(draws=10),
        ).value
        for place in (0.25, 0.75)
    ]

    assert optimal_ratio_exists(table, SETTING).power == min(powers)


def test_replicates_count_once() -> None:
    table = measured(100, 0, kappa=KAPPA)
    twice = table.where(np.repeat(np.arange(100), 2))

    once, doubled = (optimal_ratio_exists(one, SETTING) for one in (table, twice))

    assert (doubled.estimate, doubled.p) == pytest.approx((once.estimate, once.p))


def test_the_loss_at_the_edge_by_hand() -> None:
    ratio = np.exp(np.linspace(-1, 1, 30))
    observations = Observations(drop=2 * np.log(ratio) ** 2, ratio=ratio)

    loss, interval = edge_loss(observations, SETTING, factor=2)

    assert loss == pytest.approx(2 * 0.480453)  # 2 (ln 2)^2
    assert interval.high - interval.low < 1e-6


def test_no_loss_is_read_outside_what_can_be_attained() -> None:
    """With kappa 30 and m* 1, 30 (ln 1.05)^2 = 0.07 points at 1.05, the farthest; 1.49 at 1.25."""
    narrow = replace(SETTING, bounds=(0.96, 1.05))
    table = measured(2000, 0, kappa=30, optimum=1.0)
    log_N = np.log(table.ratio)
    exact = replace(table, drop=30 * log_N**2, test_drop=30 * log_N**2)

    found = optimal_ratio_exists(exact, narrow)

    assert found.checks[4].text == (
        "lost are 0.05 points at m = 0.96 (as far as can be attained) and 0.07 points at m = 1.05 "
        "(as far as can be attained); 0.10 matter"
    )
    assert not found.checks[4].holds
    assert found.numbers["loss"] == pytest.approx(30 * 0.04879**2, abs=1e-4)
    assert found.verdict == "not supported"


def test_the_winners_band_stands_beside_its_null() -> None:
    found = optimal_ratio_exists(measured(100, 0, kappa=KAPPA), SETTING)

    assert "that of permuted populations" in found.notes[0]
    assert {"band_low", "band_null_low", "band_p"} <= set(found.numbers)


def test_unknown_and_dominant_noise_are_noted() -> None:
    table = measured(50, 0, kappa=0)
    mostly = noise([0.0, 2.0, 0.5, 2.5], [0, 0, 1, 1])

    unknown = optimal_ratio_exists(table, SETTING)
    drowned = optimal_ratio_exists(table, replace(SETTING, noise=mostly))

    assert "no recipe was trained twice" in unknown.notes[1]
    assert "population not resolved: only 0.00" in drowned.notes[1]


def test_the_same_optimum_under_a_control_is_supported() -> None:
    found = same_optimum(
        measured(200, 0, kappa=KAPPA, optimum=MIDDLE),
        measured(100, 1, kappa=KAPPA, optimum=MIDDLE),
        SETTING,
        condition="random ranking",
    )

    assert found.verdict == "supported"
    assert found.interval is not None
    assert 1 in found.interval
    assert "100 under random ranking" in found.notes[0]


def test_the_power_of_an_equal_optimum_is_how_often_one_is_supported() -> None:
    found = [
        same_optimum(
            measured(200, seed, kappa=KAPPA, optimum=MIDDLE),
            measured(200, 1000 + seed, kappa=KAPPA, optimum=MIDDLE),
            SETTING,
            condition="random ranking",
        )
        for seed in range(100)
    ]

    often = np.mean([one.verdict == "supported" for one in found])
    assert np.mean([one.power for one in found]) == pytest.approx(often, abs=0.1)


@pytest.mark.parametrize("bounds", [BOUNDS, (0.95, 1.05)])
def test_where_there_is_no_optimum_none_is_the_same(bounds: tuple[float, float]) -> None:
    """10 ln m and 2 ln m both end on the lower bound, which does not move."""
    usual, control = (
        replace(table, drop=slope * np.log(table.ratio))
        for table, slope in ((measured(200, 0, kappa=0), 10), (measured(60, 1, kappa=0), 2))
    )

    found = same_optimum(
        usual, control, replace(SETTING, bounds=bounds), condition="random ranking"
    )

    assert (found.estimate, found.verdict, found.power) == (1, "inconclusive", 0)
    assert not found.checks[0].holds


def test_a_range_within_the_margin_shows_no_equal_optimum() -> None:
    """m* may be 0.9 to 1.1 at most: a factor of 1.22 is below 1.25 wherever both optima lie."""
    narrow = replace(SETTING, bounds=(0.9, 1.1))

    found = same_optimum(
        measured(2000, 0, kappa=30, optimum=0.98),
        measured(2000, 1, kappa=30, optimum=1.02),
        narrow,
        condition="random ranking",
    )

    assert found.checks[0].holds
    assert found.checks[2].holds
    assert (found.checks[1].text, found.checks[1].holds) == (
        "m* could move by a factor of 1.22, more than 1.25",
        False,
    )
    assert (found.verdict, found.power) == ("inconclusive", 0)


def test_an_optimum_outside_the_interval_of_m_star_is_not_supported_as_the_same() -> None:
    """It moves by a factor of 1.1: less than 1.25, but by far more than what the noise leaves."""
    found = same_optimum(
        measured(4000, 0, kappa=KAPPA, optimum=1.0),
        measured(4000, 1, kappa=KAPPA, optimum=1.1),
        SETTING,
        condition="random ranking",
    )

    assert [check.holds for check in found.checks] == [True, True, True, False]
    assert found.verdict == "not supported"


def test_an_optimum_that_moves_is_not_supported() -> None:
    found = same_optimum(
        measured(200, 0, kappa=KAPPA, optimum=0.85),
        measured(200, 1, kappa=KAPPA, optimum=1.5),
        SETTING,
        condition="new weights",
    )

    assert found.verdict == "not supported"
    assert found.estimate == pytest.approx(1.5 / 0.85, rel=0.1)
    assert found.numbers["m_star_control"] == pytest.approx(1.5, rel=0.1)


def test_a_control_of_few_recipes_is_inconclusive() -> None:
    found = same_optimum(
        measured(200, 0, kappa=KAPPA),
        measured(20, 1, kappa=0.3),
        SETTING,
        condition="new weights",
    )

    assert found.verdict == "inconclusive"
    assert found.power < 0.8


def test_a_control_outside_the_interval_of_m_star_is_inconclusive_where_noise_may_be_why() -> None:
    """m* of 4000 recipes is known much better than that of 200: the latter lies outside at times."""
    usual = measured(4000, 0, kappa=KAPPA, optimum=1.0)
    found = [
        same_optimum(
            usual,
            measured(200, seed, kappa=KAPPA, optimum=1.0),
            SETTING,
            condition="random ranking",
        )
        for seed in range(1, 11)
    ]

    missed = [one for one in found if [c.holds for c in one.checks] == [True, True, True, False]]
    by_noise = [one for one in missed if one.interval is not None and 1 in one.interval]
    assert len(by_noise) >= 3
    assert {one.verdict for one in by_noise} == {"inconclusive"}

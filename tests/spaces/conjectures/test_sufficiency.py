"""C6: the ratio says about all."""

from dataclasses import replace

import pytest

from sentei.spaces.conjectures import Setting, ratio_is_sufficient
from sentei.spaces.stats_base import Interval, Resampling
from sentei.spaces.stats_noise import Noise
from tests.support.populations import BOUNDS, KAPPA, measured

SETTING = Setting(bounds=BOUNDS, resampling=Resampling(draws=200))


def noise_of(reliability: float) -> Noise:
    interval = Interval(low=0, high=1, level=0.95, method="test")
    return Noise(
        reliability=reliability,
        reliability_interval=interval,
        seed_sd=0.15,
        seed_interval=interval,
        structure_sd=0.3,
        recipes=20,
        evaluations=60,
        f=2.0,
        p_value=0.01,
    )


def test_an_effect_of_the_ratio_alone_is_supported() -> None:
    found = ratio_is_sufficient(measured(200, 0, kappa=KAPPA), SETTING, trees=10)

    assert found.verdict == "supported"
    assert "all variance counts as explainable" in found.notes[0]


def test_the_share_is_that_of_what_can_be_explained() -> None:
    table = measured(200, 0, kappa=KAPPA)

    whole = ratio_is_sufficient(table, SETTING, trees=5)
    part = ratio_is_sufficient(table, replace(SETTING, noise=noise_of(0.8)), trees=5)

    assert whole.estimate is not None
    assert part.estimate == pytest.approx(whole.estimate / 0.8)
    assert part.numbers["r2_ratio"] == whole.numbers["r2_ratio"]


def test_an_effect_of_stages_is_not_supported() -> None:
    table = measured(200, 0, kappa=0)
    staged = replace(table, drop=table.drop + 3 * table.stage_means[:, 0])

    found = ratio_is_sufficient(staged, SETTING, trees=5)

    assert found.verdict == "not supported"
    assert [check.holds for check in found.checks[:2]] == [False, False]


def test_a_population_that_is_mostly_noise_is_inconclusive() -> None:
    noisy = replace(SETTING, noise=noise_of(0.3))

    found = ratio_is_sufficient(measured(100, 0, kappa=0), noisy, trees=5)

    assert found.verdict == "inconclusive"
    assert found.checks[2].text == "the reliability is 0.30, 0.50 needed"


def test_a_population_of_noise_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="the reliability is 0: recipes differ no more"):
        ratio_is_sufficient(measured(100, 0, kappa=0), replace(SETTING, noise=noise_of(0)))

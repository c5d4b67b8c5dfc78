"""C3: winners have the optimal ratio."""

from sentei.spaces.conjectures import Setting, winners_have_the_ratio
from sentei.spaces.stats_base import Resampling
from tests.support.populations import BOUNDS, KAPPA, measured

SETTING = Setting(bounds=BOUNDS, resampling=Resampling(draws=99))


def test_an_effect_is_supported() -> None:
    found = winners_have_the_ratio(measured(200, 0, kappa=KAPPA), SETTING, splits=50)

    assert found.verdict == "supported"
    assert found.p == 0.01
    assert "that of permuted populations" in found.notes[0]


def test_no_effect_is_seldom_supported() -> None:
    found = [
        winners_have_the_ratio(measured(100, seed, kappa=0), SETTING, splits=10)
        for seed in range(60)
    ]

    assert sum(one.verdict == "supported" for one in found) <= 3
    assert sum(one.verdict == "inconclusive" for one in found) >= 30


def test_winners_of_a_large_population_without_effect_are_not_supported() -> None:
    found = winners_have_the_ratio(measured(2000, 1, kappa=0), SETTING, splits=20)

    assert found.verdict == "not supported"
    assert found.power >= 0.8

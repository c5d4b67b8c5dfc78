"""C0: spread of the pruning ratios."""

from dataclasses import replace

import numpy as np
import pytest

from sentei.spaces.conjectures import Setting, spread_matters
from sentei.spaces.measured import Measured
from sentei.spaces.stats_base import Resampling
from tests.support.populations import BOUNDS, measured

SETTING = Setting(bounds=BOUNDS, resampling=Resampling(draws=200))
EDGES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 1.0)


def with_slope(slope: float, num: int = 400, seed: int = 0) -> Measured:
    table = measured(num, seed, kappa=1.0)
    return replace(table, drop=table.drop + slope * table.std)


def test_a_drop_that_rises_with_spread_is_supported() -> None:
    found = spread_matters(with_slope(4.0), SETTING, edges=EDGES)

    assert found.verdict == "supported"
    # From the 5 % to the 95 % quantile of U(0, .4): .36 times the slope.
    assert found.estimate == pytest.approx(1.44, abs=0.15)


def test_no_slope_in_a_large_population_is_not_supported() -> None:
    assert spread_matters(with_slope(0.0, 2000), SETTING, edges=EDGES).verdict == "not supported"


def test_no_slope_in_a_small_population_is_inconclusive() -> None:
    found = spread_matters(with_slope(0.0, 60), SETTING, edges=(0, 0.2, 1))

    assert found.verdict == "inconclusive"
    assert found.power < 0.8


def test_a_spread_that_acts_through_the_ratio_is_not_supported() -> None:
    table = measured(2000, 0, kappa=0)
    rng = np.random.default_rng(0)
    tied = 0.3 + 0.15 * np.log(table.ratio) + rng.normal(0, 0.08, 2000)
    through = replace(table, std=tied, drop=table.drop + 2 * np.log(table.ratio))

    found = spread_matters(through, SETTING, edges=EDGES)

    assert found.checks[0].holds  # the bins differ
    assert found.verdict == "not supported"


def test_chance_is_seldom_supported() -> None:
    found = [
        spread_matters(
            with_slope(0.0, 100, seed),
            replace(SETTING, resampling=Resampling(draws=20)),
            edges=EDGES,
        )
        for seed in range(20)
    ]

    assert sum(one.verdict == "supported" for one in found) <= 1


def test_the_uniform_recipe_is_the_control() -> None:
    """Rounding leaves that of ResNet-20 a STD of .0154; others of less STD are not uniform."""
    table = with_slope(0.0)
    table.std[0], table.drop[0] = 0.0154, table.drop.min() - 1
    table.std[1], table.drop[1] = 0.001, table.drop.max() + 9
    uniform = table.where(np.arange(400) == 0)
    others = table.where(np.arange(400) > 0)

    for drawn in (table, others):
        found = spread_matters(drawn, SETTING, edges=EDGES, uniform=uniform).notes[0]
        assert found.endswith(f"loses {table.drop[0]:.2f} points, less than 100% of the others")
    assert spread_matters(table, SETTING, edges=EDGES).notes == (
        "the uniform recipe was not evaluated",
    )


def test_a_population_of_one_spread_is_refused() -> None:
    with pytest.raises(ValueError, match="1 bins of STD hold 10 recipes or more; two are needed"):
        spread_matters(with_slope(0.0), SETTING, edges=(0, 1))

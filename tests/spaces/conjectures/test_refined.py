"""C4: refined spaces against base and placebo."""

from dataclasses import replace

import pytest

from sentei.spaces.conjectures import Setting, refinement_improves
from sentei.spaces.measured import Measured
from sentei.spaces.stats_base import Resampling
from tests.support.populations import BOUNDS, measured

SETTING = Setting(bounds=BOUNDS, resampling=Resampling(draws=300))


def shifted(by: float, seed: int, num: int = 150) -> Measured:
    """Return a population whose drops are lower by ``by`` points."""
    table = measured(num, seed, kappa=0)
    return replace(table, drop=table.drop - by)


def test_a_better_space_that_beats_its_placebo_is_supported() -> None:
    found = refinement_improves(shifted(0, 0), shifted(0.3, 1), shifted(0, 2), SETTING)

    assert found.verdict == "supported"
    assert found.estimate == pytest.approx(-0.3, abs=0.1)
    assert found.numbers["draws_refined"] < found.numbers["draws_base"]


def test_a_placebo_that_is_as_good_is_not_supported() -> None:
    found = refinement_improves(
        shifted(0, 0, 400), shifted(0.3, 1, 400), shifted(0.3, 2, 400), SETTING
    )

    assert found.verdict == "not supported"
    assert [check.holds for check in found.checks] == [True, True, True, False, True]


def test_a_space_that_is_no_better_is_not_supported() -> None:
    found = refinement_improves(shifted(0, 0, 600), shifted(0, 1, 600), shifted(0, 2, 600), SETTING)

    assert found.verdict == "not supported"


def test_small_populations_are_inconclusive() -> None:
    found = refinement_improves(shifted(0, 0, 20), shifted(0.05, 3, 20), shifted(0, 2, 20), SETTING)

    assert found.verdict == "inconclusive"
    assert found.power < 0.5


def test_a_better_space_without_diversity_is_not_supported() -> None:
    refined = shifted(0.5, 1)
    alike = replace(refined, keep=0.5 + 0.1 * refined.keep)

    found = refinement_improves(shifted(0, 0), alike, shifted(0, 2), SETTING)

    assert found.verdict == "not supported"
    assert found.numbers["diversity"] == pytest.approx(0.1, rel=0.1)
    assert [check.holds for check in found.checks] == [True, True, True, True, False]


def test_a_population_smaller_than_the_search_is_refused() -> None:
    with pytest.raises(
        ValueError, match="refined population has 10 recipes; at least best_of = 20"
    ):
        refinement_improves(shifted(0, 0), shifted(0, 1, 10), shifted(0, 2), SETTING)

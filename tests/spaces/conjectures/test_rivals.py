"""C5: the found subnetwork against other pruning."""

import numpy as np
import pytest
from scipy import stats

from sentei.spaces.conjectures import beats_rivals

OURS = [0.905, 0.908, 0.904, 0.909]
UNIFORM = [0.899, 0.903, 0.898, 0.902]


def test_gains_are_paired_by_seed() -> None:
    found = beats_rivals(OURS, {"uniform": UNIFORM}, smallest_effect=0.1)

    reference = stats.ttest_rel(OURS, UNIFORM)
    interval = reference.confidence_interval()
    assert found.estimate == pytest.approx(0.6)  # .6, .5, .6, .7 points
    assert found.p == pytest.approx(reference.pvalue)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (100 * interval.low, 100 * interval.high)
    )
    assert found.verdict == "supported"


def test_the_nearest_rival_decides() -> None:
    found = beats_rivals(
        OURS, {"uniform": UNIFORM, "random": [0.905, 0.907, 0.906, 0.908]}, smallest_effect=0.5
    )

    assert found.verdict == "not supported"  # half a point would have been found
    assert "gained over random" in found.test
    assert found.power >= 0.8


def test_noisy_seeds_are_inconclusive() -> None:
    found = beats_rivals(OURS, {"noisy": [0.89, 0.91, 0.90, 0.905]}, smallest_effect=0.1)

    assert found.verdict == "inconclusive"
    assert found.power < 0.3


def test_losing_to_a_rival_is_not_supported_whatever_the_power() -> None:
    better = np.add(OURS, [0.02, 0.021, 0.022, 0.02]).tolist()

    assert beats_rivals(OURS, {"b": better}, smallest_effect=1e-3).verdict == "not supported"


def test_two_seeds_are_never_enough() -> None:
    found = beats_rivals(OURS[:2], {"uniform": UNIFORM[:2]}, smallest_effect=5)

    assert found.verdict == "inconclusive"
    assert found.checks[0].text == "2 seeds, 3 needed"


def test_seeds_that_all_agree_leave_no_error() -> None:
    found = beats_rivals([0.75] * 3, {"r": [0.5] * 3}, smallest_effect=0.1)

    assert (found.verdict, found.estimate, found.p) == ("supported", 25, 0)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="no rivals were given"):
        beats_rivals(OURS, {}, smallest_effect=0.1)
    with pytest.raises(ValueError, match="the lengths differ"):
        beats_rivals(OURS, {"u": UNIFORM[:3]}, smallest_effect=0.1)

"""The race of criteria: both sides agree on a small network, and what misses the bar is said."""

import numpy as np
import pytest

from benchmarks.criteria import Case, Result, cases, page, run, table, verdict


def result(**changes: object) -> Result:
    case = Case(
        name="chip",
        what="two layers",
        literal=lambda: np.ones(1),
        ours=lambda: np.ones(1),
        tolerance=1e-5,
    )
    values = {"literal_s": (3.0, 4.0, 9.0), "ours_s": (0.1, 0.1, 0.3), "difference": 0.0}
    return Result(case=case, **(values | changes))  # type: ignore[arg-type]


def test_all_sides_agree_on_a_small_network() -> None:
    compared = cases("digits_cnn", num_images=2, widest_greedy=16, seed=0)
    small = [case for case in compared if case.in_bar]

    results = run(small, num_runs=1)

    assert [r.case.name for r in results] == ["chip", "hrank", "fpgm", "thinet"]
    assert all(r.is_equal for r in results), table(results)


def test_times_faster_is_of_medians() -> None:
    assert result().times_faster == 40


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"ours_s": (1.0, 0.4, 0.4)}, ["chip is 10 times faster, not 20"]),
        ({"difference": 1e-4}, ["chip differs by 1.0e-04"]),
    ],
)
def test_what_misses_is_said(changes: dict[str, object], expected: list[str]) -> None:
    assert verdict([result(**changes)]) == expected


def test_page_says_whether_the_bar_is_met() -> None:
    assert "each, judged on the network rows. Met there." in page([result()], num_runs=3)
    assert "each, judged on the network rows. Missed: chip differs by 1.0e-04." in page(
        [result(difference=1e-4)], num_runs=3
    )

"""Columns of evaluated rows."""

import numpy as np
import pytest

from sentei.spaces.measured import Measured
from tests.support.populations import row

DENSE = {"a": 8, "b": 4}
ROWS = [
    row(7, drop=2.0, stratum=3),
    row(5, drop=1.0, widths={"b": 1, "a": 8}, stage_means={"two": 0.7, "one": 0.1}, ratio=0.8),
    row(7, drop=4.0, replicate=1, stratum=3),
]


def test_columns_are_those_of_the_rows() -> None:
    found = Measured.from_rows(ROWS, dense=DENSE)

    assert (len(found), found.network, found.regime) == (3, "net", 0.5)
    np.testing.assert_array_equal(found.drop, [2, 1, 4])
    np.testing.assert_array_equal(found.recipe, [0, 1, 0])
    np.testing.assert_array_equal(found.keep, [[0.5, 0.75], [1, 0.25], [0.5, 0.75]])
    np.testing.assert_array_equal(found.stage_means, [[0.2, 0.4], [0.1, 0.7], [0.2, 0.4]])
    np.testing.assert_array_equal(found.stratum, [3, 0, 3])


def test_the_drop_before_training_is_larger_by_what_training_regained() -> None:
    # 90 % after, 80 % before: 10 points more than the drop of 2.
    assert Measured.from_rows([row()], dense=DENSE).one_shot_drop[0] == pytest.approx(12)


def test_replicates_of_a_recipe_become_their_mean() -> None:
    found = Measured.from_rows(ROWS, dense=DENSE).averaged()

    np.testing.assert_array_equal(found.drop, [3, 1])
    np.testing.assert_array_equal(found.replicates, [2, 1])
    np.testing.assert_array_equal(found.ratio, [1.25, 0.8])
    np.testing.assert_array_equal(found.averaged().drop, found.drop)


def test_chosen_entries_keep_their_order() -> None:
    found = Measured.from_rows(ROWS, dense=DENSE)

    np.testing.assert_array_equal(found.where(found.drop > 1.5).drop, [2, 4])
    np.testing.assert_array_equal(found.where(np.array([2, 0])).recipe, [0, 0])


def test_weights_are_inverse_variances_of_the_means() -> None:
    found = Measured.from_rows(ROWS, dense=DENSE).averaged()

    noisy = found.observations("test_drop", covariates=["std"], noise_share=1.0)
    half = found.observations(noise_share=0.5)

    assert noisy.weights is not None
    np.testing.assert_allclose(noisy.weights, [2, 1])
    np.testing.assert_allclose(noisy.drop, 2.5)
    np.testing.assert_allclose(noisy.covariates["std"], 0.1)
    assert half.weights is not None
    np.testing.assert_allclose(half.weights, [1 / 0.75, 1])  # .5 + .5 / 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no evaluated rows"),
        ([row(1), row(2, regime=0.3)], "mix regime 0.3, 0.5"),
        ([row(1), row(2, weights="new")], "mix weights kept, new"),
        ([row(1), row(1)], "replicate 0 of subnetwork s1 is there twice"),
        ([row(1, widths={"a": 1, "c": 2})], "differ in the groups b, c"),
        ([row(1, drop=float("nan"))], r"drop\[0\] is nan"),
    ],
)
def test_rows_that_do_not_fit_are_named(rows: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Measured.from_rows(rows, dense=DENSE)


def test_bad_observations_are_named() -> None:
    found = Measured.from_rows(ROWS, dense=DENSE)

    with pytest.raises(ValueError, match="'keep' is no column of numbers; choose from drop"):
        found.observations("keep")
    with pytest.raises(ValueError, match="noise_share is 2"):
        found.observations(noise_share=2)


def test_pairs_are_the_shared_recipes_in_one_order() -> None:
    first = Measured.from_rows([row(1, drop=1.0), row(2, drop=2.0), row(3, drop=3.0)], dense=DENSE)
    second = Measured.from_rows([row(3, drop=30.0), row(1, drop=10.0)], dense=DENSE)

    mine, others = first.paired(second)

    assert (mine.drop.tolist(), others.drop.tolist()) == ([1, 3], [10, 30])
    with pytest.raises(ValueError, match="2 and 1 recipes have none in common"):
        second.paired(Measured.from_rows([row(2)], dense=DENSE))

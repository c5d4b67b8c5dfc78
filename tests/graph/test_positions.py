"""Positions that stay, against a look at every array by itself."""

import numpy as np
import pytest

from sentei.graph.positions import Positions

ARRAYS = {
    "shared": np.array([0, 1, 2, 3]),
    "partly": np.array([-1, 4, 4, -1, 5]),
    "other": np.array([6]),
}


def positions() -> Positions:
    return Positions.of(
        {
            "a.weight": (ARRAYS["shared"], ARRAYS["partly"], None),
            "a.bias": (ARRAYS["shared"],),
            "b": (None, ARRAYS["other"]),
        },
        {("a", "count", -1): ARRAYS["partly"], ("a", "none", -1): np.empty(0, dtype=np.int64)},
    )


@pytest.mark.parametrize("removed", [[], [0, 3], [4, 5], [1, 5, 6], [0, 1, 2, 3, 4, 5, 6]])
def test_kept_positions_are_those_whose_channel_stays(removed: list[int]) -> None:
    keep = np.ones(7, dtype=np.bool_)
    keep[removed] = False
    found = positions()
    kept = found.kept(keep)

    numbers = {"shared": found.dims["a.bias"][0][1], "other": found.dims["b"][0][1]}
    numbers["partly"] = found.attributes["a", "count", -1]
    for name, array in ARRAYS.items():
        expected = [i for i, channel in enumerate(array.tolist()) if channel not in removed]
        index = kept[numbers[name]]
        assert (list(range(len(array))) if index is None else index.tolist()) == expected
        assert (index is None) == (len(expected) == len(array))


def test_an_array_that_occurs_twice_has_one_number() -> None:
    dims = positions().dims
    assert dims["a.weight"][0] == dims["a.bias"][0] == (0, dims["a.bias"][0][1])


def test_dimensions_that_stay_are_left_out() -> None:
    assert [dim for dim, _ in positions().dims["a.weight"]] == [0, 1]
    assert [dim for dim, _ in positions().dims["b"]] == [1]


def test_what_counts_nothing_loses_nothing() -> None:
    found = positions()
    assert found.kept(np.zeros(7, dtype=np.bool_))[found.attributes["a", "none", -1]] is None

"""Structural redundancy: components, balls and turns by hand and by scipy."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from sentei.criteria.srr import Srr, _centres, _components
from tests.support.small import linear_net, scores

# Three within 12 degrees, lengths 1, 2, 3; one across, length 1.
FAN = [[1.0, 0.0], [2.0, 0.2], [3.0, -0.3], [0.0, 1.0]]


def test_covered_channels_go_first_and_small_before_large() -> None:
    # The largest of the fan and the one across are the centres.
    net = linear_net(FAN, [[0.0] * 4])

    assert scores(net, Srr(threshold=1)) == {"0": [0, 0.25, 0.75, 0.5]}


def test_most_redundant_group_is_next() -> None:
    # Group 0: two components, two balls: 1 - 4 / 8, then 1 - 4 / 6, 0, 0. Group 1, two channels
    # in one direction: 1 - 2 / 4, then 0. Of equal ones the group of which more is left goes.
    net = linear_net(FAN, [[0.0] * 4] * 2, [[1.0, 2.0]])

    found = scores(net, Srr(threshold=1))

    np.testing.assert_allclose(found["0"], np.array([0, 2, 5, 3]) / 6, rtol=1e-12)
    np.testing.assert_allclose(found["1"], np.array([1, 4]) / 6, rtol=1e-12)


def test_groups_without_redundancy_empty_evenly() -> None:
    net = linear_net(np.eye(4).tolist(), np.eye(4)[:2].tolist(), [[0.0] * 2])

    found = scores(net, Srr(threshold=0.1), 1, 4)

    # 0 of 4, 0 of 2, 1 of 4, 2 of 4, 1 of 2, 3 of 4 are gone.
    assert sorted(found["0"]) == [0, 2 / 6, 3 / 6, 5 / 6]
    assert sorted(found["1"]) == [1 / 6, 4 / 6]


@given(seed=st.integers(0, 10**6), size=st.integers(1, 12), share=st.floats(0, 0.6))
def test_components_of_what_is_left_are_those_of_scipy(seed: int, size: int, share: float) -> None:
    near = np.triu(np.random.default_rng(seed).random((size, size)) < share)
    near |= near.T

    expected = [connected_components(near[gone:, gone:])[0] for gone in range(size)]

    assert _components(near).tolist() == expected


@given(seed=st.integers(0, 10**6), size=st.integers(1, 7), share=st.floats(0, 0.6))
def test_balls_cover_all_and_are_near_the_fewest(seed: int, size: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    near = np.triu(rng.random((size, size)) < share)
    near |= near.T | np.eye(size, dtype=np.bool_)

    centres = np.flatnonzero(_centres(near, rng.random(size)))

    sets = [list(c) for k in range(1, size + 1) for c in combinations(range(size), k)]
    fewest = next(len(chosen) for chosen in sets if near[chosen].any(axis=0).all())
    assert near[centres].any(axis=0).all()
    # What greedy covers are known to stay within.
    assert fewest <= len(centres) <= fewest * (1 + np.log(size))


@pytest.mark.parametrize("threshold", [0.0, 2.5])
def test_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=rf"threshold={threshold}; expected a distance in \(0, 2"):
        Srr(threshold=threshold)

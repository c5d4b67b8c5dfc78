"""Draws that a search needs."""

import math

import numpy as np

from sentei.spaces.payback import draws_to_reach


def test_draws_to_reach_by_hand() -> None:
    # Expected best of 1, 2, 3 of (1, 2, 4): 7/3, 4/3, 1.
    targets = (2.4, 7 / 3, 2, 4 / 3, 1.3, 1, 0.9)

    assert [draws_to_reach([4.0, 1.0, 2.0], q) for q in targets] == [1, 1, 2, 2, 3, 3, math.inf]


def test_draws_are_those_of_searching_at_random() -> None:
    rng = np.random.default_rng(0)
    drops = rng.normal(0, 1, 50)
    found = draws_to_reach(drops, -1.5)

    searches = np.argsort(rng.random((40_000, 50)), axis=1)
    before = drops[searches[:, : int(found) - 1]].min(1).mean()
    after = drops[searches[:, : int(found)]].min(1).mean()
    assert after <= -1.5 + 0.01  # Monte-Carlo error of 40 000 searches
    assert before > -1.5 - 0.01

"""Shares of spaces against counts of their recipes."""

import math

import numpy as np
import pytest

from sentei.spaces.sampling.exact import Exact
from sentei.spaces.space import Slab, regime
from sentei.spaces.volume import log_share
from tests.support.terrains import basic_resnet


def test_a_share_is_that_of_the_counted_recipes() -> None:
    terrain = basic_resnet("resnet20")
    outer, inner = regime(0.5, delta=0.02), regime(0.5, delta=0.001)
    counts = [Exact().count(terrain, [slab]) for slab in (outer, inner)]

    found = log_share(terrain, [outer], [inner], seed=0)

    assert found == pytest.approx(math.log(counts[1] / counts[0]), abs=0.3)


def test_a_share_too_small_for_chance_is_that_of_exact_draws() -> None:
    """Of 40,000 uniform recipes few have such a ratio; three hundred would show none."""
    terrain = basic_resnet("resnet20")
    slab = Slab(quantity="ratio", low=0.62, high=0.68)
    widths_NG = Exact().sample(terrain, [regime(0.5)], num=40_000, seed=1)
    ratio_N = terrain.quantities(widths_NG)["ratio"]
    hits = ((ratio_N >= slab.low) & (ratio_N <= slab.high)).sum()
    assert 20 < hits < 400

    found = log_share(terrain, [regime(0.5)], [slab], seed=0)

    # Counting errs by 1 / sqrt(hits), splitting by a tenth a level.
    assert found == pytest.approx(math.log(hits / 40_000), abs=0.5)


def test_no_more_slabs_leave_all() -> None:
    assert log_share(basic_resnet("resnet20"), [regime(0.5)], [], seed=0) == 0.0


def test_two_slabs_leave_less_than_each() -> None:
    terrain = basic_resnet("resnet20")
    slabs = [
        Slab(quantity="ratio", low=0.8, high=0.9),
        Slab(quantity="std", low=0.0, high=0.2),
    ]

    both, *each = (
        log_share(terrain, [regime(0.5)], own, seed=2) for own in (slabs, slabs[:1], slabs[1:])
    )

    assert both < min(each) - 0.3
    np.testing.assert_array_less(each, 0.0)

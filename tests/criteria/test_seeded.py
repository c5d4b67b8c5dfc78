"""Criteria that draw take a seed; others are what they are."""

from sentei.criteria.fpgm import Fpgm
from sentei.criteria.random import Random


def test_a_criterion_that_draws_takes_the_seed() -> None:
    assert Random(seed=1).seeded(5) == Random(seed=5)


def test_a_criterion_that_draws_nothing_stays_itself() -> None:
    criterion = Fpgm()

    assert criterion.seeded(5) is criterion

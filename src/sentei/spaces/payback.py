"""How many draws a search needs, by which a refinement pays for its study or not."""

import math

import numpy as np
from numpy.typing import ArrayLike

from sentei.spaces.stats_base import checked
from sentei.spaces.stats_edf import expected_best


def draws_to_reach(drops: ArrayLike, target: float) -> float:
    """Return the fewest random draws whose expected best drop is at most ``target``.

    Args:
        drops: Drops of a population, shape [N]; draws are without replacement.
        target: Wanted drop.

    Returns:
        An integer in [1, N], or infinity if no recipe of the population is as good.

    Example:
        >>> draws_to_reach([1.0, 2.0, 4.0], 1.5)
        2
    """
    drop_N = checked("drops", drops)
    best_N = expected_best(drop_N, np.arange(1, drop_N.size + 1))
    reached = np.flatnonzero(best_N <= target + 1e-12)
    return int(reached[0]) + 1 if reached.size else math.inf

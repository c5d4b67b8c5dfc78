"""Strata: equally many recipes from each part of the attainable range, and what each weighs.

Natural populations crowd where most recipes are; what happens away from there is then not seen.
"""

# Shapes: N = recipes, G = groups, K = strata.

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sentei.errors import SpaceError
from sentei.seeding import derive_seed
from sentei.spaces.sampling import Sampler
from sentei.spaces.space import COSTS, Slab
from sentei.spaces.stats_base import FloatArray, IntArray
from sentei.spaces.terrain import Terrain
from sentei.spaces.vacancy import explain


@dataclass(frozen=True, kw_only=True)
class Stratification:
    """Where strata begin and end.

    Args:
        quantity: What is cut into strata.
        edges: Their ends, ascending, K + 1 of them.

    Raises:
        ValueError: There are fewer than two edges, or they do not ascend.
    """

    quantity: str
    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.edges) < 2 or list(self.edges) != sorted(set(self.edges)):
            raise ValueError(
                f"strata of {self.quantity} have edges {self.edges}; expected two or more, ascending"
            )

    def slabs(self) -> list[Slab]:
        """Return one slab a stratum, in order."""
        return [Slab(quantity=self.quantity, low=a, high=b) for a, b in pairwise(self.edges)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Strata:
    """A stratified population.

    Attributes:
        widths: Of the recipes, one stratum after another, [N, G].
        strata: Number of each recipe's stratum, [N].
        shares: Share of each stratum in the space itself, [K], summing to 1.
        weights: What each recipe counts so that the population stands for the space, [N], mean 1.
    """

    widths: IntArray
    strata: IntArray
    shares: FloatArray
    weights: FloatArray


def stratify(
    terrain: Terrain, slabs: Sequence[Slab], *, num: int = 8, quantity: str = "ratio"
) -> Stratification:
    """Return strata of equal factors over what a quantity attains in a space.

    Args:
        terrain: The terrain.
        slabs: The space; see `reach`.
        num: Number of strata, >= 1.
        quantity: A quantity above 0, such as "ratio" or "params".

    Raises:
        ValueError: ``num`` is below 1.
        SpaceError: There is no such quantity, or its range is empty or begins at 0.
    """
    if num < 1:
        raise ValueError(f"{num} strata; expected at least 1")
    low, high = reach(terrain, slabs, quantity=quantity)
    if not 1e-6 * high < low < high:
        raise SpaceError(
            f"space {terrain.config.name!r}: {quantity} goes from {low:.4g} to {high:.4g}; strata "
            "need a range above 0, choose another quantity or wider slabs"
        )
    return strata_of((low, high), num=num, quantity=quantity)


def reach(
    terrain: Terrain, slabs: Sequence[Slab], *, quantity: str = "ratio"
) -> tuple[float, float]:
    """Return from where to where a quantity goes in a space.

    Args:
        terrain: The terrain.
        slabs: The space. Of its first cost that has slabs the range is taken at the middle, inside
            the slabs of all others; one of the quantity itself cuts it.
        quantity: The quantity.

    Raises:
        SpaceError: There is no such quantity, or the space is empty; the message says what
            conflicts.
    """
    by = next((slab.quantity for slab in slabs if slab.quantity in COSTS), None)
    costs = [slab for slab in slabs if slab.quantity == by]
    level = (max(s.low for s in costs) + min(s.high for s in costs)) / 2 if costs else None
    own = [slab for slab in slabs if slab.quantity == quantity]
    others = [slab for slab in slabs if slab.quantity not in (by, quantity)]
    try:
        low, high = terrain.attainable(quantity, level=level, by=by or "macs", slabs=others)
    except SpaceError as error:
        if not others:
            raise
        why = explain(terrain, slabs)
        raise SpaceError(f"space {terrain.config.name!r}: {why}") from error
    return max([low, *(s.low for s in own)]), min([high, *(s.high for s in own)])


def strata_of(bounds: tuple[float, float], *, num: int, quantity: str = "ratio") -> Stratification:
    """Return strata of equal factors between two bounds of a quantity, 0 < low < high."""
    return Stratification(quantity=quantity, edges=tuple(np.geomspace(*bounds, num + 1).tolist()))


def sample_strata(
    sampler: Sampler,
    terrain: Terrain,
    slabs: Sequence[Slab],
    *,
    stratification: Stratification,
    num_each: int,
    seed: int,
) -> Strata:
    """Return equally many recipes of every stratum, with their weights.

    The share of a stratum in the space is chained from ratios of neighbours: in a sample of two
    neighbours together, how many fall into each. Strata that natural sampling never reaches
    get their small share so, with half a recipe added to each count.

    Args:
        sampler: Draws the recipes; strata of thin volume need "hit-and-run".
        terrain: The terrain.
        slabs: The space.
        stratification: The strata; see `stratify`.
        num_each: Recipes of each stratum, >= 1.
        seed: Root of all draws.

    Raises:
        SpaceError: A stratum is empty.
    """
    parts = []
    for number, own in enumerate(stratification.slabs()):
        stream = derive_seed(seed, "stratum", str(number))
        try:
            parts.append(sampler.sample(terrain, [*slabs, own], num=num_each, seed=stream))
        except SpaceError as error:
            raise SpaceError(
                f"stratum {number + 1} of {len(stratification.slabs())}, {own}: {error}; or give "
                f"fewer strata, or a slab of {own.quantity} that leaves this end out"
            ) from error
    shares_K = _shares(sampler, terrain, slabs, stratification, seed)
    return Strata(
        widths=np.concatenate(parts),
        strata=np.repeat(np.arange(len(parts)), num_each),
        shares=shares_K,
        weights=np.repeat(shares_K * len(parts), num_each),
    )


_NUM_PAIR = 200  # recipes that tell how two neighbours compare


def _shares(
    sampler: Sampler,
    terrain: Terrain,
    slabs: Sequence[Slab],
    stratification: Stratification,
    seed: int,
) -> FloatArray:
    quantity, logs = stratification.quantity, [0.0]
    for number, (lower, upper) in enumerate(pairwise(stratification.slabs())):
        both = Slab(quantity=quantity, low=lower.low, high=upper.high)
        own = derive_seed(seed, "pair", str(number))
        widths_NG = sampler.sample(terrain, [*slabs, both], num=_NUM_PAIR, seed=own)
        above = int((terrain.quantities(widths_NG)[quantity] >= upper.low).sum())
        logs.append(logs[-1] + float(np.log((above + 0.5) / (_NUM_PAIR - above + 0.5))))
    shares_K = np.exp(np.array(logs) - max(logs))
    return np.asarray(shares_K / shares_K.sum())

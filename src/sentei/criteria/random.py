"""No opinion: the row every comparison needs."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Source
from sentei.seeding import derive_seed


@CRITERIA.register("random")
@dataclass(frozen=True, kw_only=True)
class Random(Criterion):
    """Independent uniform numbers in [0, 1), whatever the weights.

    Args:
        seed: Of the numbers; each group draws from a stream of its own, found by its name.
    """

    source: ClassVar[Source] = Source(paper="baseline")
    equivariant: ClassVar[bool] = False
    comparable: ClassVar[bool] = True
    seed: int = 0

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the numbers, shape [C]."""
        parts = [
            np.random.default_rng(derive_seed(self.seed, "random", g.name)).random(g.width)
            for g in evidence.graph.groups
        ]
        return np.concatenate([*parts, np.empty(0)])

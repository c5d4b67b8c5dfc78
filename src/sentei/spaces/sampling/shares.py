"""Shares of a cost from a Dirichlet distribution, turned into widths."""

# Shapes: N = recipes, G = groups, U = units, K = parts (units or stages).

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from scipy.sparse import csr_array

from sentei.cost.quadratic import Quadratic
from sentei.errors import SpaceError
from sentei.spaces.sampling.base import SAMPLERS, Draw, Sampler, Streams, target
from sentei.spaces.sampling.repair import repair
from sentei.spaces.space import Slab
from sentei.spaces.stats_base import FloatArray, IntArray
from sentei.spaces.terrain import Terrain

_ROUNDS = 100
_HALVINGS = 60


@dataclass(frozen=True, kw_only=True)
class Shares(Sampler):
    r"""Recipes whose parts cost random shares of the whole: where the budget goes is what is drawn.

    A cost is quadratic in the widths c, :math:`c^T Q c + l^T c + k`, and group g has the part
    :math:`c_g ((Q c)_g + l_g)` of it. The shares of the parts are a Dirichlet draw around those of
    the dense network; widths that have them are a fixed point of
    :math:`c_g \leftarrow c_g \sqrt{\text{wanted} / \text{had}}`, cut at the bounds of the widths.
    All are then scaled to the middle of the cost's slab, rounded and repaired; shares that no
    widths have come out nearest to what the bounds leave.

    Args:
        concentration: Of the Dirichlet distribution, a part, > 0; a large one keeps the dense
            network's shares.
        per: Whose shares are drawn: of every ``unit``, or of every ``stage``, whose units then keep
            the same share of their channels.

    Raises:
        ValueError: A field is out of range.
    """

    measure: ClassVar[str] = "Dirichlet shares of the cost"
    concentration: float = 5.0
    per: Literal["unit", "stage"] = "unit"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.concentration > 0:
            raise ValueError(f"concentration={self.concentration}; expected a number above 0")
        if self.per not in ("unit", "stage"):
            raise ValueError(f"per={self.per!r}; expected 'unit' or 'stage'")

    def prepare(self, terrain: Terrain, slabs: Sequence[Slab]) -> Draw:
        """Return what draws shares.

        Raises:
            SpaceError: There is no slab of a cost, or a part costs nothing of it.
        """
        aim, region = target(terrain, slabs, "shares"), terrain.region(slabs)
        parts = _Parts.of(terrain, aim[0], per=self.per)
        usual_K = parts.costs(parts.whole)[:, 0]
        if usual_K.min() <= 0:
            raise SpaceError(
                f"space {terrain.config.name!r}: a {self.per} has no share of the {aim[0]}, which "
                "sampler 'shares' draws; keep its groups whole, or use 'hit-and-run'"
            )
        alphas_K = self.concentration * len(usual_K) * usual_K / usual_K.sum()

        def draw(streams: Streams) -> IntArray:
            shares_KN = np.stack([stream.dirichlet(alphas_K) for stream in streams], axis=1)
            points_UN = _scaled(terrain, parts.widths(shares_KN, aim[1]), aim)
            return repair(terrain, region, terrain.lattice.nearest(points_UN), streams)

        return draw


@dataclass(frozen=True, kw_only=True, eq=False)
class _Parts:
    """What each part has of a cost.

    Attributes:
        terrain: The terrain.
        form: The cost, in shares of the dense network's.
        members: Which groups are in each part, 0 or 1, [K, G].
        part_of: Part of each unit, [U].
    """

    terrain: Terrain
    form: Quadratic
    members: csr_array
    part_of: IntArray

    @staticmethod
    def of(terrain: Terrain, cost: str, *, per: str) -> "_Parts":
        units = terrain.units
        names = [units.stages[own[0]] if per == "stage" else str(own[0]) for own in units.owners]
        part_of = np.unique(names, return_inverse=True)[1]
        members_KG = np.zeros((part_of.max() + 1, len(terrain.graph.groups)))
        for part, own in zip(part_of, units.owners, strict=True):
            members_KG[part, list(own)] = 1.0
        return _Parts(
            terrain=terrain,
            form=terrain.forms[cost],
            members=csr_array(members_KG),
            part_of=part_of,
        )

    @property
    def whole(self) -> FloatArray:
        """Coordinates of the dense network, [U, 1]."""
        return self.terrain.lattice.bounds[1][:, None]

    def costs(self, points_UN: FloatArray) -> FloatArray:
        """Return the part of the cost that each part has, [K, N]."""
        real_GN = self.terrain.lattice.real(points_UN)
        slope_GN = self.form.matrix @ real_GN + self.form.linear.toarray().T
        return np.asarray(self.members @ (real_GN * slope_GN))

    def widths(self, shares_KN: FloatArray, level: float) -> FloatArray:
        """Return coordinates [U, N] whose parts have shares of what of a cost is left for them."""
        low_U, high_U = self.terrain.lattice.bounds
        points_UN = np.repeat(self.whole, shares_KN.shape[1], axis=1)
        for _ in range(_ROUNDS):
            costs_KN = self.costs(points_UN)
            # What groups that are kept whole have depends on those they are joined to.
            total_N = self.form.value(self.terrain.lattice.real(points_UN))
            left_N = np.maximum(level - total_N + costs_KN.cumsum(axis=0)[-1], 1e-9)
            factors_KN = np.sqrt(shares_KN * left_N / np.maximum(costs_KN, 1e-12))
            moved_UN = points_UN * factors_KN[self.part_of]
            points_UN = np.clip(moved_UN, low_U[:, None], high_U[:, None])
        return points_UN


def _scaled(terrain: Terrain, points_UN: FloatArray, aim: tuple[str, float]) -> FloatArray:
    """Return points times the factor at which a cost is met inside the bounds, [U, N]."""
    low_U1, high_U1 = (bound[:, None] for bound in terrain.lattice.bounds)
    low_N, high_N = np.full(points_UN.shape[1], 1e-4), np.full(points_UN.shape[1], 1e4)
    for _ in range(_HALVINGS):
        middle_N = np.sqrt(low_N * high_N)
        is_above_N = (
            terrain.real_cost(aim[0], np.clip(middle_N * points_UN, low_U1, high_U1)) > aim[1]
        )
        high_N = np.where(is_above_N, middle_N, high_N)
        low_N = np.where(is_above_N, low_N, middle_N)
    return np.clip(low_N * points_UN, low_U1, high_U1)


SAMPLERS.register("shares")(Shares)

"""A region of widths: slabs as quadratic inequalities, evaluated at many points at once."""

# Shapes: N = points, G = groups, J = inequalities, B = base forms.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array, vstack

from sentei.cost.quadratic import Quadratic, column_sums
from sentei.spaces.stats_base import BoolArray, FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """Where every inequality ``q_j(c) = sum_b A_jb f_b(c) + k_j <= 0`` holds.

    Each is divided by its unit (the dense MACs, parameters, ...), so that values of different
    inequalities compare.

    Attributes:
        forms: The base forms f_b.
        factors: A, [J, B].
        constants: k, [J].
        slab_of: Number of the slab each inequality belongs to, [J].
    """

    forms: tuple[Quadratic, ...]
    factors: csr_array
    constants: FloatArray
    slab_of: tuple[int, ...]

    @staticmethod
    def of(
        forms: Mapping[str, Quadratic], sides: Sequence[tuple[int, Mapping[str, float], float]]
    ) -> "Region":
        """Return the region of inequalities, each given as (slab, form -> factor, constant)."""
        used = sorted({name for _, factors, _ in sides for name in factors})
        table = [[factors.get(name, 0.0) for name in used] for _, factors, _ in sides]
        return Region(
            forms=tuple(forms[name] for name in used),
            factors=csr_array(np.array(table).reshape(len(sides), len(used))),
            constants=np.array([constant for _, _, constant in sides]),
            slab_of=tuple(slab for slab, _, _ in sides),
        )

    def widened(self, margins_J: FloatArray) -> "Region":
        """Return the region with every inequality relaxed by a margin."""
        return Region(
            forms=self.forms,
            factors=self.factors,
            constants=self.constants - margins_J,
            slab_of=self.slab_of,
        )

    def values(self, widths_GN: FloatArray) -> FloatArray:
        """Return the left sides, [J, N]; a point is inside where none is above 0."""
        return self._left_sides(widths_GN, self._stacked @ widths_GN)

    def _left_sides(self, widths_GN: FloatArray, products: FloatArray) -> FloatArray:
        """Return the left sides from the products of all matrices with the widths, [B G, N]."""
        squares = np.tile(widths_GN, (len(self.forms), 1)) * products
        found_BN = self._sums @ squares + self._linear @ widths_GN + self._offsets
        return np.asarray(self.factors @ found_BN + self.constants[:, None])

    def violation(self, widths_GN: FloatArray) -> FloatArray:
        """Return the sum of what exceeds 0, [N]."""
        return np.asarray(column_sums(np.maximum(self.values(widths_GN), 0.0)))

    def gradients(self, widths_GN: FloatArray) -> FloatArray:
        """Return the gradients of the left sides, [J, G, N]."""
        found = 2.0 * (self._stacked @ widths_GN) + self._linear.toarray().reshape(-1, 1)
        flat = self.factors @ found.reshape(len(self.forms), -1)
        return np.asarray(flat).reshape(-1, *widths_GN.shape)

    def inside(self, widths_GN: FloatArray) -> BoolArray:
        """Return whether every inequality holds, up to rounding of float64, [N]."""
        return np.asarray((self.values(widths_GN) <= 1e-12).all(axis=0))

    def line(
        self, widths_GN: FloatArray, moves_GN: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return a, b, c, [J, N] each: the left sides at ``widths + t moves`` are a t^2 + b t + c."""
        count, size = len(self.forms), widths_GN.shape[0]
        both = np.concatenate([moves_GN, widths_GN], axis=1)
        products = (self._stacked @ both).reshape(count * size, 2, -1)
        moved, stayed = products[:, 0], products[:, 1]
        tiled_moves = np.tile(moves_GN, (count, 1))
        second = self._sums @ (tiled_moves * moved)
        first = 2.0 * (self._sums @ (tiled_moves * stayed)) + self._linear @ moves_GN
        constant = self._left_sides(widths_GN, stayed)
        return self.factors @ second, self.factors @ first, constant

    @cached_property
    def _stacked(self) -> csr_array:
        return csr_array(vstack([form.matrix for form in self.forms]))

    @cached_property
    def _linear(self) -> csr_array:
        return csr_array(vstack([form.linear for form in self.forms]))

    @cached_property
    def _offsets(self) -> FloatArray:
        return np.array([[form.constant] for form in self.forms])

    @cached_property
    def _sums(self) -> csr_array:
        count, size = len(self.forms), self.forms[0].matrix.shape[0]
        return csr_array(np.kron(np.eye(count), np.ones((1, size))))

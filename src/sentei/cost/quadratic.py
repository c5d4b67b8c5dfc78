"""Costs as quadratic forms in the widths: values, gradients, and what they are along a line."""

# Shapes: G = groups, N = points, D = coordinates of a subspace, R = rows, J = distinct affine lengths.

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from sentei.cost.compile import _collect, _Lengths
from sentei.cost.sample import one_sample_shapes
from sentei.cost.terms import Term
from sentei.errors import SpaceError
from sentei.graph import Graph

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Quadratic:
    """The function ``c' Q c + l' c + k`` of real widths ``c``.

    All products are sparse and go column by column, so that the value at a point does not depend,
    not even in its last bit, on the points it is evaluated with.

    Attributes:
        matrix: Q, symmetric, shape [G, G].
        linear: l, shape [1, G].
        constant: k.
    """

    matrix: csr_array
    linear: csr_array
    constant: float

    def value(self, widths_GN: FloatArray) -> FloatArray:
        """Return the values at N points, shape [N]."""
        squares_N = column_sums(widths_GN * (self.matrix @ widths_GN))
        return np.asarray(squares_N + (self.linear @ widths_GN)[0] + self.constant)

    def gradient(self, widths_GN: FloatArray) -> FloatArray:
        """Return the gradients at N points, shape [G, N]."""
        return np.asarray(2.0 * (self.matrix @ widths_GN) + self.linear.toarray().T)

    def plus(self, other: "Quadratic", *, factor: float = 1.0) -> "Quadratic":
        """Return this function plus ``factor`` times another."""
        return Quadratic(
            matrix=csr_array(self.matrix + factor * other.matrix),
            linear=csr_array(self.linear + factor * other.linear),
            constant=self.constant + factor * other.constant,
        )

    def times(self, factor: float) -> "Quadratic":
        """Return ``factor`` times this function."""
        return Quadratic(
            matrix=factor * self.matrix,
            linear=factor * self.linear,
            constant=factor * self.constant,
        )


def column_sums(values_RN: FloatArray) -> FloatArray:
    """Return the sum of every column, [N]: one row after the other, however many columns there are."""
    return np.asarray(values_RN.cumsum(axis=0)[-1])


def affine(linear_G: FloatArray, constant: float = 0.0) -> Quadratic:
    """Return the function ``l' c + k``."""
    size = linear_G.size
    return Quadratic(
        matrix=csr_array((size, size)), linear=csr_array(linear_G[None]), constant=constant
    )


def quadratic_forms(graph: Graph, terms: Mapping[str, Iterable[Term]]) -> dict[str, Quadratic]:
    """Return sums of products of dimensions as quadratic forms in the widths of a graph, by name.

    At widths that the groups can have they agree with the cost model to the unit.

    Args:
        graph: The graph; as for `CostModel.of`.
        terms: Name -> the terms of a sum.

    Raises:
        SpaceError: A term is a product of more than two widths.
        TraceError: The costs of one sample cannot be told from the traced batch.
    """
    lengths = _Lengths(graph, one_sample_shapes(graph.recording, graph.model, graph.inputs))
    sums = {name: _collect(own, lengths) for name, own in terms.items()}
    table = np.array(list(lengths.numbers), dtype=np.float64).reshape(-1, len(graph.groups) + 2)
    affine_JG = table[:, :-2] / table[:, -1:]
    constants_J = table[:, -2] / table[:, -1]
    return {name: _form(name, own, affine_JG, constants_J) for name, own in sums.items()}


def _form(
    name: str, total: Mapping[tuple[int, ...], int], affine_JG: FloatArray, constants_J: FloatArray
) -> Quadratic:
    size, count = affine_JG.shape[1], len(constants_J)
    products_JJ, single_J, constant = np.zeros((count, count)), np.zeros(count), 0.0
    for monomial, factor in total.items():
        if len(monomial) > 2:
            raise SpaceError(
                f"{name}: a term multiplies {len(monomial)} widths, expected at most 2; spaces of "
                "this network cannot be sampled, use a searcher, which needs no quadratic cost"
            )
        if len(monomial) == 2:
            products_JJ[monomial] += factor
        elif len(monomial) == 1:
            single_J[monomial[0]] += factor
        else:
            constant += factor
    matrix_GG = affine_JG.T @ products_JJ @ affine_JG
    linear_G = affine_JG.T @ ((products_JJ + products_JJ.T) @ constants_J + single_J)
    return Quadratic(
        matrix=csr_array((matrix_GG + matrix_GG.T).reshape(size, size) / 2),
        linear=csr_array(linear_G[None]),
        constant=float(constants_J @ products_JJ @ constants_J + single_J @ constants_J + constant),
    )


__all__ = ["FloatArray", "Quadratic", "affine", "column_sums", "quadratic_forms"]

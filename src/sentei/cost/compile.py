"""Compile: the costs of a graph as polynomials in the widths of its groups.

The length of every dimension is affine in the widths, so every cost is a sum of products of
affine forms, and the peak of memory the largest of such sums. They are built once and evaluated
for whole arrays of recipes, in integers. The matrices are sparse (most lengths follow one width,
few tensors are alive at once), which is also faster than BLAS where threads compete for cores.
"""

# Shapes: N = recipes, G = groups, D = distinct affine lengths, M = monomials (products of at most
# K lengths), R = sums of which the largest is the cost.

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import lcm, prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from sentei.cost.operators import Dim
from sentei.cost.sample import Shapes, one_sample_shapes
from sentei.cost.terms import COSTS, Term, terms_of
from sentei.errors import UnknownNameError
from sentei.graph import Graph
from sentei.index.atoms import IntArray
from sentei.registry import did_you_mean

Cost: TypeAlias = Any
"""An int64 array [N], or an int for a single recipe."""

_Affine: TypeAlias = tuple[int, ...]
"""Factors of the widths [G], the constant, and what their sum is divided by."""

_Monomial: TypeAlias = tuple[int, ...]

_CHUNK = 1024  # recipes at a time: what they need fits the cache


@dataclass(frozen=True, kw_only=True, eq=False)
class _Form:
    """The largest of R sums of monomials.

    Attributes:
        monomials: Lengths to multiply, by number, shape [M, K]; the last length is always 1.
        factors: How often each monomial counts in each sum, shape [R, M].
    """

    monomials: IntArray
    factors: csr_array

    def evaluate(self, lengths_DN: IntArray) -> IntArray:
        """Return the values at N recipes, shape [N]."""
        first, *others = self.monomials.T
        products_MN = lengths_DN[first]
        for numbers in others:
            products_MN *= lengths_DN[numbers]
        sums_RN: IntArray = self.factors @ products_MN
        return np.asarray(sums_RN.max(axis=0))


@dataclass(frozen=True, kw_only=True, eq=False)
class CostModel:
    """The costs of every recipe of a graph, exact to the unit.

    ``widths`` of all methods are integers, shape [N, G] for N recipes or [G] for one; group g
    keeps ``widths[..., g]`` channels, at least ``group.smallest``, at most ``group.width``, and a
    multiple of its number of rows. Results are int64 arrays [N], or an int.

    Attributes:
        graph: The graph the costs belong to.
    """

    graph: Graph = field(repr=False)
    # Lengths = (affine @ widths + constants) // divisors, shapes [D, G], [D], [D].
    _affine: csr_array = field(repr=False)
    _constants: IntArray = field(repr=False)
    _divisors: IntArray = field(repr=False)
    _forms: Mapping[str, _Form] = field(repr=False)

    @classmethod
    def of(cls, graph: Graph) -> "CostModel":
        """Compile the costs of ``graph``.

        The traced model must be in the mode it was traced in, and not pruned in place since,
        where the graph was traced with more than one sample: it then runs once more.

        Raises:
            TraceError: The costs of one sample cannot be told from the traced batch.
        """
        shapes = one_sample_shapes(graph.recording, graph.model, graph.inputs)
        return _compile(cls, graph, _Lengths(graph, shapes))

    def macs(self, widths: IntArray) -> Cost:
        """Return multiply-adds of convolutions and matrix products for one sample."""
        return self.costs(widths, names=("macs",))["macs"]

    def num_parameters(self, widths: IntArray) -> Cost:
        """Return the number of elements of all parameters; a shared one counts once."""
        return self.costs(widths, names=("num_parameters",))["num_parameters"]

    def weight_bytes(self, widths: IntArray) -> Cost:
        """Return the bytes of all parameters and buffers."""
        return self.costs(widths, names=("weight_bytes",))["weight_bytes"]

    def activation_bytes(self, widths: IntArray) -> Cost:
        """Return the bytes of all tensors that operators allocate, for one sample."""
        return self.costs(widths, names=("activation_bytes",))["activation_bytes"]

    def peak_activation_bytes(self, widths: IntArray) -> Cost:
        """Return the largest number of bytes alive at once, for one sample, inputs included.

        Order and lifetimes are those of the traced run: a tensor lives until its last use, views
        share memory, and what is written in place allocates nothing.
        """
        return self.costs(widths, names=("peak_activation_bytes",))["peak_activation_bytes"]

    def costs(self, widths: IntArray, *, names: Sequence[str] = COSTS) -> dict[str, Cost]:
        """Return several costs at once, by name.

        Args:
            widths: Integers, shape [N, G] or [G].
            names: Which costs, of :data:`~sentei.cost.COSTS`.

        Raises:
            UnknownNameError: There is no such cost.
            ValueError: ``widths`` are no integers, of another shape, or no group can have them.
        """
        for name in names:
            if name not in self._forms:
                raise UnknownNameError(f"unknown cost {name!r}.{did_you_mean(name, COSTS)}")
        widths = np.asarray(widths)
        self._check(widths)
        found = self._evaluate(np.atleast_2d(widths), names)
        return found if widths.ndim == 2 else {name: int(v[0]) for name, v in found.items()}

    def group_saving(self, name: str, widths: IntArray) -> npt.NDArray[np.float64]:
        """Return what one channel of each group costs at ``widths``, shape [G].

        The difference made by removing the smallest number of channels that can go together (one,
        or one a row), divided by that number.

        Args:
            name: A cost, of :data:`~sentei.cost.COSTS`.
            widths: Integers, shape [G].

        Raises:
            UnknownNameError: There is no such cost.
            ValueError: ``widths`` are no integers, not of shape [G], or no group can have them.
        """
        now = self.costs(np.asarray(widths).reshape(-1), names=(name,))[name]
        fewer = np.asarray(widths).reshape(1, -1) - np.diag(self._steps_G)
        saved = now - self._evaluate(fewer, (name,))[name]
        return np.asarray(saved / self._steps_G)

    @cached_property
    def _steps_G(self) -> IntArray:
        return np.array([g.num_rows for g in self.graph.groups], dtype=np.int64)

    def _check(self, widths: IntArray) -> None:
        count = len(self.graph.groups)
        if widths.ndim not in (1, 2) or widths.shape[-1] != count or widths.dtype.kind not in "iu":
            raise ValueError(
                f"widths are {widths.dtype} of shape {list(widths.shape)}; expected integers of "
                f"shape [recipes, {count}] or [{count}], one column a group"
            )
        is_wrong = (widths < self._steps_G) | (widths > self.graph.widths)
        has_rows = self._steps_G > 1
        is_wrong[..., has_rows] |= widths[..., has_rows] % self._steps_G[has_rows] != 0
        if is_wrong.any():
            at = np.argwhere(is_wrong)[0]
            group = self.graph.groups[at[-1]]
            raise ValueError(
                f"{group.name}: width {widths[tuple(at)]} is not possible; choose one from "
                f"{group.smallest} to {group.width}"
                + (f", a multiple of {group.num_rows}" if group.num_rows > 1 else "")
            )

    def _evaluate(self, widths_NG: IntArray, names: Sequence[str]) -> dict[str, IntArray]:
        found = {name: np.empty(len(widths_NG), dtype=np.int64) for name in names}
        for start in range(0, len(widths_NG), _CHUNK):
            part = slice(start, start + _CHUNK)
            lengths_DN = self._lengths(widths_NG[part])
            for name in names:
                found[name][part] = self._forms[name].evaluate(lengths_DN)
        return found

    def _lengths(self, widths_NG: IntArray) -> IntArray:
        widths_GN = np.ascontiguousarray(widths_NG.T, dtype=np.int64)
        lengths_DN: IntArray = self._affine @ widths_GN
        lengths_DN += self._constants[:, None]
        divided = np.flatnonzero(self._divisors != 1)
        lengths_DN[divided] //= self._divisors[divided, None]
        return lengths_DN


class _Lengths:
    """The lengths of the dimensions of a graph: numbers, or affine forms numbered through."""

    def __init__(self, graph: Graph, shapes: Shapes) -> None:
        self.graph, self.shapes = graph, shapes
        self.widths = graph.widths
        self.firsts = np.array([g.first for g in graph.groups], dtype=np.int64)
        self.numbers: dict[_Affine, int] = {}
        self._found: dict[Dim, tuple[int, int | None]] = {}
        self._inner: dict[Dim, IntArray] = {}
        for index, value in enumerate(graph.recording.values):
            layout = graph.layouts.get(value.name) if value.name else None
            if layout is not None and layout.inner is not None:
                self._inner[index, 1] = layout.inner

    def of(self, dim: Dim) -> tuple[int, int | None]:
        """Return a length as (number, None) or (1, index of an affine form)."""
        if dim not in self._found:
            self._found[dim] = self._find(dim)
        return self._found[dim]

    def _find(self, dim: Dim) -> tuple[int, int | None]:
        value, k = dim
        size = self.shapes[value][k]
        channels = self._inner.get(dim)
        if channels is None:
            channels = self.graph.values.get(value, (None,) * (k + 1))[k]
        if channels is None:
            return size, None
        counts = self._counts(channels.ravel())
        if dim in self._inner:
            self._check_rows(channels)
        # A dimension merged with the batch repeats its channels once a sample.
        scale = Fraction(size, channels.size)
        parts = [scale * int(c) for c in (*counts, channels.size - counts @ self.widths)]
        divisor = lcm(*(p.denominator for p in parts))
        affine = (*(int(p * divisor) for p in parts), divisor)
        return 1, self.numbers.setdefault(affine, len(self.numbers))

    def _counts(self, channels: IntArray) -> IntArray:
        """Return how many positions each channel of a group has, shape [G]."""
        each = np.bincount(channels[channels >= 0], minlength=self.graph.num_channels)
        counts = np.maximum.reduceat(each, self.firsts)
        assert (np.add.reduceat(each, self.firsts) == counts * self.widths).all(), (
            "channels of one group own different numbers of positions"
        )
        return counts

    def _check_rows(self, inner: IntArray) -> None:
        """Every row of the weight of a grouped convolution has as many positions of each group."""
        owner = np.searchsorted(self.firsts, inner, side="right") - 1
        owner = np.sort(np.where(inner < 0, -1, owner), axis=1)
        assert (owner == owner[0]).all(), "rows of a grouped convolution differ"


def _compile(kind: type[CostModel], graph: Graph, lengths: _Lengths) -> CostModel:
    terms = terms_of(graph.recording)
    sums = {name: [_collect(found, lengths)] for name, found in terms.sums.items()}
    tensors = {value: _collect([term], lengths) for value, term in terms.tensors.items()}
    alive = [_add(tensors[v] for v in live) for live in terms.live]
    sums["peak_activation_bytes"] = _undominated(alive)
    table = np.array(list(lengths.numbers), dtype=np.int64).reshape(-1, len(graph.groups) + 2)
    # The last length is 1: it pads short monomials and stands for constants.
    one = np.array([[0] * len(graph.groups) + [1, 1]], dtype=np.int64)
    table = np.concatenate([table, one])
    # Every factor is >= 0, so no partial sum of any recipe exceeds the dense value.
    largest = max(_dense_value(s, table, graph.widths) for rows in sums.values() for s in rows)
    assert largest < 2**63, f"a cost of {largest} does not fit 64 bits"
    return kind(
        graph=graph,
        _affine=csr_array(table[:, :-2]),
        _constants=table[:, -2].copy(),
        _divisors=table[:, -1].copy(),
        _forms={name: _form(rows, len(table) - 1) for name, rows in sums.items()},
    )


def _collect(terms: Iterable[Term], lengths: _Lengths) -> dict[_Monomial, int]:
    """Return the sum of ``terms``: monomial -> factor."""
    total: dict[_Monomial, int] = {}
    for factor, product in terms:
        found = [lengths.of(dim) for dim in product]
        monomial = tuple(sorted(number for _, number in found if number is not None))
        total[monomial] = total.get(monomial, 0) + factor * prod(n for n, _ in found)
    return total


def _add(sums: Iterable[Mapping[_Monomial, int]]) -> dict[_Monomial, int]:
    total: dict[_Monomial, int] = {}
    for each in sums:
        for monomial, factor in each.items():
            total[monomial] = total.get(monomial, 0) + factor
    return total


def _undominated(sums: Sequence[dict[_Monomial, int]]) -> list[dict[_Monomial, int]]:
    """Return the sums that no other exceeds in every factor: only they can be the largest."""
    kept: list[dict[_Monomial, int]] = []
    for candidate in sorted(sums, key=lambda s: sum(s.values()), reverse=True):
        if not any(all(k.get(m, 0) >= f for m, f in candidate.items()) for k in kept):
            kept.append(candidate)
    return kept


def _dense_value(total: Mapping[_Monomial, int], table: IntArray, widths: IntArray) -> int:
    lengths = [(int(row[:-2] @ widths) + int(row[-2])) // int(row[-1]) for row in table]
    return sum(factor * prod(lengths[k] for k in m) for m, factor in total.items())


def _form(rows: Sequence[Mapping[_Monomial, int]], one: int) -> _Form:
    monomials = sorted({m for row in rows for m in row}) or [()]
    degree = max(1, *(len(m) for m in monomials))
    padded = [m + (one,) * (degree - len(m)) for m in monomials]
    factors = [[row.get(m, 0) for m in monomials] for row in rows]
    return _Form(
        monomials=np.array(padded, dtype=np.int64),
        factors=csr_array(np.array(factors, dtype=np.int64)),
    )


__all__ = ["Cost", "CostModel"]

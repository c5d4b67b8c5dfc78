"""Atoms: one number for every removable position; equalities between them, solved at once.

Every position along every dimension of every tensor carries an atom. Atom 0 is a position that
nothing may remove (a pixel, a sample, an element of a constant). Rules only collect equalities
and freezes as arrays; :meth:`Atoms.solve` runs one connected-components pass over all of them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

FROZEN = 0


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The solution: which atoms go together, and which may go at all.

    Attributes:
        labels: Class of every atom, shape [atoms]; the class of the frozen atom is ``labels[0]``.
        frozen: For every class, whether it must stay, shape [classes].
        reason: For every class, the index of the first reason that froze it, or -1.
    """

    labels: IntArray
    frozen: BoolArray
    reason: IntArray

    def of(self, atoms: IntArray) -> IntArray:
        """Return the class of every atom, -1 where it is frozen; same shape as ``atoms``."""
        labels = self.labels[atoms]
        return np.where(self.frozen[labels], -1, labels)


class Atoms:
    """Hands out atoms and collects what is known of them."""

    def __init__(self) -> None:
        self._next = 1
        self._left: list[IntArray] = []
        self._right: list[IntArray] = []
        self._frozen: list[tuple[IntArray, int]] = []
        self.reasons: list[str] = []

    def fresh(self, count: int) -> IntArray:
        """Return ``count`` new atoms, shape [count]."""
        start, self._next = self._next, self._next + count
        return np.arange(start, self._next, dtype=np.int64)

    def equate(self, left: IntArray, right: IntArray) -> None:
        """State that ``left[i]`` and ``right[i]`` go together, for every i; shapes broadcast."""
        left, right = np.broadcast_arrays(left, right)
        self._left.append(left.ravel())
        self._right.append(right.ravel())

    def freeze(self, atoms: IntArray, reason: str) -> None:
        """State that none of ``atoms`` may be removed, and why."""
        self._frozen.append((atoms.ravel(), len(self.reasons)))
        self.reasons.append(reason)

    def solve(self) -> Classes:
        """Return the classes of all atoms: one connected-components pass."""
        empty = np.empty(0, dtype=np.int64)
        left = np.concatenate([*self._left, empty])
        right = np.concatenate([*self._right, empty])
        # An equality with the frozen atom freezes; it must not join all frozen classes into one,
        # or every reason would explain every frozen channel.
        at_zero = (left == FROZEN) | (right == FROZEN)
        links = ~at_zero
        edges = coo_matrix(
            (np.ones(int(links.sum()), dtype=np.int8), (left[links], right[links])),
            shape=(self._next, self._next),
        )
        count, labels = connected_components(edges, directed=False)
        labels = labels.astype(np.int64)
        reason = np.full(count, -1, dtype=np.int64)
        for atoms, index in reversed(self._frozen):
            reason[labels[atoms]] = index
        frozen = reason >= 0
        frozen[labels[np.concatenate([left[at_zero], right[at_zero]])]] = True
        frozen[labels[FROZEN]] = True
        return Classes(labels=labels, frozen=frozen, reason=reason)

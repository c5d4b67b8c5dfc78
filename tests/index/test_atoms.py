"""Atoms against a union-find in plain Python."""

from itertools import combinations
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sentei.index.atoms import FROZEN, Atoms, Classes

Pairs = list[tuple[int, int]]
COUNT = 8


def solved(count: int, equalities: Pairs, frozen: list[list[int]]) -> Classes:
    atoms = Atoms()
    atoms.fresh(count)
    for left, right in equalities:
        atoms.equate(np.array([left]), np.array([right]))
    for number, those in enumerate(frozen):
        atoms.freeze(np.array(those, dtype=np.int64), f"reason {number}")
    return atoms.solve()


def components(count: int, equalities: Pairs) -> list[set[int]]:
    """Return for every atom the atoms that go with it; equalities with atom 0 join nothing."""
    sets = [{atom} for atom in range(count + 1)]
    for left, right in equalities:
        if FROZEN not in (left, right):
            joined = sets[left] | sets[right]
            for atom in joined:
                sets[atom] = joined
    return sets


def check(count: int, equalities: Pairs, frozen: list[list[int]]) -> None:
    classes = solved(count, equalities, frozen)
    sets = components(count, equalities)
    stay = {FROZEN, *(a for those in frozen for a in those)}
    stay |= {atom for pair in equalities if FROZEN in pair for atom in pair}
    for atom, own in enumerate(sets):
        assert {b for b in range(count + 1) if classes.labels[b] == classes.labels[atom]} == own
        assert classes.frozen[classes.labels[atom]] == bool(own & stay)
        reasons = [number for number, those in enumerate(frozen) if own & set(those)]
        assert classes.reason[classes.labels[atom]] == (reasons[0] if reasons else -1)


atom = st.integers(0, COUNT)


@given(
    st.lists(st.tuples(atom, atom), max_size=12),
    st.lists(st.lists(st.integers(1, COUNT), max_size=3), max_size=3),
)
def test_classes_equal_those_of_a_union_find(equalities: Pairs, frozen: list[list[int]]) -> None:
    check(COUNT, equalities, frozen)


def test_every_set_of_equalities_of_three_atoms() -> None:
    pairs = list(combinations(range(4), 2))
    for count in range(len(pairs) + 1):
        for equalities in combinations(pairs, count):
            for frozen in ([], [[1]], [[2, 3]], [[3], [1, 3]]):
                check(3, list(equalities), frozen)


@given(st.permutations([(1, 2), (2, 3), (4, 5), (6, 0)]), st.randoms(use_true_random=False))
def test_the_order_of_equalities_and_their_sides_do_not_matter(
    equalities: Pairs, random: Random
) -> None:
    turned = [pair[::-1] if random.random() < 0.5 else pair for pair in equalities]

    found = solved(6, turned, [[3]])

    np.testing.assert_array_equal(found.of(np.arange(7)) < 0, [1, 1, 1, 1, 0, 0, 1])
    assert found.labels[4] == found.labels[5]


def test_equal_shapes_broadcast() -> None:
    atoms = Atoms()
    cells, rows = atoms.fresh(6).reshape(2, 3), atoms.fresh(2)

    atoms.equate(cells, rows[:, None])

    labels = atoms.solve().labels
    assert len({*labels[cells[0]], labels[rows[0]]}) == 1
    assert labels[rows[0]] != labels[rows[1]]


def test_frozen_atoms_are_marked_in_the_shape_asked_for() -> None:
    atoms = Atoms()
    cells = atoms.fresh(4).reshape(2, 2)
    atoms.freeze(cells[0], "a reason")

    found = atoms.solve().of(cells)

    assert found.shape == (2, 2)
    assert (found[0] == -1).all()
    assert (found[1] >= 0).all()


def test_fresh_atoms_are_never_given_out_twice() -> None:
    atoms = Atoms()

    given_out = np.concatenate([atoms.fresh(n) for n in (3, 0, 1, 5)])

    assert given_out.tolist() == list(range(1, 10))


def test_no_atoms_at_all_have_one_frozen_class() -> None:
    assert Atoms().solve().frozen.tolist() == [True]

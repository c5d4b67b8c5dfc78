"""The lowest scores of a group, against a stable sort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentei.graph import Group
from sentei.graph.groups import lowest
from sentei.index.atoms import IntArray


def group(width: int, rows: IntArray | None = None) -> Group:
    return Group(name="g", index=0, width=width, members=(), rows=rows, first=0)


@given(st.data())
def test_lowest_scores_are_the_first_of_a_stable_sort(data: st.DataObject) -> None:
    # Few different scores: many are equal.
    scores = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=20))
    count = data.draw(st.integers(0, len(scores)))
    expected = sorted(range(len(scores)), key=lambda channel: scores[channel])[:count]

    found = lowest(group(len(scores)), np.array(scores, dtype=np.float64), count)

    assert sorted(found.tolist()) == sorted(expected)


@pytest.mark.parametrize(("count", "expected"), [(0, []), (1, [2, 3]), (2, [0, 2, 3, 5])])
def test_each_row_has_its_own_lowest(count: int, expected: list[int]) -> None:
    rows = np.array([0, 1, 0, 1, 0, 1])
    scores = np.array([2.0, 9.0, 1.0, 7.0, 3.0, 8.0])

    assert sorted(lowest(group(6, rows), scores, count).tolist()) == expected

"""Exemplars: against all sets of exemplars, and grades by hand."""

from itertools import combinations

import numpy as np
import pytest

from sentei.criteria import epruner
from sentei.criteria.base import FloatArray
from sentei.criteria.epruner import EPruner, exemplars
from tests.support.small import linear_net, scores


def apart(points: list[float]) -> FloatArray:
    return np.abs(np.subtract.outer(points, points))


LINE = [0.0, 1.0, 1.5, 20.0, 20.8, 22.0, 50.0]


def best_exemplars(distances_CC: FloatArray, beta: float) -> list[int]:
    """Return the set that maximises affinities to exemplars plus preferences, of all sets."""
    affinities = -np.square(distances_CC)
    preferences = beta * np.median(affinities, axis=0)

    def net_similarity(chosen: list[int]) -> float:
        others = [i for i in range(len(affinities)) if i not in chosen]
        nearest = affinities[np.ix_(others, chosen)].max(axis=1).sum() if others else 0.0
        return float(nearest + preferences[chosen].sum())

    sets: list[list[int]] = []
    for count in range(1, len(affinities) + 1):
        sets += [list(chosen) for chosen in combinations(range(len(affinities)), count)]
    return max(sets, key=net_similarity)


@pytest.mark.parametrize("beta", [0.0005, 0.01, 0.1, 0.75])
def test_exemplars_maximise_the_net_similarity(beta: float) -> None:
    found = exemplars(apart(LINE), beta=beta, damping=0.7)

    assert found.tolist() == best_exemplars(apart(LINE), beta)


def test_without_preference_every_channel_is_an_exemplar() -> None:
    assert len(exemplars(apart(LINE), beta=0, damping=0.7)) == len(LINE)


def test_grades_are_distances_to_the_nearest_other_exemplar() -> None:
    # Exemplars 2 at 1.5, 3 at 20 and 6 at 50; the largest distance is 50.
    net = linear_net([[x] for x in LINE], [[0.0] * 7])

    found = scores(net, EPruner(beta=0.1), 1, 1)["0"]

    expected = [1.5 / 50, 0.5 / 50, 1 + 18.5 / 50, 1 + 18.5 / 50, 0.8 / 50, 2 / 50, 1 + 30 / 50]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_only_exemplar_has_two() -> None:
    net = linear_net([[0.0], [1.0], [3.0]], [[0.0] * 3])

    np.testing.assert_allclose(scores(net, EPruner(beta=100), 1, 1)["0"], [1 / 3, 2, 2 / 3])


def test_equal_channels_have_one_exemplar() -> None:
    net = linear_net([[2.0], [2.0], [2.0]], [[1.0] * 3])

    assert scores(net, "epruner", 1, 1) == {"0": [2, 0, 0]}


def test_nearest_to_all_others_stands_in_when_no_choice_was_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # After one message nobody is willing to stand for others yet.
    monkeypatch.setattr(epruner, "_MOST_ITERATIONS", 1)

    assert exemplars(apart(LINE), beta=10, damping=0.7).tolist() == [3]


def test_negative_beta_is_refused() -> None:
    with pytest.raises(ValueError, match="beta=-1; expected a finite factor >= 0"):
        EPruner(beta=-1)


@pytest.mark.parametrize("damping", [0.4, 1.0])
def test_damping_out_of_range_is_refused(damping: float) -> None:
    with pytest.raises(ValueError, match=rf"damping={damping}; expected a share in \[0.5, 1\)"):
        EPruner(damping=damping)

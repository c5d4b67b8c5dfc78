"""Scopes: contract over the registry, and keys by hand."""

import numpy as np
import pytest

from sentei.allocate import SCOPES, Ranking
from sentei.allocate.base import Normalization
from sentei.allocate.cost_aware import CostAware
from sentei.allocate.global_ import Global
from sentei.allocate.local import Local


def ranking(
    *scores: list[float],
    comparable: bool = False,
    savings: object = None,
    num_weights: object = None,
) -> Ranking:
    ones = [1.0] * len(scores)
    return Ranking(
        scores=tuple(np.array(s) for s in scores),
        comparable=comparable,
        savings=np.array(ones if savings is None else savings, dtype=np.float64),
        num_weights=np.array(ones if num_weights is None else num_weights, dtype=np.float64),
    )


@pytest.mark.parametrize("name", list(SCOPES))
def test_keys_are_finite_and_in_the_order_of_the_scores(name: str) -> None:
    scores = ranking([0, 0, 1, 5], [0, 0], [2, 2, 3], savings=[1e-9, 0, 3])

    keys = SCOPES[name]().keys(scores)

    assert [len(k) for k in keys] == [4, 2, 3]
    assert all(np.isfinite(k).all() and (np.diff(k) >= 0).all() for k in keys)


def test_local_spreads_every_group_evenly() -> None:
    first, second = Local().keys(ranking([1, 1, 9, 10], [7, 8]))

    assert first.tolist() == [0.125, 0.375, 0.625, 0.875]
    assert second.tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ("none", [0, 3, 9]),
        ("mean", [0, 0.75, 2.25]),
        ("max", [0, 1 / 3, 1]),
        ("sum", [0, 0.25, 0.75]),
        ("l2", [0, 3 / 90**0.5, 9 / 90**0.5]),
        ("standard", [-4 / 14**0.5, -1 / 14**0.5, 5 / 14**0.5]),
        (None, [0, 1 / 3, 1]),
    ],
)
def test_global_normalizes_each_group(
    normalization: Normalization | None, expected: list[float]
) -> None:
    (keys,) = Global(normalization=normalization).keys(ranking([0, 3, 9]))

    np.testing.assert_allclose(keys, expected, rtol=1e-12)


def test_comparable_scores_stay_as_they_are() -> None:
    (keys,) = Global().keys(ranking([0, 3, 9], comparable=True))

    assert keys.tolist() == [0, 3, 9]


def test_cost_aware_takes_the_share_of_what_is_left_for_the_relative_saving() -> None:
    # Shares 1/4 1/3 1 and 1/3 1; savings relative to their mean of 4: 0.5 and 1.5.
    keys = CostAware().keys(ranking([2, 2, 4], [3, 6], savings=[2, 6], num_weights=[3, 9]))

    np.testing.assert_allclose(keys[0], [1.5, 2, 6], rtol=1e-12)
    np.testing.assert_allclose(keys[1], [2, 6], rtol=1e-12)


def test_cost_aware_does_not_depend_on_the_scale_of_a_group() -> None:
    first, second = CostAware().keys(ranking([1, 2, 4], [10, 20, 40]))

    np.testing.assert_allclose(first, second, rtol=1e-12)


def test_cost_aware_refuses_negative_scores() -> None:
    with pytest.raises(ValueError, match="a score is negative; use scope 'global'"):
        CostAware().keys(ranking([-1, 2]))


def test_unknown_normalization_is_refused() -> None:
    with pytest.raises(ValueError, match="normalization='median'; expected None or one of none"):
        Global(normalization="median")  # type: ignore[arg-type]

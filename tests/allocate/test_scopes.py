"""Scopes: contract over the registry, and keys by hand."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from sentei.allocate import SCOPES, Budget, Ranking, allocate
from sentei.allocate.base import Normalization
from sentei.allocate.clr import CrossLayerRanking
from sentei.allocate.cost_aware import CostAware
from sentei.allocate.exemplars import Exemplars
from sentei.allocate.global_ import Global
from sentei.allocate.local import Local
from sentei.criteria import score
from sentei.graph import Graph, trace
from tests.support.nets import PlainNet, example, fill
from tests.support.small import linear_net


def graph_of(*widths: int) -> Graph:
    """Return the graph of linear layers with hidden dimensions of these widths."""
    layers = [nn.Linear(a, b) for a, b in pairwise([2, *widths, 2])]
    return trace(fill(nn.Sequential(*layers)), example(1, 2))


def ranking(
    *scores: list[float],
    comparable: bool = False,
    savings: object = None,
    num_weights: object = None,
) -> Ranking:
    ones = [1.0] * len(scores)
    return Ranking(
        graph=graph_of(*(len(s) for s in scores)),
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


def test_cost_aware_weighs_groups_by_their_sum_where_scores_compare() -> None:
    # Sums 8 and 9 times the shares 1/4 1/3 1 and 1/3 1; relative savings 0.5 and 1.5.
    keys = CostAware().keys(
        ranking([2, 2, 4], [3, 6], comparable=True, savings=[2, 6], num_weights=[3, 9])
    )

    np.testing.assert_allclose(keys[0], [4, 16 / 3, 16], rtol=1e-12)
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


def ranking_of(graph: Graph, *, savings: list[float]) -> Ranking:
    return Ranking(
        graph=graph,
        scores=tuple(np.arange(float(g.width)) for g in graph.groups),
        comparable=False,
        savings=np.array(savings),
        num_weights=np.ones(len(savings)),
    )


# Group 0 has 1 to 10, group 1 has 3 to 10 and four times 11.
TWO_GROUPS = trace(
    linear_net([[1.0], [-2.0]], [[3.0, -4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.0]], [[-11.0] * 4]),
    example(1, 1),
)


def test_clr_takes_the_weights_in_the_middle_of_each_channels_share() -> None:
    # Shares 1/4, 3/4 of ten weights; 1/8, 3/8, 5/8, 7/8 of twelve.
    first, second = CrossLayerRanking(power=0).keys(ranking_of(TWO_GROUPS, savings=[2, 3]))

    assert first.tolist() == [3, 8]
    assert second.tolist() == [4, 7, 10, 11]


def test_clr_divides_by_a_power_of_the_relative_cost() -> None:
    # Costs 2 x 2 and 4 x 3, relative to their mean of 8: 0.5 and 1.5.
    first, second = CrossLayerRanking(power=2).keys(ranking_of(TWO_GROUPS, savings=[2, 3]))

    np.testing.assert_allclose(first, [3 / 0.25, 8 / 0.25], rtol=1e-12)
    np.testing.assert_allclose(second, np.array([4, 7, 10, 11]) / 2.25, rtol=1e-12)


def test_clr_removes_the_share_of_weights_below_a_threshold() -> None:
    model = fill(PlainNet(40, 60))
    graph = trace(model, example(1, 3, 8, 8))
    chosen = CrossLayerRanking(power=0)

    widths = allocate(graph, score(graph, "l1"), budget=Budget(macs=0.5), scope=chosen).widths

    one, two = (w.detach().abs().flatten() for w in (model.conv1.weight, model.conv2.weight))
    pools = [
        torch.cat([one, two, model.bn1.weight.detach().abs()]),
        torch.cat(
            [two, model.bn2.weight.detach().abs(), model.linear.weight.detach().abs().flatten()]
        ),
    ]
    shares = [1 - width / full for width, full in zip(widths, (40, 60), strict=True)]
    thresholds = [
        (torch.quantile(pool, max(share - 1 / full, 0)), torch.quantile(pool, share + 1 / full))
        for pool, share, full in zip(pools, shares, (40, 60), strict=True)
    ]
    assert min(shares) > 0
    assert max(low for low, _ in thresholds) < min(high for _, high in thresholds)


@pytest.mark.parametrize("power", [-1.0, float("inf")])
def test_clr_refuses_an_exponent_out_of_range(power: float) -> None:
    with pytest.raises(ValueError, match=f"power={power}; expected a finite exponent >= 0"):
        CrossLayerRanking(power=power)


def test_exemplars_of_equally_near_channels_fall_from_all_to_one_at_once() -> None:
    # Affinities -2 and 0, median -2: with beta < 1 all are exemplars, from 1 on one. Counted at
    # 1/2 and 1, a third of the way is 2/3.
    graph = trace(linear_net(np.eye(4).tolist(), [[0.0] * 4]), example(1, 4))

    (keys,) = Exemplars().keys(ranking_of(graph, savings=[1]))

    np.testing.assert_allclose(keys, [4 / 6, 5 / 6, 1, 1], rtol=1e-12)


def test_pairs_of_channels_lose_one_each_before_anything_else_goes() -> None:
    pairs = [[0.0, 0.0], [0.1, 0.0], [50.0, 0.0], [50.1, 0.0], [0.0, 50.0], [0.1, 50.0]]
    graph = trace(linear_net(pairs, np.eye(6).tolist(), [[0.0] * 6]), example(1, 2))

    paired, alone = Exemplars().keys(ranking_of(graph, savings=[1, 1]))

    assert paired[2] < min(paired[3], alone[0])


def test_exemplars_refuse_a_damping_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"damping=0.4; expected a share in \[0.5, 1\)"):
        Exemplars(damping=0.4)

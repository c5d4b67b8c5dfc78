"""Greedy forward selection: by hand, and against masking each set of channels for real."""

import numpy as np
import pytest
import torch
from torch import nn

from sentei.criteria import score
from sentei.criteria.base import FloatArray
from sentei.criteria.gfs import Gfs, selection
from sentei.graph import trace
from tests.support.nets import PlainNet, example, fill
from tests.support.small import linear_net

# Channels x0, x1 and x0 + x1; the mean of x0^2 is 1, of x1^2 is 4, of x0 x1 is 0.
PAIRS = torch.tensor([[1.0, 2.0], [1.0, -2.0]], dtype=torch.float64)


def scores(weights: list[float], *, scaled: bool = True) -> FloatArray:
    net = linear_net([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [weights])
    with torch.no_grad():
        net.get_parameter("0.bias").zero_()
    return score(trace(net, PAIRS), Gfs(scaled=scaled), batches=[(PAIRS,)]).by_group["0"]


def test_sums_are_what_removal_leaves() -> None:
    # y = 2 x0 + 2 x1 of square 20. Alone, they miss it by squares 1 + 16, 4 + 4 and 1 + 4: the
    # third joins. With it, x0 misses by x1 of square 4 and x1 by x0 of 1.
    np.testing.assert_allclose(scores([1.0, 1.0, 1.0], scaled=False), [0.05, 0.25, 1.0], rtol=1e-5)


def test_the_channel_whose_mean_speaks_best_for_all_joins_first() -> None:
    # y = 2 x0 + 2 x1 of square 20. Alone and times 3, they miss it by x0 - 2 x1 of square 17,
    # -2 x0 + x1 of 8 and x0 + x1 of 5: the third joins, which leaves 5 / 20. Then, times 3/2, x0
    # with it misses by x0 - 0.5 x1 of square 2, and x1 with it by -0.5 x0 + x1 of 4.25.
    np.testing.assert_allclose(scores([1.0, 1.0, 1.0]), [0.25, 0.1, 1.0], rtol=1e-5)


def test_a_set_that_is_worse_than_the_one_before_lowers_no_score() -> None:
    # y = (x0 + x1) / 2 of square 1.25. Alone and times 3, they miss it by 2.5 x0 - 0.5 x1 of square
    # 7.25, 25.25 and 20; then x0 and x1 times 3/2 by x0 + x1 of 5, x0 and the third by
    # 0.25 x0 - 1.25 x1 of 6.3125. All are above 1.25: no set is better than none.
    order = np.argsort(-scores([1.0, 1.0, -0.5]))

    assert order.tolist() == [0, 1, 2]
    np.testing.assert_allclose(scores([1.0, 1.0, -0.5]), [1.0, 1.0, 1.0], rtol=1e-5)


def test_layers_that_compute_nothing_score_zero_beyond_the_first() -> None:
    found = scores([0.0, 0.0, 0.0])

    np.testing.assert_allclose(found, [1.0, 0.0, 0.0])


def masked_error(model: PlainNet, images: torch.Tensor, kept: list[int], *, scaled: bool) -> float:
    """Return the relative error of conv2, bias aside, with some channels of conv1 in all's place."""
    with torch.no_grad():
        maps = model.bn1(model.conv1(images)).relu()
        conv = model.conv2
        outputs = nn.functional.conv2d(maps, conv.weight, None, conv.stride, conv.padding)
        masked = torch.zeros_like(maps)
        masked[:, kept] = maps[:, kept] * (maps.shape[1] / len(kept) if scaled else 1)
        found = nn.functional.conv2d(masked, conv.weight, None, conv.stride, conv.padding)
    return float((found - outputs).square().sum() / outputs.square().sum())


@pytest.mark.parametrize(("size", "scaled"), [(2, False), (5, True)])
def test_each_step_takes_the_channel_of_least_error_and_scores_say_the_error_before(
    size: int, *, scaled: bool
) -> None:
    model, images = fill(PlainNet()), example(5, 3, 8, 8)
    graph = trace(model, images)

    found = score(
        graph,
        Gfs(positions=10_000, scaled=scaled),
        batches=[(part,) for part in images.split(size)],
    ).by_group["conv1"]

    kept: list[int] = []
    before = 1.0
    for step in range(len(found)):
        rest = [c for c in range(len(found)) if c not in kept]
        errors = {c: masked_error(model, images, [*kept, c], scaled=scaled) for c in rest}
        best = min(errors, key=errors.__getitem__)
        expected = before * (1 - 1e-6 * step / len(found))
        np.testing.assert_allclose(found[best], expected, rtol=1e-10, atol=1e-12)
        kept.append(best)
        before = min(before, errors[best])


def test_errors_end_at_zero_with_all_channels() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 40))

    order, errors = selection(rows @ rows.T)

    assert sorted(order) == list(range(6))
    assert errors[-1] == pytest.approx(0, abs=1e-12)

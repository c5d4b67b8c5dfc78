"""k-reciprocal nearest filters: ranks by hand, intersections by sets."""

import numpy as np

from sentei.criteria.clr_rnf import ClrRnf
from tests.support.nets import FlattenNet, fill
from tests.support.small import linear_net, scores


def test_four_channels_on_a_line() -> None:
    # At 0, 1, 3, 7. Nearer ones, seen from each: 0 1 2 3; 1 0 2 3; 2 1 0 3; 3 2 1 0.
    net = linear_net([[0.0], [1.0], [3.0], [7.0]], [[0.0] * 4])

    found = scores(net, ClrRnf(), 1, 1)["0"]

    largest, means = np.array([3, 2, 2, 3]), np.array([6, 4, 5, 9]) / 4
    np.testing.assert_allclose(found, 1 - (largest + means / 4) / 4, rtol=1e-12)


def test_kept_channels_are_the_intersection_of_nearest_neighbours() -> None:
    model = fill(FlattenNet(7))
    rows = model.conv.weight.detach().flatten(1)
    joined = np.hstack([rows, model.linear.weight.detach().T.reshape(7, -1)])
    order = [np.argsort(((joined - row) ** 2).sum(1)) for row in joined]

    found = np.array(scores(model, "clr-rnf", 1, 3, 3, 3)["conv"])

    for k in range(1, 8):
        both = set.intersection(*(set(nearest[:k].tolist()) for nearest in order))
        assert both == set(np.argsort(-found)[: len(both)].tolist())


def test_equal_channels_have_equal_scores() -> None:
    net = linear_net([[1.0], [1.0], [4.0]], [[0.0] * 3])

    first, second, third = scores(net, "clr-rnf", 1, 1)["0"]

    assert first == second > third

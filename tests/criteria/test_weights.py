"""Criteria on weights: numbers small enough to check by hand.

The network has one group of three channels: rows of ``first``, columns of ``second``.
"""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentei.criteria import Evidence, score
from sentei.criteria.base import weights_CF
from sentei.criteria.bn_scale import BnScale
from sentei.criteria.fpgm import Fpgm
from sentei.criteria.lamp import Lamp
from sentei.criteria.magnitude import Magnitude
from sentei.criteria.random import Random
from sentei.criteria.reduce import Reduction
from sentei.errors import PruningError
from sentei.graph import trace
from tests.support.nets import DenseNet, FlattenNet, GatedNet, GroupedNet, example, fill
from tests.support.small import linear_net, scores, small_net


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        ("sum", [9, 2.5, 9]),
        ("mean", [4.5, 1.25, 4.5]),
        ("max", [6, 2, 7]),
        ("first", [3, 0.5, 7]),
        ("prod", [18, 1, 14]),
    ],
)
def test_l1_of_rows_and_columns(reduction: Reduction, expected: list[float]) -> None:
    assert scores(small_net(), Magnitude(p=1, reduction=reduction)) == {"0": expected}


def test_l2_is_squared() -> None:
    # Rows 5, 0.25, 25 and columns 26, 4, 2.
    assert scores(small_net(), "l2") == {"0": [15.5, 2.125, 13.5]}


def test_other_powers() -> None:
    # Rows 1 + 8, 0.125, 27 + 64 and columns 125 + 1, 8, 1 + 1.
    found = scores(small_net(), Magnitude(p=3, reduction="sum"))

    np.testing.assert_allclose(found["0"], [135, 8.125, 93], rtol=1e-12)


def test_scale_of_a_norm_counts_and_shifts_do_not() -> None:
    net = small_net(nn.BatchNorm1d(3))
    with torch.no_grad():
        net.get_parameter("1.weight").copy_(torch.tensor([-1.0, 2.0, 3.0]))
        net.get_parameter("1.bias").fill_(100.0)

    assert scores(net, Magnitude(reduction="sum"))["0"] == [10, 4.5, 12]


def test_lamp_divides_by_what_is_not_smaller() -> None:
    # Squared sizes, added: 31, 4.25, 27.
    found = scores(small_net(), Lamp(reduction="sum"))

    np.testing.assert_allclose(found["0"], [1, 4.25 / 62.25, 27 / 58], rtol=1e-12)


def test_lamp_of_equal_channels_is_equal() -> None:
    net = small_net()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(2.0)

    np.testing.assert_allclose(scores(net, "lamp")["0"], [1 / 3] * 3, rtol=1e-12)


def test_lamp_of_zeros_is_zero() -> None:
    net = small_net()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()

    assert scores(net, "lamp") == {"0": [0, 0, 0]}


@pytest.mark.parametrize(("reduction", "expected"), [("mean", [1.5, 1.5, 3]), ("max", [2, 2, 4])])
def test_bn_scale_is_absolute(reduction: Reduction, expected: list[float]) -> None:
    net = small_net(nn.BatchNorm1d(3), nn.LayerNorm(3))
    with torch.no_grad():
        net.get_parameter("1.weight").copy_(torch.tensor([-1.0, 2.0, 4.0]))
        net.get_parameter("2.weight").copy_(torch.tensor([2.0, -1.0, -2.0]))

    assert scores(net, BnScale(reduction=reduction)) == {"0": expected}


def test_bn_scale_without_a_norm_is_refused() -> None:
    with pytest.raises(PruningError, match=r"group 0: no norm .*; score with 'l1'"):
        scores(small_net(), "bn-scale")


def test_fpgm_sums_the_distances_of_joined_rows_and_columns() -> None:
    # Channels (1, -2, -5, 1), (0, .5, 0, 2), (3, 4, 1, 1).
    near, middle, far = 33.25**0.5, (9 + 12.25 + 1 + 1) ** 0.5, (4 + 36 + 36) ** 0.5

    found = scores(small_net(), "fpgm")

    np.testing.assert_allclose(found["0"], [near + far, near + middle, far + middle], rtol=1e-12)


def test_fpgm_by_angle_sums_one_minus_the_cosines() -> None:
    # Channels (1, -2, -5, 1), (0, .5, 0, 2), (3, 4, 1, 1).
    near, middle, far = 1 / (31 * 4.25) ** 0.5, -9 / (31 * 27) ** 0.5, 4 / (4.25 * 27) ** 0.5

    found = scores(small_net(), Fpgm(distance="cosine"))

    expected = [2 - near - middle, 2 - near - far, 2 - middle - far]
    np.testing.assert_allclose(found["0"], expected, rtol=1e-12)


def test_channel_of_zeros_is_at_right_angles_to_all() -> None:
    net = linear_net([[1.0], [0.0], [2.0]], [[0.0, 0.0, 0.0]])

    assert scores(net, Fpgm(distance="cosine"), 1, 1) == {"0": [1, 2, 1]}


def test_unknown_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="distance='cos'; expected one of euclidean, cosine"):
        Fpgm(distance="cos")  # type: ignore[arg-type]


def test_fpgm_of_a_duplicate_is_lowest() -> None:
    model = fill(FlattenNet(6))
    with torch.no_grad():
        model.conv.weight[4] = model.conv.weight[1]
        model.linear.weight[:, 16:20] = model.linear.weight[:, 4:8]
        # The others lie far out, in directions of their own.
        for channel in (0, 2, 3, 5):
            model.conv.weight[channel] += 10 * torch.randn(
                3, 2, 2, generator=torch.Generator().manual_seed(channel)
            )

    order = np.argsort(scores(model, Fpgm(), 1, 3, 3, 3)["conv"])

    assert set(order[:2]) == {1, 4}


def test_flattened_pixels_belong_to_their_channel() -> None:
    model = fill(FlattenNet(5))

    found = scores(model, Magnitude(reduction="sum"), 1, 3, 3, 3)["conv"]

    own = model.linear.weight.reshape(4, 5, 4).abs().sum((0, 2))
    expected = model.conv.weight.abs().sum((1, 2, 3)) + own
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-12)


def test_chunks_belong_to_the_same_channel() -> None:
    model = fill(GatedNet(5))

    found = scores(model, Magnitude(reduction="sum"), 1, 2, 3)["linear1"]

    halves = model.linear1.weight.abs().sum(1).reshape(2, 5).sum(0)
    np.testing.assert_allclose(
        found, (halves + model.linear2.weight.abs().sum(0)).detach(), rtol=1e-12
    )


def test_inputs_of_a_grouped_convolution_count_where_they_are_used() -> None:
    model = fill(GroupedNet(8, 12, 2))

    found = scores(model, Magnitude(reduction="sum"), 1, 3, 6, 6)["enter"]

    used = model.grouped.weight.abs().reshape(2, 6, 4, 9).sum((1, 3)).flatten()
    expected = model.enter.weight.abs().sum((1, 2, 3)) + used
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-12)


def test_concatenated_channels_count_where_they_lie() -> None:
    model = fill(DenseNet(5, 3, 4))

    found = scores(model, "l1", 1, 3, 6, 6)

    weights = [
        model.layer1.weight.abs().sum((1, 2, 3)),
        model.bn.weight[5:].abs(),
        model.layer2.weight[:, 5:].abs().sum((0, 2, 3)),
        model.linear.weight[:, 9:].abs().sum(0),
    ]
    np.testing.assert_allclose(found["layer1"], torch.stack(weights).mean(0).detach(), rtol=1e-12)


def test_random_depends_on_the_seed_alone() -> None:
    assert scores(small_net(), Random(seed=1)) == scores(small_net(nn.ReLU()), Random(seed=1))
    assert scores(small_net(), Random(seed=1)) != scores(small_net(), Random(seed=2))


def test_rows_of_unequal_length_end_in_zeros() -> None:
    graph = trace(small_net(), example(1, 2))
    (group,) = graph.groups
    member = next(m for m in group.members if m.dim == 1)
    uneven = type(member)(tensor=member.tensor, dim=1, channels=np.array([0, 0, 1]))

    rows = weights_CF(group, uneven, torch.tensor([[1.0, 2.0, 3.0]]))

    assert rows.tolist() == [[1, 2], [3, 0], [0, 0]]


@pytest.mark.parametrize("kind", [Magnitude, Lamp, BnScale])
def test_unknown_reduction_is_refused(kind: type[Magnitude]) -> None:
    with pytest.raises(ValueError, match="reduction='median'; expected one of mean, sum"):
        kind(reduction="median")  # type: ignore[arg-type]


def test_power_must_be_positive() -> None:
    with pytest.raises(ValueError, match="p=0; expected a power > 0"):
        Magnitude(p=0)


class ShiftOnly(nn.Module):
    """A group that owns nothing but a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1, keepdim=True) + (x[:, :1] * self.shift).sum(1, keepdim=True)


def test_group_without_weights_is_refused_by_name() -> None:
    graph = trace(ShiftOnly(), torch.ones(1, 2))
    (group,) = graph.groups

    for name in ("l1", "l1-greedy", "lamp", "fpgm", "fpgm-mix"):
        with pytest.raises(PruningError, match=f"group {group.name}: it owns no weights"):
            score(graph, name)


def test_evidence_knows_weights_scales_and_shifts() -> None:
    net = small_net(nn.BatchNorm1d(3))
    evidence = Evidence(
        graph=trace(net, example(1, 2)),
        parameters={k: p.detach() for k, p in net.named_parameters() if k != "2.bias"},
    )

    assert evidence.norms == {"1.weight": "1.bias"}
    assert [(s.tensor, s.dims) for s in evidence.weights] == [
        ("0.weight", (0,)),
        ("1.weight", (0,)),
        ("2.weight", (1,)),
    ]

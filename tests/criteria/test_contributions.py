"""Contributions of channels to the outputs of their readers, and what is chosen by them."""

from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso
from torch import Tensor, nn

from sentei.criteria import CRITERIA, score
from sentei.criteria.aofp import Aofp, mean_damage, search_places
from sentei.criteria.base import FloatArray
from sentei.criteria.cp_lasso import CpLasso, last_penalties
from sentei.criteria.pfp import Pfp
from sentei.criteria.thinet import ThiNet, removal_places
from sentei.criteria.watch import Reading, watch
from sentei.errors import PruningError
from sentei.graph import trace
from sentei.graph.points import points
from tests.support import nets

ALL = 10_000


class Odd(nn.Module):
    """Convolutions with all their options; [N, 2, 9, 8] -> [N, 3, ...]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 6, 1)
        self.conv2 = nn.Conv2d(
            6, 4, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 3), groups=2
        )
        self.conv3 = nn.Conv2d(4, 3, (2, 3), padding="same", dilation=(2, 1))
        self.conv4 = nn.Conv2d(3, 3, 2, padding="valid")

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.conv1(x).relu()).relu()
        return self.conv4(self.conv3(x).relu())


def case(name: str) -> nets.Case:
    if name == "odd":
        return nets.Case(model=nets.fill(Odd()), inputs=nets.example(2, 2, 9, 8))
    return nets.case(name)


@pytest.mark.parametrize(
    "name",
    ["odd", "plain", "grouped", "residual", "dense", "flatten", "shuffle", "functional",
     "conv 1d 3d", "gated", "standardized", "attention"],
)  # fmt: skip
def test_gram_matrix_tells_the_error_of_masking_any_set_of_channels(name: str) -> None:
    net = case(name)
    graph = trace(net.model, net.inputs)
    found = points(graph)
    masks = [
        torch.rand(len(p.owned), generator=torch.Generator().manual_seed(3)) < 0.5 for p in found
    ]
    errors: list[Tensor] = []

    def read(reading: Reading) -> None:
        point = reading.point
        gone = point.owned[masks[len(errors)].numpy()]
        stays = torch.from_numpy(~np.isin(point.channels, gone))
        masked = reading.input * stays.reshape(-1, *[1] * (-point.dim - 1))
        function = getattr(nn.functional, point.function, getattr(torch, point.function, None))
        assert function is not None
        errors.append((reading.output - function(masked, *reading.args[1:])).square().sum())

    with ThiNet(positions=ALL).observe(graph, net.model) as sums:
        net.model(net.inputs)
    with watch(graph, net.model, found, read=read):
        net.model(net.inputs)

    for k, (mask, error) in enumerate(zip(masks, errors, strict=True)):
        gone = mask.double()
        torch.testing.assert_close(gone @ sums[str(k)] @ gone, error, rtol=1e-10, atol=1e-12)


def test_drawn_positions_estimate_the_gram_matrix_of_all() -> None:
    net = nets.case("plain")
    graph, images = trace(net.model, net.inputs), nets.example(300, 3, 8, 8)
    means = []
    for positions, count in ((6, 6), (ALL, 9)):  # conv2 has 3 x 3 outputs
        with ThiNet(positions=positions).observe(graph, net.model) as sums:
            net.model(images)
        means.append(sums["0"] / count)

    assert float((means[0] - means[1]).norm() / means[1].norm()) < 0.1


def sum_of_three(weights: list[float]) -> nn.Module:
    """Channels x0, x1 and x0 + x1 of inputs [N, 2], added with weights."""
    net = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(3, 1)).double()
    with torch.no_grad():
        net.get_parameter("0.weight").copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        net.get_parameter("1.weight").copy_(torch.tensor([weights]))
    return net


# The mean of x0^2 is 1, of x1^2 is 4, of x0 x1 is 0.
PAIRS = torch.tensor([[1.0, 2.0], [1.0, -2.0]], dtype=torch.float64)


def scores(name: str, weights: list[float]) -> FloatArray:
    graph = trace(sum_of_three(weights), PAIRS)
    return score(graph, name, batches=[(PAIRS,)]).by_group["0"]


def test_thinet_removes_next_what_cancels_what_is_gone() -> None:
    # Contributions x0, x1, -1.5 (x0 + x1) have squares 1, 4, 11.25. After x0, taking x1 leaves
    # x0 + x1 = 5, taking the third leaves -0.5 x0 - 1.5 x1: 9.25.
    np.testing.assert_array_equal(scores("thinet", [1.0, 1.0, -1.5]), [0, 1, 2])
    # With -0.9: after x0 (1), x1 leaves 5, the third 0.01 + 3.24.
    np.testing.assert_array_equal(scores("thinet", [1.0, 1.0, -0.9]), [0, 2, 1])


def test_thinet_removes_a_channel_without_weights_first() -> None:
    np.testing.assert_array_equal(scores("thinet", [1.0, 0.0, 1.0]), [1, 0, 2])


def test_thinet_chooses_what_recomputed_sums_choose() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 9)) + 0.3

    found = removal_places(rows.T @ rows)

    gone: list[int] = []
    while len(gone) < 9:
        left = [c for c in range(9) if c not in gone]
        gone.append(min(left, key=lambda c: float((rows[:, [*gone, c]].sum(1) ** 2).sum())))
    assert found[gone].tolist() == list(range(9))


def test_cp_of_orthogonal_contributions_is_their_share_of_the_square() -> None:
    # Y = x0 + 2 x1 has the square 1 + 16; each b stays > 0 up to its own correlation with Y.
    found = scores("cp-lasso", [1.0, 2.0, 0.0])

    np.testing.assert_allclose(found, [1 / 17, 16 / 17, 0], rtol=1e-12)


def test_cp_follows_the_lasso_at_every_penalty() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 5)) + 0.5
    rows[:, 4] = rows[:, 0] + rows[:, 1] + 0.1 * rows[:, 4]

    found = last_penalties(rows.T @ rows)

    path = np.geomspace(1e-2, 1, 120) * found.max() * 1.01
    for penalty in path[~(np.abs(np.log(path[:, None] / found)) < 0.05).any(axis=1)]:
        # sklearn halves the mean square.
        lasso = Lasso(alpha=penalty / 60, fit_intercept=False, tol=1e-10, max_iter=100_000)
        used = lasso.fit(rows, rows.sum(1)).coef_ != 0
        assert (used <= (penalty < found)).all()
        assert used.sum() >= (penalty < found).sum() - 1


def test_cp_gives_nothing_to_one_of_two_equal_channels() -> None:
    found = last_penalties(np.array([[2.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 1.0]]))

    assert sorted(found.tolist()) == [0.0, 1.0, 4.0]


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7])
def test_mean_damage_is_that_of_all_halves(count: int) -> None:
    rows = np.random.default_rng(count).normal(size=(9, count)) + 0.2

    found = mean_damage(rows.T @ rows)

    for c in range(count):
        halves = [h for h in combinations(range(count), max(1, count // 2)) if c in h]
        expected = np.mean([(rows[:, list(h)].sum(1) ** 2).sum() for h in halves])
        np.testing.assert_allclose(found[c], expected, rtol=1e-12)


def test_aofp_searches_the_half_that_does_least_damage() -> None:
    # Without overlaps the damage is the square: 9 and 16 are dropped first, then 4; 1 is left.
    found = search_places(np.diag([16.0, 1.0, 9.0, 4.0]))

    np.testing.assert_array_equal(found, [3, 0, 2, 1])


def test_aofp_judges_a_channel_by_the_halves_that_hold_it() -> None:
    # Pairs of 1, 1.2, -1.2, 4: the third cancels with the others (means 10.0, 10.6, 2.6, 20.0), so
    # it is searched on with the first, though the second is no larger than it.
    rows = np.array([[1.0, 1.2, -1.2, 4.0]])

    np.testing.assert_array_equal(search_places(rows.T @ rows), [0, 2, 1, 3])


def test_pfp_is_the_largest_share_of_a_positive_or_negative_sum() -> None:
    # Contributions of (1, 2): 1, -2, 3 of a sum 4 of positive ones; of (1, -2): 1, 2, -1 of 3.
    np.testing.assert_allclose(scores("pfp", [1.0, -1.0, 1.0]), [1 / 3, 1, 1], rtol=1e-12)
    # Of (1, 2): 1, 2, 6 of 9; of (1, -2): 1 alone, and -2, -2 of 4.
    np.testing.assert_allclose(scores("pfp", [1.0, 1.0, 2.0]), [1, 1 / 2, 6 / 9], rtol=1e-12)


def test_pfp_of_a_channel_without_weights_is_zero() -> None:
    np.testing.assert_allclose(scores("pfp", [0.0, 1.0, 0.0]), [0, 1, 0])


def test_pfp_averages_over_readers() -> None:
    net = nets.case("residual")
    graph = trace(net.model, net.inputs)

    found = score(graph, Pfp(positions=ALL), batches=[(net.inputs,)]).by_group["stem"]

    weights = dict(net.model.named_parameters())
    first = net.model.get_submodule("stem")(net.inputs).relu()
    last: list[Tensor] = []
    net.model.get_submodule("linear").register_forward_pre_hook(lambda _, x: last.append(x[0]))
    net.model(net.inputs)
    each = [
        [
            nn.functional.conv2d(first[:, [c]], weights["conv1.weight"][:, [c]], padding=1)
            for c in range(6)
        ],
        [last[0][:, c, None] * weights["linear.weight"][:, c] for c in range(6)],
    ]
    expected = torch.zeros(6, dtype=torch.float64)
    for contributed in map(torch.stack, each):
        sides = [contributed.relu(), (-contributed).relu()]
        shares = [(side / side.sum(0)).nan_to_num(0).flatten(1).amax(1) for side in sides]
        expected += torch.maximum(*shares) / 2
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-10)


def test_readers_count_relative_to_their_outputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter = nn.Linear(2, 2, bias=False)
            self.left, self.right = nn.Linear(2, 1), nn.Linear(2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.enter(x)
            return self.left(x) + self.right(x)

    net = Two().double()
    with torch.no_grad():
        net.enter.weight.copy_(torch.eye(2))
        net.left.weight.copy_(torch.tensor([[3.0, 1.0]]))
        net.right.weight.copy_(torch.tensor([[10.0, 10.0]]))

    found = score(trace(net, PAIRS), "cp-lasso", batches=[(PAIRS,)]).by_group["enter"]

    # Squares 9 and 4 of 13; 100 and 400 of 500.
    np.testing.assert_allclose(found, [9 / 13 + 100 / 500, 4 / 13 + 400 / 500], rtol=1e-12)


@pytest.mark.parametrize("name", ["thinet", "cp-lasso", "aofp", "pfp"])
def test_group_that_only_a_transposed_convolution_reads_is_refused(name: str) -> None:
    net = nets.case("transposed 2d")

    with pytest.raises(PruningError, match="group up1: no convolution or linear layer reads it"):
        score(trace(net.model, net.inputs), name, batches=[(net.inputs,)])


def test_product_with_a_batch_of_matrices_is_refused() -> None:
    class Batched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter = nn.Linear(3, 4)
            self.experts = nn.Parameter(torch.empty(2, 4, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.enter(x)[:, None] @ self.experts

    net, x = nets.fill(Batched()), nets.example(2, 5, 3)

    with pytest.raises(
        PruningError, match=r"shape \(2, 4, 3\); expected a matrix; .*'mean-activation'"
    ):
        score(trace(net, x), "thinet", batches=[(x,)])


@pytest.mark.parametrize("make", [ThiNet, CpLasso, Aofp, Pfp])
def test_no_positions_are_refused(make: type) -> None:
    with pytest.raises(
        ValueError, match=r"positions=0; expected how many an image to look at, >= 1"
    ):
        make(positions=0)


@pytest.mark.parametrize("name", ["thinet", "cp-lasso", "aofp", "pfp"])
def test_positions_depend_on_the_seed_alone(name: str) -> None:
    net = nets.case("residual")
    graph, images = trace(net.model, net.inputs), nets.example(5, 3, 8, 8)
    found = [
        score(graph, CRITERIA[name](positions=2).seeded(seed), batches=[(images,)]).by_group["stem"]
        for seed in (0, 1)
    ]

    again = score(graph, CRITERIA[name](positions=2), batches=[(images[:2],), (images[2:],)])

    np.testing.assert_allclose(again.by_group["stem"], found[0], rtol=1e-10)
    if name in ("cp-lasso", "pfp"):
        assert not np.allclose(found[0], found[1], rtol=1e-3)

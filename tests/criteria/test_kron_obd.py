"""Kron-OBD: by hand, against the dense Fisher information, and against the whole Kronecker product."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from sentei.criteria import score
from sentei.criteria.kron_obd import KronObd
from sentei.graph import trace
from tests.support import curved
from tests.support.curved import IMAGES, LABELS
from tests.support.nets import example, fill

ALL = 10_000


def test_three_channels_by_hand() -> None:
    # y = sum of a b x: what is read has mean square 5 a^2, and every gradient is 1.
    graph = trace(curved.product_net(), curved.NUMBERS)

    found = score(
        graph,
        "kron-obd",
        batches=[(curved.NUMBERS, torch.zeros(2))],
        loss=lambda outputs, _: outputs.mean(),
    ).by_group["0"]

    np.testing.assert_allclose(found, [5 * 3**2 / 2, 5 * (-2) ** 2 / 2, 0], rtol=1e-12)


def test_one_image_gives_the_dense_fisher_information_of_what_reads_a_channel() -> None:
    net = curved.curved_net()

    found = score(trace(net, IMAGES), "kron-obd", batches=[(IMAGES[:1], LABELS[:1])]).by_group["0"]

    flat = curved.flat(net)
    gradient = jacobian(partial(curved.flat_loss, net, IMAGES[:1], LABELS[:1]), flat)
    fisher = torch.outer(gradient, gradient)
    columns = [[9 + c, 12 + c] for c in range(3)]
    expected = [float(flat[own] @ fisher[own][:, own] @ flat[own]) / 2 for own in columns]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


class Reads(nn.Module):
    """Channels read by a convolution, an activation in place after it, and by a linear layer."""

    def __init__(self, conv_groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 1)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=conv_groups)
        self.linear = nn.Linear(6 * 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.silu(self.conv2(self.conv1(x).tanh()), inplace=True)
        return self.linear(x.flatten(1))


@pytest.mark.parametrize("conv_groups", [1, 2])
@pytest.mark.parametrize("size", [1, 5])
def test_scores_are_those_of_the_whole_kronecker_product(conv_groups: int, size: int) -> None:
    net = fill(Reads(conv_groups))
    images, labels = example(5, 2, 4, 6), torch.tensor([0, 1, 2, 1, 0])
    batches = list(zip(images.split(size), labels.split(size), strict=True))

    found = score(trace(net, images), KronObd(positions=ALL), batches=batches).by_group

    read = net.conv1(images).tanh()
    made = net.conv2(read)
    flat = nn.functional.silu(made).flatten(1)
    loss = nn.functional.cross_entropy(out := net.linear(flat), labels, reduction="sum")
    of_made, of_out = torch.autograd.grad(loss, [made, out])
    # The grouped convolution as a whole one: weights of other groups are 0, and share no factor.
    whole = torch.zeros(6, 4, 3, 3, dtype=torch.float64)
    same = torch.zeros(6, 6, dtype=torch.float64)
    for g in range(conv_groups):
        rows = slice(g * 6 // conv_groups, (g + 1) * 6 // conv_groups)
        columns = slice(g * 4 // conv_groups, (g + 1) * 4 // conv_groups)
        whole[rows, columns] = net.conv2.weight.detach()[rows]
        same[rows, rows] = 1
    patches = nn.functional.unfold(read, 3, padding=1, stride=2).detach()  # [5, 36, 6]
    inputs = torch.einsum("nit,njt->ij", patches, patches) / 5
    errors = torch.einsum("noxy,npxy->op", of_made, of_made) / (5 * 6) * same
    for c in range(4):
        own = torch.zeros_like(whole)
        own[:, c] = whole[:, c]
        expected = own.flatten() @ torch.kron(errors, inputs) @ own.flatten() / 2
        assert found["conv1"][c] == pytest.approx(float(expected), rel=1e-9)
    inputs, errors = flat.detach().T @ flat.detach() / 5, of_out.T @ of_out / 5
    for c in range(6):
        own = torch.zeros_like(net.linear.weight)
        own[:, 6 * c : 6 * c + 6] = net.linear.weight.detach()[:, 6 * c : 6 * c + 6]
        expected = own.flatten() @ torch.kron(errors, inputs) @ own.flatten() / 2
        assert found["conv2"][c] == pytest.approx(float(expected), rel=1e-9)


def test_positions_that_are_drawn_stand_for_all() -> None:
    # A constant image without padding looks the same from everywhere.
    net = fill(nn.Sequential(nn.Conv2d(2, 4, 1), nn.Tanh(), nn.Conv2d(4, 3, 3), nn.Flatten()))
    images = torch.ones(2, 2, 6, 6, dtype=torch.float64) * torch.tensor([1.0, -2.0])[:, None, None]
    batches = [(images, torch.tensor([0, 1]))]

    few, every = (
        score(trace(net, images), KronObd(positions=n), batches=batches).by_group["0"]
        for n in (2, ALL)
    )

    np.testing.assert_allclose(few, every, rtol=1e-9)


def test_no_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="positions=0; expected how many"):
        KronObd(positions=0)

"""Scores from the gradients of gates, by hand on a network of two linear layers.

Its loss for an image is the sum of the outputs, so the gradient at a hidden channel is the sum of
its column of SECOND: -4, 2, 2. The images (1, 0) and (0, 1) give hidden activations of
101, 100, 103 and 98, 100.5, 104.
"""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentei import score, trace
from sentei.cost import CostModel
from sentei.criteria import Criterion
from sentei.criteria.dcp import Dcp
from sentei.criteria.fisher import Fisher, GroupFisher
from sentei.criteria.taylor_activation import TaylorActivation
from sentei.errors import PruningError
from tests.support.nets import ResidualNet, example, fill
from tests.support.small import small_net

IMAGES = torch.eye(2, dtype=torch.float64)
GATES = np.array([[-404.0, 200.0, 206.0], [-392.0, 201.0, 208.0]])


def summed(outputs: Tensor, _labels: Tensor) -> Tensor:
    return outputs.sum(1).mean()


def hidden(criterion: Criterion, batches: list[Tensor]) -> list[float]:
    graph = trace(small_net(), IMAGES)
    pairs = [(images, torch.zeros(len(images))) for images in batches]
    return list(score(graph, criterion, batches=pairs, loss=summed).by_group["0"])


@pytest.mark.parametrize("size", [1, 2])
def test_fisher_halves_the_mean_square_of_images_whatever_the_batches(size: int) -> None:
    found = hidden(Fisher(), list(IMAGES.split(size)))

    assert found == pytest.approx(((GATES**2).mean(0) / 2).tolist(), rel=1e-12)


@pytest.mark.parametrize(
    # A hidden channel has 2 weights before it and 2 behind, and one activation of 8 bytes.
    ("saving", "saved"),
    [("macs", 4.0), ("memory", 8.0)],
)
def test_group_fisher_divides_by_what_a_channel_saves(saving: str, saved: float) -> None:
    found = hidden(GroupFisher(saving=saving), [IMAGES])  # type: ignore[arg-type]

    assert found == pytest.approx(((GATES**2).mean(0) / 2 / saved).tolist(), rel=1e-12)


@pytest.mark.parametrize("size", [1, 2])
def test_taylor_on_activations_averages_sizes_and_divides_by_the_norm(size: int) -> None:
    found = hidden(TaylorActivation(), list(IMAGES.split(size)))

    means = np.abs(GATES).mean(0)
    assert found == pytest.approx((means / np.linalg.norm(means)).tolist(), rel=1e-12)


@pytest.mark.parametrize("criterion", [Fisher(), GroupFisher(), TaylorActivation()])
def test_a_channel_that_changes_no_loss_scores_zero(criterion: Criterion) -> None:
    model = small_net()
    with torch.no_grad():
        model.get_parameter("1.weight")[:, 1] = 0.0

    pairs = [(IMAGES, torch.zeros(2))]
    found = score(trace(model, IMAGES), criterion, batches=pairs, loss=summed).by_group["0"]

    assert found[1] == 0.0
    assert found[0] > 0.0 < found[2]


def test_every_group_is_divided_by_its_own_saving() -> None:
    model = fill(ResidualNet())
    graph = trace(model, example(1, 3, 8, 8))
    images, labels = example(3, 3, 8, 8), torch.arange(3) % 4

    found = score(graph, GroupFisher(saving="macs"), batches=[(images, labels)])

    raw = score(graph, Fisher(), batches=[(images, labels)])
    saved = CostModel.of(graph).group_saving("macs", graph.widths)
    for group, own in zip(graph.groups, saved, strict=True):
        np.testing.assert_allclose(
            found.by_group[group.name] * own, raw.by_group[group.name], rtol=1e-12
        )


def test_an_unknown_saving_is_refused() -> None:
    with pytest.raises(ValueError, match="saving='time'; expected one of memory, macs"):
        GroupFisher(saving="time")  # type: ignore[arg-type]


@pytest.mark.parametrize("criterion", [Fisher(), GroupFisher(), TaylorActivation()])
def test_labels_are_asked_for(criterion: Criterion) -> None:
    with pytest.raises(PruningError, match="needs labelled images"):
        score(trace(small_net(), IMAGES), criterion)


class _Unread(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu().mean((1, 2, 3))[:, None].expand(-1, 2)


@pytest.mark.parametrize("criterion", [Fisher(), GroupFisher(), TaylorActivation(), Dcp()])
def test_a_group_that_nothing_reads_is_named_with_a_criterion_that_works(
    criterion: Criterion,
) -> None:
    graph = trace(_Unread().double(), example(2, 3, 8, 8))
    pairs = [(example(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64))]

    with pytest.raises(PruningError, match=r"group conv.*score with 'taylor'"):
        score(graph, criterion, batches=pairs)

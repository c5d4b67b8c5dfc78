"""What `auto` takes, and that the result says so."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentei import score, trace
from sentei.criteria.auto import Auto
from tests.support.nets import ResidualNet, example, fill

IMAGES = example(4, 3, 8, 8)
CLASSES = torch.arange(4)


class _Attention(nn.Module):
    """Queries and keys meet each other, and no weight."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(3, 4), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return (self.query(x) @ self.key(x).transpose(1, 2)).flatten(1)


@pytest.mark.parametrize("criterion", ["auto", Auto()])
def test_images_with_classes_are_used(criterion: str | Auto) -> None:
    graph = trace(fill(ResidualNet()), IMAGES)

    found = score(graph, criterion, batches=[(IMAGES, CLASSES)])

    expected = score(graph, "fisher", batches=[(IMAGES, CLASSES)])
    assert found.criterion == "fisher"
    assert found.comparable
    for name, scores in expected.by_group.items():
        np.testing.assert_array_equal(found.by_group[name], scores)


@pytest.mark.parametrize(
    "batches",
    [
        None,
        [(IMAGES,)],
        [(IMAGES, torch.rand(4))],
        [(IMAGES, torch.zeros(4, 8, 8, dtype=torch.int64))],
        [(IMAGES, {"boxes": IMAGES})],
    ],
    ids=["no data", "no labels", "numbers", "maps of classes", "boxes"],
)
def test_anything_else_leaves_the_weights(batches: list[tuple[Tensor, ...]] | None) -> None:
    graph = trace(fill(ResidualNet()), IMAGES)

    found = score(graph, "auto", batches=batches)

    expected = score(graph, "l1")
    assert found.criterion == "l1"
    for name, scores in expected.by_group.items():
        np.testing.assert_array_equal(found.by_group[name], scores)


def test_a_group_that_no_layer_reads_leaves_the_weights() -> None:
    tokens = example(4, 5, 3)

    found = score(trace(fill(_Attention()), tokens), "auto", batches=[(tokens, CLASSES)])

    assert found.criterion == "l1"


def test_other_batches_are_taken_to_have_classes() -> None:
    graph = trace(fill(ResidualNet()), IMAGES)

    found = score(graph, "auto", batches=iter([(IMAGES, CLASSES)]))

    assert found.criterion == "fisher"

"""Score: what it checks, and criteria that watch images."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentei.criteria import Criterion, Evidence, Needs, Source, score
from sentei.criteria.base import FloatArray
from sentei.criteria.magnitude import Magnitude
from sentei.criteria.watch import mean_over_points, sum_over_images
from sentei.errors import DataError, PruningError, UnknownNameError
from sentei.graph import Graph, trace
from sentei.graph.points import points
from tests.support.nets import PlainNet, example, fill


def plain_graph() -> Graph:
    return trace(fill(PlainNet()), example(1, 3, 8, 8))


@dataclass(frozen=True, kw_only=True)
class MeanActivation(Criterion):
    """Mean output of one module, as an example of a criterion that watches images."""

    source: ClassVar[Source] = Source(paper="baseline")
    needs: ClassVar[Needs] = Needs.IMAGES
    module: str = "conv1"

    @contextmanager
    def observe(
        self,
        graph: Graph,  # noqa: ARG002  (one module is enough here)
        model: nn.Module,
    ) -> Iterator[Mapping[str, Tensor]]:
        sums = {"mean": torch.zeros((), dtype=torch.float64)}

        def add(module: nn.Module, args: object, output: Tensor) -> None:
            sums["mean"] = sums["mean"] + output.mean((2, 3)).sum(0)

        handle = model.get_submodule(self.module).register_forward_hook(add)
        yield sums
        handle.remove()

    def score(self, evidence: Evidence) -> FloatArray:
        values = np.zeros(evidence.graph.num_channels)
        means = evidence.sums["mean"].numpy() / evidence.num_images
        values[: len(means)] = means
        return values


def test_criterion_can_add_up_over_images_without_labels() -> None:
    graph, images = plain_graph(), example(7, 3, 8, 8)
    model = graph.model

    found = score(graph, MeanActivation(), batches=[(images[:2],), (images[2:],)])

    conv = model.get_submodule("conv1")
    expected = conv(images).mean((0, 2, 3)).detach()
    np.testing.assert_allclose(found.by_group["conv1"], expected, rtol=1e-10)
    assert not conv._forward_hooks


def test_criterion_is_named_by_its_fields() -> None:
    found = score(plain_graph(), Magnitude(p=2, reduction="max"))

    assert found.criterion == "Magnitude(p=2, reduction='max')"


def test_another_model_of_the_same_shapes_can_be_scored() -> None:
    graph, other = plain_graph(), fill(PlainNet(), seed=5)

    found = score(graph, "l1", model=other)

    expected = score(trace(other, example(1, 3, 8, 8)), "l1")
    np.testing.assert_array_equal(found.by_group["conv2"], expected.by_group["conv2"])


def test_model_of_other_shapes_is_refused() -> None:
    with pytest.raises(PruningError, match=r"conv1.weight: .* has shape \(5, 3, 3, 3\)"):
        score(plain_graph(), "l1", model=PlainNet(first=5))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_parameters_that_are_not_finite_are_named_and_counted(value: float) -> None:
    graph = plain_graph()
    with torch.no_grad():
        graph.model.get_parameter("conv2.weight")[0, :2, 0, 0] = value

    with pytest.raises(PruningError, match=r"conv2\.weight: 2 of 432 elements are NaN or infinite"):
        score(graph, "random")


def test_finite_parameters_whose_sum_overflows_are_accepted() -> None:
    model = PlainNet().half()
    with torch.no_grad():
        model.conv1.weight.fill_(60000.0)
    graph = trace(model, torch.zeros(1, 3, 8, 8, dtype=torch.float16))

    assert score(graph, "l1").by_group["conv1"][0] > 60000 * 27 / 3


def test_scores_that_are_not_finite_are_refused() -> None:
    graph = plain_graph()
    with torch.no_grad():
        graph.model.get_parameter("conv1.weight")[3] = 1e200

    with pytest.raises(PruningError, match="group conv1: criterion 'l2' gives 1 of 6 channels"):
        score(graph, "l2")


def test_unknown_criterion_is_answered() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'taylor'"):
        score(plain_graph(), "talyor")


def test_no_images_are_refused() -> None:
    with pytest.raises(DataError, match="no images to score with"):
        score(plain_graph(), "taylor", batches=[])


@pytest.mark.parametrize("labels", [(), (None,)])
def test_missing_labels_are_refused_and_criteria_named_that_need_none(
    labels: tuple[None, ...],
) -> None:
    batch: Any = (example(2, 3, 8, 8), *labels)
    with pytest.raises(DataError, match=r"images without labels.*score with 'thinet' or 'chip'"):
        score(plain_graph(), "taylor", batches=[batch])

    assert score(plain_graph(), "thinet", batches=[batch]).by_group


def test_criterion_that_watches_needs_batches() -> None:
    with pytest.raises(PruningError, match="needs images; pass batches"):
        score(plain_graph(), MeanActivation())


def nan_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    return outputs.sum() * float("nan")


def loss_per_image(outputs: Tensor, labels: Tensor) -> Tensor:
    return outputs.sum(1)


@pytest.mark.parametrize(
    ("loss", "found"), [(nan_loss, "nan"), (loss_per_image, r"of shape \(2,\)")]
)
def test_loss_that_is_no_finite_number_is_refused(loss: object, found: str) -> None:
    batches = [(example(2, 3, 8, 8), torch.zeros(2))]

    with pytest.raises(PruningError, match=f"the loss of a batch is {found}"):
        score(plain_graph(), "taylor", batches=batches, loss=loss)  # type: ignore[arg-type]


def test_buffers_that_forward_changes_are_given_back() -> None:
    class Counting(PlainNet):
        def __init__(self) -> None:
            super().__init__()
            self.count: Tensor
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            return super().forward(x)

    model = fill(Counting())
    graph = trace(model, example(1, 3, 8, 8))
    before = model.count.item()

    score(graph, "taylor", batches=[(example(2, 3, 8, 8), torch.tensor([0, 1]))])

    assert model.count.item() == before


def test_model_is_given_back_when_the_loss_fails() -> None:
    graph = plain_graph()
    graph.model.train()
    batches = [(example(2, 3, 8, 8), torch.zeros(2))]

    with pytest.raises(PruningError):
        score(graph, "taylor", batches=batches, loss=nan_loss)

    assert graph.model.training


@dataclass(frozen=True, kw_only=True)
class FirstPoint(Criterion):
    """Mean square of what the first reader sees, as an example of a criterion on activations."""

    source: ClassVar[Source] = Source(paper="baseline")
    needs: ClassVar[Needs] = Needs.ACTIVATIONS

    def observe(
        self, graph: Graph, model: nn.Module
    ) -> AbstractContextManager[Mapping[str, Tensor]]:
        return sum_over_images(graph, model, points(graph), lambda r: r.rows.square().mean(2))

    def score(self, evidence: Evidence) -> FloatArray:
        return mean_over_points(evidence, points(evidence.graph), "nothing reads it")


def test_graph_of_train_mode_is_watched_in_evaluation_mode() -> None:
    graph = plain_graph()
    images = [(example(4, 3, 8, 8),)]
    expected = score(graph, FirstPoint(), batches=images)

    found = score(trace(graph.model.train(), example(2, 3, 8, 8)), FirstPoint(), batches=images)

    for name, values in expected.by_group.items():
        np.testing.assert_array_equal(found.by_group[name], values)


def test_groups_that_only_train_mode_has_are_refused() -> None:
    class Auxiliary(PlainNet):
        def __init__(self) -> None:
            super().__init__()
            self.aux = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Conv2d(5, 1, 8))

        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            return out + self.aux(x).flatten(1) if self.training else out

    graph = trace(fill(Auxiliary()).train(), example(2, 3, 8, 8))

    with pytest.raises(PruningError, match="has 3 groups of channels in train mode"):
        score(graph, FirstPoint(), batches=[(example(4, 3, 8, 8),)])

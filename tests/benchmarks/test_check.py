"""The zoo's check passes what is right and catches what is wrong."""

from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.zoolib.build import build, randomize
from benchmarks.zoolib.check import (
    SilentError,
    check,
    compare,
    frozen_share,
    random_plan,
    trains,
    transferred,
)
from benchmarks.zoolib.detectors import _nms
from benchmarks.zoolib.segment import build_segmenter
from sentei.graph import trace
from sentei.surgery import apply


def small_network() -> nn.Module:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5)
    )
    randomize(network)
    return network.eval()


def test_a_network_with_every_norm_passes() -> None:
    record = check("own:every-norm")
    assert (record["ok"], record["silent"]) == (True, False)


def test_half_of_every_group_is_removed() -> None:
    graph = trace(small_network(), torch.zeros(1, 3, 6, 6))
    assert random_plan(graph).widths.tolist() == [4]


def test_a_wrongly_sliced_network_is_a_silent_error() -> None:
    model, inputs = small_network(), (torch.randn(2, 3, 6, 6),)
    plan = random_plan(trace(model, inputs))
    small: Any = apply(plan, model)
    with torch.no_grad():
        small[0].weight[[0, 1]] = small[0].weight[[1, 0]]
    with pytest.raises(SilentError, match="differs from the masked original"):
        compare(model, small, plan, inputs)


def test_a_network_that_cannot_be_built_is_a_failure_with_its_reason() -> None:
    record = check("segment:cone-resnet18")
    assert (record["ok"], record["stage"]) == (False, "build")
    assert "no decoder 'cone'; there are unet, fpn, deeplab" in record["reason"]


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(ValueError, match="no source 'hub' in 'hub:x'; there are own, yolo"):
        build("hub:x")


def test_an_unknown_decoder_is_named() -> None:
    with pytest.raises(ValueError, match="no decoder 'cone'; there are unet"):
        build_segmenter("cone", "resnet18")


def test_building_leaves_the_random_state_as_it_was() -> None:
    before = torch.random.get_rng_state()
    build("own:every-norm")
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("convmixer_768_32", "images of 112 x 112 pixels, its own have 224 x 224"),
        ("resnet10t", ""),
    ],
)
def test_images_smaller_than_the_networks_own_are_noted(name: str, note: str) -> None:
    assert build(f"timm:any/{name}").note == note


def test_reasons_of_one_side_and_of_both_count_together() -> None:
    graph = trace(small_network(), torch.zeros(1, 3, 6, 6), protect=["0"])

    reasons = dict(frozen_share(graph)["reasons"])

    total = sum(p.numel() for p in graph.model.parameters())
    # The convolution on both sides, its bias and norm as outputs, the linear layer's inputs.
    assert reasons["0 is protected by the user"] == round((8 * 27 + 8 + 16 + 640) / total, 4)


def test_nothing_is_constant_after_randomising() -> None:
    network = small_network()
    assert all(bool(p.unique().numel() > 1) for p in network.parameters())
    parts: Any = network
    norm = parts[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_mean.unique().numel() == 8


class NotFinite(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * torch.nan


def test_a_training_step_with_infinite_gradients_is_refused() -> None:
    with pytest.raises(ValueError, match="a gradient is not finite"):
        trains(NotFinite(2, 2), (torch.ones(1, 2),))


def test_what_no_group_owns_is_frozen() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    share = frozen_share(trace(network, torch.zeros(1, 4)))
    # Only the last bias (2 of 12 + 3 + 6 + 2 parameters) has no removable dimension.
    assert share["frozen"] == pytest.approx(2 / 23, abs=1e-4)


def test_a_plan_moves_to_a_model_that_holds_the_planned_one() -> None:
    inner = small_network()
    x = torch.zeros(1, 3, 6, 6)
    plan = random_plan(trace(inner, x))
    moved = transferred(plan, trace(Holder(inner), x), prefix="inner.")
    assert [*moved.removed.values()] == [*plan.removed.values()]


class Holder(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def test_suppression_keeps_the_best_of_boxes_that_overlap() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]])
    # The first two share 90 of 110 square pixels: 0.82.
    assert _nms(boxes, torch.tensor([0.3, 0.9, 0.5]), 0.7).tolist() == [1, 2]
    assert _nms(boxes, torch.tensor([0.3, 0.9, 0.5]), 0.9).tolist() == [1, 2, 0]

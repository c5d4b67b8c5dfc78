"""Scores of the last features and how they are handed back."""

from typing import cast

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from sentei.criteria import score
from sentei.criteria.base import FloatArray
from sentei.criteria.nisp import Nisp, infinite_feature_selection
from sentei.errors import PruningError
from sentei.graph import trace
from tests.support import nets
from tests.support.compare import tensors


def features_of(model: nn.Module, images: Tensor, reader: str) -> FloatArray:
    seen: list[Tensor] = []
    handle = model.get_submodule(reader).register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    model(images)
    handle.remove()
    return cast("FloatArray", seen[0].detach().numpy())


def scores_of(model: nn.Module, images: Tensor) -> dict[str, FloatArray]:
    return dict(score(trace(model, images), "nisp", batches=[(images,)]).by_group)


def weights(model: nn.Module) -> dict[str, FloatArray]:
    return {name: t.detach().abs().numpy() for name, t in tensors(model).items()}


def test_ranking_adds_up_paths_of_all_lengths() -> None:
    features = nets.example(20, 4).numpy()
    features[:, 1] = features[:, 0] ** 3

    found = infinite_feature_selection(features, alpha=0.3)

    spread = features.std(axis=0) / features.std(axis=0).max()
    costs = np.empty((4, 4))
    for i in range(4):
        for j in range(4):
            alike = abs(spearmanr(features[:, i], features[:, j]).statistic)
            costs[i, j] = 0.3 * max(spread[i], spread[j]) + 0.7 * (1 - alike)
    step = costs * 0.9 / np.linalg.eigvals(costs).real.max()
    paths, expected = np.ones(4), np.zeros(4)
    for _ in range(400):
        paths = step @ paths
        expected += paths
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_features_that_never_vary_are_alike_but_finite() -> None:
    found = infinite_feature_selection(np.ones((3, 2)), alpha=0.5)

    np.testing.assert_allclose(found, [9, 9])  # 0.9 + 0.81 + ...


def test_linear_layers_hand_back_by_absolute_weights() -> None:
    model = nets.fill(
        nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    )
    images = nets.example(9, 2)

    found = scores_of(model, images)

    last = infinite_feature_selection(features_of(model, images, "4"), alpha=0.5)
    np.testing.assert_allclose(found["2"], last, rtol=1e-10)
    np.testing.assert_allclose(found["0"], last @ weights(model)["2.weight"], rtol=1e-10)


def test_convolutions_and_batch_norms_hand_back_sums_over_pixels() -> None:
    model, images = nets.fill(nets.PlainNet()), nets.example(9, 3, 8, 8)

    found = scores_of(model, images)

    last = infinite_feature_selection(features_of(model, images, "linear"), alpha=0.5)
    own = weights(model)
    # The second convolution has no padding: every output takes every element of the kernel once.
    after = last * own["bn2.weight"] / np.sqrt(own["bn2.running_var"] + 1e-5)
    np.testing.assert_allclose(found["conv2"], last, rtol=1e-10)
    np.testing.assert_allclose(found["conv1"], after @ own["conv2.weight"].sum((2, 3)), rtol=1e-10)


class Stream(nn.Module):
    """A residual stream with a norm and a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.gate, self.head = nn.Linear(2, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.norm, self.up, self.down = nn.LayerNorm(4), nn.Linear(4, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        x = x + self.down(nn.functional.gelu(self.up(self.norm(x))))
        return self.head(x * torch.sigmoid(self.gate(x)))


def test_branches_norms_and_gates_add_up() -> None:
    model, images = nets.fill(Stream()), nets.example(9, 2)

    found = scores_of(model, images)

    last = infinite_feature_selection(features_of(model, images, "head"), alpha=0.5)
    own = weights(model)
    gate = last @ own["gate.weight"]
    hidden = (last + gate) @ own["down.weight"]
    # What "up" reads comes after the norm's scale: the channel is read there.
    np.testing.assert_allclose(found["up"], hidden, rtol=1e-10)
    np.testing.assert_allclose(found["enter"], last + gate + hidden @ own["up.weight"], rtol=1e-10)


def test_flattened_maps_hand_back_to_their_channels() -> None:
    class Flattened(nets.FlattenNet):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(super().forward(x))

    model, images = nets.fill(Flattened()), nets.example(9, 3, 3, 3)

    found = scores_of(model, images)

    last = infinite_feature_selection(features_of(model, images, "last"), alpha=0.5)
    expected = (last @ weights(model)["linear.weight"]).reshape(5, 4).sum(1)
    np.testing.assert_allclose(found["conv"], expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["group norm 2", "instance norm", "instance norm with statistics"])
def test_norms_that_depend_on_the_image_hand_back_by_their_scale(name: str) -> None:
    net = nets.case(name)
    model = nn.Sequential(net.model, nn.ReLU(), nn.Conv2d(4, 2, 1)).double()
    images = nets.example(9, 3, 5, 5)

    found = scores_of(model, images)

    assert set(found) == {"0.conv1", "0.conv2"}
    assert all((v > 0).all() for v in found.values())


def test_branch_that_a_scale_of_zero_silences_scores_zero() -> None:
    net = nets.case("residual")
    model, images = net.model, nets.example(9, 3, 8, 8)
    with torch.no_grad():
        tensors(model)["bn2.weight"].zero_()

    found = scores_of(model, images)

    assert (found["conv1"] == 0).all()
    assert (found["stem"] > 0).all()


def test_scores_of_a_deep_float32_network_stay_finite() -> None:
    model = nn.Sequential(*[nn.Linear(30, 30) for _ in range(80)])
    nets.fill(model).float()
    images = nets.example(5, 30).float()
    with torch.no_grad():
        for layer in model:
            layer.weight.div_(2)  # type: ignore[operator]

    found = scores_of(model, images)

    # In each of 80 layers 30 weights multiply scores by more than 3: beyond float32.
    assert found["0"].min() > 1e39


def test_attention_is_refused_by_line() -> None:
    net = nets.case("sdpa")

    with pytest.raises(PruningError, match=r"nets\.py:\d+\): scaled_dot_product_attention mixes"):
        score(trace(net.model, net.inputs), "nisp", batches=[(net.inputs,)])


def test_one_image_is_refused() -> None:
    net = nets.case("plain")

    with pytest.raises(
        PruningError, match=r"one image does not tell .* 'hrank', which works on one"
    ):
        score(trace(net.model, net.inputs), "nisp", batches=[(net.inputs[:1],)])


def test_group_that_does_not_lead_to_the_last_layer_is_refused() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
            self.right = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.left(x), self.right(x)

    images = nets.example(5, 2)

    with pytest.raises(PruningError, match=r"group left\.0: it does not lead to the last layer"):
        score(trace(nets.fill(Heads()), images), "nisp", batches=[(images,)])


def test_alpha_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha=1.5; expected a weight in \[0, 1\]"):
        Nisp(alpha=1.5)

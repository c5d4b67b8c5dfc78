"""The sizes that torch's layers state, against layers built with them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sentei.surgery.sizes import state_sizes

PAIRS: dict[str, tuple[nn.Module, nn.Module]] = {
    "linear": (nn.Linear(6, 4), nn.Linear(5, 3)),
    "bilinear": (nn.Bilinear(6, 5, 4), nn.Bilinear(5, 4, 3)),
    "conv": (nn.Conv2d(6, 4, 3), nn.Conv2d(5, 3, 3)),
    "grouped conv": (nn.Conv2d(6, 4, 3, groups=2), nn.Conv2d(4, 2, 3, groups=2)),
    "transposed conv": (nn.ConvTranspose1d(6, 4, 3), nn.ConvTranspose1d(5, 3, 3)),
    "grouped transposed conv": (
        nn.ConvTranspose2d(6, 4, 3, groups=2),
        nn.ConvTranspose2d(4, 2, 3, groups=2),
    ),
    "batch norm": (nn.BatchNorm2d(6), nn.BatchNorm2d(5)),
    "batch norm without a scale": (
        nn.BatchNorm1d(6, affine=False),
        nn.BatchNorm1d(5, affine=False),
    ),
    "instance norm": (nn.InstanceNorm2d(6, affine=True), nn.InstanceNorm2d(5, affine=True)),
    "layer norm": (nn.LayerNorm(6), nn.LayerNorm(5)),
    "RMS norm": (nn.RMSNorm(6), nn.RMSNorm(5)),
    "group norm": (nn.GroupNorm(2, 6), nn.GroupNorm(2, 4)),
    "embedding": (nn.Embedding(6, 4), nn.Embedding(6, 3)),
    "embedding bag": (nn.EmbeddingBag(6, 4), nn.EmbeddingBag(6, 3)),
    "PReLU": (nn.PReLU(6), nn.PReLU(5)),
}


def stated(module: nn.Module) -> dict[str, Any]:
    return {k: v for k, v in vars(module).items() if isinstance(v, int | tuple)}


@pytest.mark.parametrize("name", PAIRS)
def test_a_layer_with_the_tensors_of_another_states_its_sizes(name: str) -> None:
    layer, other = PAIRS[name]
    values: dict[str, Tensor] = {**dict(other.named_parameters()), **dict(other.named_buffers())}
    for key in (*layer._parameters, *layer._buffers):
        if key in values:
            getattr(layer, key).data = values[key].detach()
    assert stated(layer) != stated(other)

    state_sizes(layer.modules())

    assert stated(layer) == stated(other)


def test_keys_and_values_of_an_attention_are_as_wide_as_its_queries() -> None:
    attention = nn.MultiheadAttention(8, 2)
    attention.embed_dim = 4

    state_sizes(attention.modules())

    assert (attention.kdim, attention.vdim) == (4, 4)


@pytest.mark.parametrize(
    "layer",
    [nn.LazyLinear(3), nn.LayerNorm(4, elementwise_affine=False), nn.InstanceNorm1d(3)],
    ids=repr,
)
def test_layers_without_a_weight_are_left_alone(layer: nn.Module) -> None:
    before = stated(layer)

    state_sizes([layer, nn.ReLU(), nn.ParameterList([torch.ones(2)])])

    assert stated(layer) == before

"""Merging: weights that read a removed channel are added to those of one like it."""

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from sentei.compensate import Removal
from sentei.compensate.merge import Merge
from sentei.errors import PruningError
from sentei.graph import trace
from sentei.surgery import apply, plan_removal
from tests.support import nets


def merged(
    model: nn.Module, x: Tensor, removed: Mapping[str, Sequence[int]], method: Merge | None = None
) -> nn.Module:
    plan = plan_removal(trace(model, x), removed)
    small = apply(plan, model)
    (method or Merge()).compensate(small, Removal(model=model, plan=plan))
    return small


@torch.no_grad()
def make_multiple(model: nn.Module, conv: str, norm: str, one: int, other: int) -> float:
    """Make filter ``one`` 3 times ``other``, and its norm such that the outputs are multiples too.

    Returns:
        How many times as large they are.
    """
    model.get_parameter(f"{conv}.weight")[one] = 3 * model.get_parameter(f"{conv}.weight")[other]
    scale, shift = (model.get_parameter(f"{norm}.{k}") for k in ("weight", "bias"))
    mean, variance = (model.get_buffer(f"{norm}.running_{k}") for k in ("mean", "var"))
    scale[one], scale[other] = 0.8, 0.5
    sigma = (variance + 1e-5).sqrt()
    # 3 gamma_i sigma_j / (gamma_j sigma_i)
    factor = float(3 * (0.8 / 0.5) * sigma[other] / sigma[one])
    own = dict(model.named_parameters()).get(f"{conv}.bias", torch.zeros_like(shift))
    constant = shift + scale * (own - mean) / sigma
    shift[one] += factor * constant[other] - constant[one]
    return factor


def test_a_positive_multiple_behind_a_norm_and_a_relu_merges_without_loss() -> None:
    net = nets.case("plain")
    factor = make_multiple(net.model, "conv1", "bn1", 1, 4)
    make_multiple(net.model, "conv2", "bn2", 6, 0)

    small = merged(net.model, net.inputs, {"conv1": [1], "conv2": [6]})

    torch.testing.assert_close(small(net.inputs), net.model(net.inputs), rtol=1e-10, atol=1e-12)
    old, new = (m.get_parameter("conv2.weight") for m in (net.model, small))
    expected = old[:, 4] + factor * old[:, 1]  # channel 4 is the fourth of those that stay
    torch.testing.assert_close(new[:, 3], expected[[0, 1, 2, 3, 4, 5, 7]], rtol=1e-10, atol=1e-12)


def test_two_multiples_join_the_same_channel() -> None:
    net = nets.case("plain")
    make_multiple(net.model, "conv1", "bn1", 1, 4)
    make_multiple(net.model, "conv1", "bn1", 5, 4)

    small = merged(net.model, net.inputs, {"conv1": [1, 5]})

    # The norm's scale of channel 4 is set to the same number twice, so both stay multiples.
    torch.testing.assert_close(small(net.inputs), net.model(net.inputs), rtol=1e-10, atol=1e-12)


def test_channels_of_a_residual_stream_merge_where_all_that_makes_them_are_multiples() -> None:
    net = nets.case("residual")
    with torch.no_grad():
        for name in ("stem.weight", "stem.bias"):
            parameter = net.model.get_parameter(name)
            parameter[2] = 2 * parameter[5]
        for name in ("conv2.weight",):
            parameter = net.model.get_parameter(name)
            parameter[2] = parameter[5]
        for name in ("running_mean", "running_var"):
            buffer = net.model.get_buffer(f"bn2.{name}")
            buffer[2] = buffer[5]
        for name in ("bn2.weight", "bn2.bias"):
            parameter = net.model.get_parameter(name)
            parameter[2] = 2 * parameter[5]

    small = merged(net.model, net.inputs, {"stem": [2]})

    torch.testing.assert_close(small(net.inputs), net.model(net.inputs), rtol=1e-10, atol=1e-12)


def test_pixels_of_a_flattened_channel_join_those_of_the_other() -> None:
    model = nets.fill(nn.Sequential(nn.Conv2d(3, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(20, 4)))
    with torch.no_grad():
        for name in ("0.weight", "0.bias"):
            model.get_parameter(name)[0] = 0.5 * model.get_parameter(name)[3]
    x = nets.example(4, 3, 3, 3)

    small = merged(model, x, {"0": [0]})

    torch.testing.assert_close(small(x), model(x), rtol=1e-10, atol=1e-12)


def linear(least_cosine: float = 0.1, cosine_weight: float = 1.0) -> Tensor:
    """Channels (1, 0), (1, 0.1), (0, 1) and (1, 1): the last goes. Return the merged weight."""
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    with torch.no_grad():
        first, last = model.get_parameter("0.weight"), model.get_parameter("2.weight")
        first.copy_(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 1.0]]))
        model.get_parameter("0.bias").copy_(torch.tensor([0.0, -5.0, 0.0, 0.0]))
        last.copy_(torch.tensor([[10.0, 20.0, 30.0, 1.0]]))
    method = Merge(least_cosine=least_cosine, cosine_weight=cosine_weight)
    return merged(model, nets.example(2, 2), {"0": [3]}, method).get_parameter("2.weight")[0]


def test_the_most_similar_channel_takes_over_by_the_projection() -> None:
    # (1, 1) on (1, 0.1): 1.1 / 1.01.
    assert linear().tolist() == pytest.approx([10, 20 + 1.1 / 1.01, 30], rel=1e-6)


def test_a_constant_that_does_not_fit_counts_against_a_channel() -> None:
    # The second one has a bias of -5: the first, of cosine 0.71, is left with no difference.
    assert linear(cosine_weight=0.5).tolist() == pytest.approx([11, 20, 30], rel=1e-6)


def test_channels_that_are_not_alike_do_not_merge() -> None:
    assert linear(least_cosine=0.8).tolist() == [10, 20, 30]


def test_groups_behind_other_activations_stay_while_others_merge() -> None:
    layers = [nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)]
    model = nets.fill(nn.Sequential(*layers))
    x = nets.example(2, 3)
    with torch.no_grad():
        for layer in ("0", "2"):
            weight = model.get_parameter(f"{layer}.weight")
            weight[1] = 2 * weight[2] + 0.1

    small = merged(model, x, {"0": [1], "2": [1]})

    cut = apply(plan_removal(trace(model, x), {"0": [1], "2": [1]}), model)
    assert torch.equal(small.get_parameter("2.weight"), cut.get_parameter("2.weight"))
    assert not torch.equal(small.get_parameter("4.weight"), cut.get_parameter("4.weight"))


@pytest.mark.parametrize("case", ["depthwise", "layer norm", "gated"])
def test_a_network_in_which_nothing_merges_is_an_error(case: str) -> None:
    net = nets.case(case)
    group = trace(net.model, net.inputs).groups[0].name

    with pytest.raises(PruningError, match=r"'merge': in no group .*'least-squares'"):
        merged(net.model, net.inputs, {group: [1]})


@pytest.mark.parametrize("field", ["least_cosine", "cosine_weight"])
def test_fields_out_of_range_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=rf"{field}=1\.5; expected a number in \[0, 1\]"):
        Merge(**{field: 1.5})

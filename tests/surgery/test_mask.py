"""The masked network against arithmetic written out, and what it refuses."""

import pytest
import torch
from torch import Tensor, nn

from sentei.errors import TraceError
from sentei.graph import trace
from sentei.surgery import mask, plan_removal
from tests.support import nets
from tests.support.compare import tensors


def test_masked_network_equals_one_with_zero_weights() -> None:
    case = nets.case("residual")
    masked = mask(plan_removal(trace(case.model, case.inputs), {"conv1": [0, 3]}), case.model)
    zeroed = nets.case("residual").model
    with torch.no_grad():
        tensors(zeroed)["conv2.weight"][:, [0, 3]] = 0

    torch.testing.assert_close(masked(case.inputs), zeroed(case.inputs), rtol=1e-10, atol=1e-12)


def test_layer_norm_leaves_removed_channels_out_of_its_statistics() -> None:
    case = nets.case("layer norm")
    net = case.model
    assert isinstance(net, nets.TokenNormNet)
    masked = mask(plan_removal(trace(net, case.inputs), {"linear1": [0, 4]}), net)
    stay = [1, 2, 3, 5]
    x = net.linear1(case.inputs)[..., stay]
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    x = x * tensors(net)["norm.weight"][stay] + tensors(net)["norm.bias"][stay]
    expected = nn.functional.gelu(x) @ net.linear2.weight[:, stay].T + net.linear2.bias

    torch.testing.assert_close(masked(case.inputs), expected, rtol=1e-10, atol=1e-12)


def test_group_norm_leaves_removed_channels_out_of_its_statistics() -> None:
    case = nets.case("group norm 2")
    net = case.model
    assert isinstance(net, nets.NormNet)
    masked = mask(plan_removal(trace(net, case.inputs), {"conv1": [2, 3]}), net)
    halves = []
    for stay in ([0, 1], [4, 5]):
        x = net.conv1(case.inputs)[:, stay]
        mean, var = x.mean((1, 2, 3), keepdim=True), x.var((1, 2, 3), correction=0, keepdim=True)
        x = (x - mean) / (var + 1e-5).sqrt()
        scale, shift = tensors(net)["norm.weight"][stay], tensors(net)["norm.bias"][stay]
        halves.append(x * scale[:, None, None] + shift[:, None, None])
    x = nn.functional.relu(torch.cat(halves, 1))
    expected = nn.functional.conv2d(x, net.conv2.weight[:, [0, 1, 4, 5]], net.conv2.bias)

    torch.testing.assert_close(masked(case.inputs), expected, rtol=1e-10, atol=1e-12)


def test_mean_and_maximum_over_channels_leave_out_removed_ones() -> None:
    case = nets.case("channel mean")
    net = case.model
    assert isinstance(net, nets.ChannelMeanNet)
    masked = mask(plan_removal(trace(net, case.inputs), {"conv": [1]}), net)
    x = net.conv(case.inputs)[:, [0, 2, 3, 4, 5]]
    pooled = torch.stack([x.sum(1) / 5, x.max(1).values], 1)
    expected = nn.functional.conv2d(
        x * torch.sigmoid(net.spatial(pooled)), net.head.weight[:, [0, 2, 3, 4, 5]], net.head.bias
    )

    torch.testing.assert_close(masked(case.inputs), expected, rtol=1e-10, atol=1e-12)


def test_masked_network_trains_the_model_itself() -> None:
    case = nets.case("plain")
    masked = mask(plan_removal(trace(case.model, case.inputs), {"conv1": [1]}), case.model)

    masked(case.inputs).sum().backward()

    grad = tensors(case.model)["conv1.weight"].grad
    assert isinstance(grad, Tensor)
    assert grad[1].abs().max() == 0
    assert grad[0].abs().max() > 0


class Branching(nn.Module):
    """Runs one layer more on small images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 5, 1)
        self.conv2 = nn.Conv2d(5, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        if x.shape[-1] < 5:
            out = nn.functional.relu(out)
        return self.conv2(out)


def test_another_path_than_the_traced_one_is_refused() -> None:
    model = nets.fill(Branching())
    plan = plan_removal(trace(model, nets.example(2, 3, 6, 6)), {"conv1": [1]})

    with pytest.raises(TraceError, match="ran differently than when it was traced: call 1"):
        mask(plan, model)(nets.example(2, 3, 4, 4))

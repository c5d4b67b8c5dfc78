"""Absorption: constants that removed channels held go into biases."""

import pytest
import torch
from torch import Tensor, nn

from sentei.compensate import Removal
from sentei.compensate.absorb import Absorb
from sentei.errors import PruningError
from sentei.graph import trace
from sentei.surgery import apply, plan_removal
from tests.support import nets


def absorbed(net: nets.Case, **removed: list[int]) -> nn.Module:
    plan = plan_removal(trace(net.model, net.inputs), removed)
    small = apply(plan, net.model)
    batches = [(part, torch.zeros(1)) for part in net.inputs]
    batches = [(part[None], labels) for part, labels in batches]
    Absorb().compensate(small, Removal(model=net.model, plan=plan, batches=batches))
    return small


def constant(net: nets.Case, norm: str, *channels: int) -> nets.Case:
    """Set scales of a norm to zero and shifts to distinct values > 0."""
    with torch.no_grad():
        for channel in channels:
            net.model.get_parameter(f"{norm}.weight")[channel] = 0
            net.model.get_parameter(f"{norm}.bias")[channel] = 0.7 + channel
    return net


def test_channels_of_scale_zero_leave_no_trace() -> None:
    net = constant(constant(nets.case("plain"), "bn1", 1, 4), "bn2", 0, 5)

    small = absorbed(net, conv1=[1, 4], conv2=[0, 5])

    torch.testing.assert_close(small(net.inputs), net.model(net.inputs), rtol=1e-10, atol=1e-12)


def test_a_negative_shift_behind_a_relu_leaves_biases_alone() -> None:
    net = constant(nets.case("plain"), "bn1", 1)
    with torch.no_grad():
        net.model.get_parameter("bn1.bias")[1] = -0.3

    small = absorbed(net, conv1=[1])

    assert torch.equal(small.get_parameter("conv2.bias"), net.model.get_parameter("conv2.bias"))
    torch.testing.assert_close(small(net.inputs), net.model(net.inputs), rtol=1e-10, atol=1e-12)


def test_the_mean_of_the_norm_behind_takes_what_no_bias_can() -> None:
    net = constant(nets.case("residual"), "bn1", 2)

    small = absorbed(net, conv1=[2])

    # conv2 is padded and has no bias. Inside, outputs of bn2 are those of before.
    before, after = (norm_outputs(model, net.inputs) for model in (net.model, small))
    inner = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(after[inner], before[inner], rtol=1e-10, atol=1e-12)
    means = [m.get_buffer("bn2.running_mean") for m in (net.model, small)]
    assert float((means[0] - means[1]).abs().min()) > 1e-3


@torch.no_grad()
def norm_outputs(model: nn.Module, images: Tensor) -> Tensor:
    found: list[Tensor] = []
    handle = model.get_submodule("bn2").register_forward_hook(lambda _, __, y: found.append(y))
    model(images)
    handle.remove()
    return found[0]


def test_constants_stay_in_their_group_of_a_convolution_and_at_their_pixel() -> None:
    net = nets.case("grouped")
    rows = trace(net.model, net.inputs)["enter"].rows
    assert rows is not None
    gone = [rows.tolist().index(0), rows.tolist().index(1)]
    with torch.no_grad():
        for channel in gone:
            net.model.get_parameter("enter.weight")[channel] = 0
            net.model.get_parameter("enter.bias")[channel] = 0.5 + channel
    flat = nets.case("flatten")
    with torch.no_grad():
        flat.model.get_parameter("conv.weight")[3] = 0

    for case, removed in ((net, {"enter": gone}), (flat, {"conv": [3]})):
        small = absorbed(case, **removed)
        torch.testing.assert_close(
            small(case.inputs), case.model(case.inputs), rtol=1e-10, atol=1e-12
        )


def test_channels_that_vary_leave_their_mean() -> None:
    net = nets.case("plain")
    weight = net.model.get_parameter("linear.weight")

    small = absorbed(net, conv2=[3])

    hidden: list[Tensor] = []
    net.model.get_submodule("linear").register_forward_pre_hook(lambda _, x: hidden.append(x[0]))
    net.model(net.inputs)
    added = small.get_parameter("linear.bias") - net.model.get_parameter("linear.bias")
    torch.testing.assert_close(added, weight[:, 3] * hidden[0][:, 3].mean(), rtol=1e-10, atol=0)


def test_a_layer_with_nowhere_to_put_a_constant_is_an_error() -> None:
    model = nets.fill(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False)))
    net = nets.Case(model=model, inputs=nets.example(2, 3))

    with pytest.raises(PruningError, match=r"'absorb': none of the layers .*'least-squares'"):
        absorbed(net, **{"0": [1]})

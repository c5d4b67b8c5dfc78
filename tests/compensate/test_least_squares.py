"""Least squares: layers refitted to what they computed before the removal."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentei.compensate import Removal
from sentei.compensate.least_squares import LeastSquares
from sentei.errors import PruningError
from sentei.graph import trace
from sentei.surgery import Plan, apply, plan_removal
from sentei.train import recalibrate_batch_norm
from tests.support import nets

Removed = Mapping[str, Sequence[int]]

ALL = 10_000
EXACT = LeastSquares(positions=ALL, ridge=1e-13)


class Two(nn.Module):
    """Two convolutions with an activation between; [N, 3, 6, 6] -> [N, 4, ...]."""

    def __init__(self, second: nn.Module, act: nn.Module | None = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 1)
        self.act = act or nn.ReLU()
        self.second = second

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.act(self.first(x)))


def cut(net: nn.Module, x: Tensor, removed: Removed) -> tuple[nn.Module, Plan]:
    plan = plan_removal(trace(net, x[:1]), removed)
    return apply(plan, net), plan


def compensated(
    net: nn.Module, x: Tensor, removed: Removed, method: LeastSquares = EXACT
) -> nn.Module:
    small, plan = cut(net, x, removed)
    batches = [(part, torch.zeros(len(part))) for part in x.split(3)]
    method.compensate(small, Removal(model=net, plan=plan, batches=batches))
    return small


@torch.no_grad()
def squared_error(net: nn.Module, small: nn.Module, x: Tensor) -> float:
    return float((net(x) - small(x)).square().sum())


def test_small_case_is_what_numpy_finds() -> None:
    net = nets.fill(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)))
    x = nets.example(20, 2)

    small = compensated(net, x, {"0": [1]})

    with torch.no_grad():
        hidden, wanted = net[:2](x)[:, [0, 2]], net(x)
    columns = np.c_[hidden.numpy(), np.ones(20)]
    expected = np.linalg.lstsq(columns, wanted.numpy(), rcond=None)[0].T
    weight, bias = (small.get_parameter(f"2.{k}").detach().numpy() for k in ("weight", "bias"))
    np.testing.assert_allclose(weight, expected[:, :2], rtol=1e-6)
    np.testing.assert_allclose(bias, expected[:, 2], rtol=1e-6)


CONVOLUTIONS = [
    nn.Conv2d(6, 4, 3, padding=1),
    nn.Conv2d(6, 4, 3, stride=2, padding=1, dilation=2, bias=False),
    nn.Conv2d(6, 4, (2, 3), groups=2),
]


@pytest.mark.parametrize("second", CONVOLUTIONS, ids=["same", "no bias", "two groups"])
def test_no_change_of_a_weight_lowers_the_error(second: nn.Module) -> None:
    net, x = nets.fill(Two(second)), nets.example(8, 3, 6, 6)
    cut_only, _ = cut(net, x, {"first": [1, 4]})

    small = compensated(net, x, {"first": [1, 4]})

    least = squared_error(net, small, x)
    assert least < squared_error(net, cut_only, x)
    fitted = small.get_submodule("second")
    for parameter in fitted.parameters():
        flat = parameter.data.flatten()
        for place in range(0, len(flat), 3):
            for step in (1e-3, -1e-3):
                flat[place] += step
                assert squared_error(net, small, x) >= least
                flat[place] -= step


def redundant(net: Two) -> Two:
    """Make channel 4 of the first layer the sum of channels 1 and 2, without activation."""
    with torch.no_grad():
        for parameter in net.first.parameters():
            parameter[4] = parameter[1] + parameter[2]
    return net


def test_a_channel_that_others_add_up_to_is_made_up_for_exactly() -> None:
    net = redundant(nets.fill(Two(nn.Conv2d(6, 4, 3, padding=1), nn.Identity())))
    x = nets.example(9, 3, 6, 6)

    small = compensated(net, x, {"first": [4]})

    other = nets.example(5, 3, 6, 6, seed=7)
    torch.testing.assert_close(small(other), net(other), rtol=1e-6, atol=1e-6)
    cut_only, _ = cut(net, x, {"first": [4]})
    assert squared_error(net, cut_only, other) > 1


@pytest.mark.parametrize("case", ["plain", "grouped", "residual", "dense", "flatten", "shuffle"])
def test_refitting_one_group_never_raises_the_error_of_its_last_reader(case: str) -> None:
    net = nets.case(case)
    graph = trace(net.model, net.inputs)
    group = graph.groups[-1]
    own = (
        [0]
        if group.rows is None
        else [int(np.flatnonzero(group.rows == r)[0]) for r in range(group.num_rows)]
    )
    x = net.inputs
    cut_only, _ = cut(net.model, x, {group.name: own})

    small = compensated(net.model, x, {group.name: own}, LeastSquares(positions=ALL))

    before = squared_error(net.model, cut_only, x)
    # What goes from the plain network is 0 on these images: nothing but rounding is left to lower.
    assert squared_error(net.model, small, x) < (1e-20 if case == "plain" else before)


def test_a_norm_behind_takes_the_constant_where_there_is_no_bias() -> None:
    net = nets.fill(Two(nn.Sequential(nn.Conv2d(6, 4, 1, bias=False), nn.BatchNorm2d(4))))
    x = nets.example(8, 3, 6, 6)

    small = compensated(net, x, {"first": [1, 4]})

    with torch.no_grad():
        error = (small(x) - net(x)).mean((0, 2, 3))
    # Residuals of a fit with a constant add up to 0.
    torch.testing.assert_close(error, torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("fit", ["weights", "scales"])
def test_measuring_norms_anew_does_not_undo_the_fit(fit: Literal["weights", "scales"]) -> None:
    layers = (nn.Conv2d(6, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    net, x = nets.fill(Two(nn.Sequential(*layers))), nets.example(8, 3, 6, 6)
    small = compensated(net, x, {"first": [1, 4]}, LeastSquares(positions=ALL, fit=fit))
    with torch.no_grad():
        expected = small(x)
    before = small.get_parameter("second.1.weight").clone()

    recalibrate_batch_norm(small, [(x, torch.zeros(8))])

    torch.testing.assert_close(small(x), expected, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(before, net.get_parameter("second.1.weight"), rtol=1e-3)


def test_scales_are_what_numpy_finds() -> None:
    net, x = nets.fill(Two(nn.Conv2d(6, 4, 2))), nets.example(5, 3, 4, 4)

    small = compensated(
        net, x, {"first": [2]}, LeastSquares(positions=ALL, ridge=1e-13, fit="scales")
    )

    old = net.get_parameter("second.weight").detach()
    kept = [0, 1, 3, 4, 5]
    with torch.no_grad():
        hidden = net.act(net.first(x))
        columns = [nn.functional.conv2d(hidden[:, [c]], old[:, [c]]).flatten() for c in kept]
        wanted = nn.functional.conv2d(hidden, old).flatten()
    is_output = torch.eye(4, dtype=torch.float64).repeat_interleave(9, 0).repeat(5, 1)
    table = torch.cat([torch.stack(columns, 1), is_output], 1)
    found = np.linalg.lstsq(table.numpy(), wanted.numpy(), rcond=None)[0]
    factors, constants = torch.from_numpy(found).split([5, 4])
    weight, bias = (small.get_parameter(f"second.{k}").data for k in ("weight", "bias"))
    torch.testing.assert_close(weight, old[:, kept] * factors[:, None, None], rtol=1e-6, atol=1e-9)
    dense_bias = net.get_parameter("second.bias").data
    torch.testing.assert_close(bias, dense_bias + constants, rtol=1e-6, atol=1e-9)


def test_scales_answer_for_no_removal_but_that_of_what_the_layer_reads() -> None:
    layers = (nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 2))
    net, x = nets.fill(nn.Sequential(*layers)), nets.example(30, 3)
    method = LeastSquares(positions=ALL, ridge=1e-13, fit="scales")

    small = compensated(net, x, {"0": [1, 4], "2": [0, 3, 5]}, method)

    with torch.no_grad():
        hidden, weight = net[:4](x), net.get_parameter("4.weight")  # of the dense network
        columns = torch.einsum("nc,oc->noc", hidden, weight)
    table = torch.cat([columns[..., [1, 2, 4]], torch.eye(2).double().expand(30, 2, 2)], 2)
    wanted = columns.sum(2).flatten()
    found = np.linalg.lstsq(table.flatten(0, 1).numpy(), wanted.numpy(), rcond=None)[0]
    factors, constants = torch.from_numpy(found).split([3, 2])
    own, bias = (small.get_parameter(f"4.{k}").data for k in ("weight", "bias"))
    torch.testing.assert_close(own, weight[:, [1, 2, 4]] * factors, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(bias, net.get_parameter("4.bias") + constants, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("conv_groups", [1, 2])
def test_no_change_of_a_scale_lowers_the_error(conv_groups: int) -> None:
    net = nets.fill(Two(nn.Conv2d(6, 4, 3, groups=conv_groups)))
    x = nets.example(8, 3, 6, 6)
    method = LeastSquares(positions=ALL, ridge=1e-13, fit="scales")

    small = compensated(net, x, {"first": [1, 4]}, method)

    least = squared_error(net, small, x)
    weight, bias = (small.get_parameter(f"second.{k}").data for k in ("weight", "bias"))
    inputs = weight.unflatten(0, (conv_groups, -1))
    for place in np.ndindex(conv_groups, inputs.shape[2]):
        for factor in (0.99, 1.01):
            inputs[place[0], :, place[1]] *= factor
            assert squared_error(net, small, x) >= least
            inputs[place[0], :, place[1]] /= factor
    for output in range(4):
        for step in (0.01, -0.01):
            bias[output] += step
            assert squared_error(net, small, x) >= least
            bias[output] -= step


def test_layers_are_fitted_to_inputs_from_layers_that_are_fitted_already() -> None:
    net, x = nets.fill(nets.PlainNet()), nets.example(40, 3, 8, 8)

    small = compensated(net, x, {"conv1": [1, 2], "conv2": [0, 3, 5]})

    # The last layer is optimal for what it now reads, which dense inputs would not make it.
    least = squared_error(net, small, x)
    weight = small.get_parameter("linear.weight")
    gradient = torch.autograd.grad((small(x) - net(x).detach()).square().sum(), weight)[0]
    assert float(gradient.abs().max()) < 1e-6 * max(1.0, least)


def test_drawn_positions_come_near_the_fit_to_all() -> None:
    net, x = nets.fill(Two(nn.Conv2d(6, 4, 3, padding=1))), nets.example(60, 3, 6, 6)
    errors = [
        squared_error(net, compensated(net, x, {"first": [1, 4]}, LeastSquares(positions=n)), x)
        for n in (12, ALL)
    ]

    assert errors[1] < errors[0] < 1.2 * errors[1]


def test_a_removed_reader_of_a_transposed_convolution_alone_is_an_error() -> None:
    net = nets.case("transposed 2d")

    with pytest.raises(PruningError, match="'least-squares': none of the layers that read"):
        compensated(net.model, net.inputs, {"up1": [1]})


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"positions": 0}, r"positions=0; expected how many"),
        ({"ridge": 0.0}, r"ridge=0\.0; expected a finite number > 0"),
        ({"fit": "all"}, r"fit='all'; expected 'weights' or 'scales'"),
    ],
)
def test_fields_out_of_range_are_refused(field: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LeastSquares(**field)  # type: ignore[arg-type]

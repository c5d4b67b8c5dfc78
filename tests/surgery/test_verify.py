"""Verify accepts what is right and refuses what is not."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from sentei.errors import VerificationError
from sentei.graph import trace
from sentei.surgery import Plan, apply, plan_removal, verify
from tests.support import nets
from tests.support.compare import some_removal, tensors


def pruned(name: str) -> tuple[nets.Case, Plan, nn.Module]:
    case = nets.case(name)
    graph = trace(case.model, case.inputs)
    plan = plan_removal(graph, some_removal(graph))
    return case, plan, apply(plan, case.model)


@pytest.mark.parametrize("name", nets.NAMES)
def test_right_networks_pass(name: str) -> None:
    case, plan, small = pruned(name)

    result = verify(case.model, small, plan, case.inputs)

    assert max(result.output_error, result.gradient_error) < result.tolerance == 1e-9


@dataclass(frozen=True, slots=True)
class Inputs:
    image: Tensor
    more: dict[str, list[Tensor]]
    label: str


class OfDataclass(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.linear = nn.Linear(8, 5)

    def forward(self, inputs: Inputs) -> Tensor:
        y = self.conv(inputs.image).relu() * self.conv(inputs.more["others"][0]).sigmoid()
        return self.linear(y.mean((2, 3)))


def test_inputs_within_a_dataclass_are_verified_with_their_gradients() -> None:
    model = OfDataclass().eval()
    x, y = nets.example(2, 3, 8, 8).float(), nets.example(2, 3, 8, 8, seed=2).float()
    given = Inputs(image=x, more={"others": [y]}, label="any")
    plan = plan_removal(trace(model, given), {"conv": [0, 3]})
    small = apply(plan, model)

    verify(model, small, plan, given)

    with torch.no_grad():
        small.get_parameter("conv.weight")[0, 2] *= -1
    with pytest.raises(VerificationError, match="differs from the masked original by"):
        verify(model, small, plan, given)


# Torch's own copy of a script holds parameters that are no leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_part_in_torchscript_stays_and_the_rest_is_verified() -> None:
    body = nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1))
    with pytest.warns(DeprecationWarning, match="deprecated"):
        scripted = torch.jit.script(body)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), scripted, nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 1)
    ).eval()
    x = nets.example(2, 3, 10, 10).float()
    graph = trace(model, x)
    assert [g.name for g in graph.groups] == ["2"]
    plan = plan_removal(graph, {"2": [1, 3]})

    verify(model, apply(plan, model), plan, x)


def test_a_model_that_recomputes_its_forward_is_told_so() -> None:
    class Recomputing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))

        def forward(self, x: Tensor) -> Tensor:
            out = torch.utils.checkpoint.checkpoint(self.body, x, use_reentrant=False)
            assert isinstance(out, Tensor)
            return out

    model, x = Recomputing().eval(), nets.example(2, 3, 8, 8).float()
    plan = plan_removal(trace(model, x), {"body.0": [0]})

    with pytest.raises(VerificationError, match="turn that off while it is verified"):
        verify(model, apply(plan, model), plan, x)


def test_permuted_channels_are_found() -> None:
    case, plan, small = pruned("plain")
    with torch.no_grad():
        weight = tensors(small)["conv2.weight"]
        weight[:] = weight[:, [1, 0, 2]]

    with pytest.raises(VerificationError, match="differs from the masked original by"):
        verify(case.model, small, plan, case.inputs)


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_error_in_gradients_alone_is_found(context: Callable[[], Any]) -> None:
    case, plan, small = pruned("plain")

    class Detached(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return small(x.detach()) + 0 * x.sum()

    with (
        context(),
        pytest.raises(VerificationError, match=r"by 0.00e\+00 \(outputs\) and 1.00e\+00"),
    ):
        verify(case.model, Detached(), plan, nets.example(2, 3, 8, 8))


def test_gradients_that_cancel_to_rounding_errors_are_no_difference() -> None:
    class Copies(nn.Module):
        """A norm over copies of its channels: of one channel it lets no gradient through."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.last = nn.Linear(3, 4), nn.LayerNorm(6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.first(x).chunk(2, -1)
            gated = a * b.sigmoid()
            return self.last(self.norm(torch.cat([gated, gated, gated], -1)))

    model, inputs = nets.fill(Copies()), nets.example(2, 6, 3)
    plan = plan_removal(trace(model, inputs), {"first": [0]})

    assert verify(model, apply(plan, model), plan, inputs).gradient_error < 1e-9


def test_a_wrong_gradient_a_million_times_smaller_than_the_output_is_found() -> None:
    class Faint(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return 1 + 1e-6 * self.last(self.first(x))

    model, inputs = nets.fill(Faint()), nets.example(4, 3)
    plan = plan_removal(trace(model, inputs), {"first": [0]})
    small = apply(plan, model)

    class Detached(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return small(x.detach()) + 0 * x.sum()

    with pytest.raises(VerificationError, match=r"by 0.00e\+00 \(outputs\)"):
        verify(model, Detached(), plan, inputs)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_nan_in_one_of_several_outputs_is_found(place: int) -> None:
    case, plan, small = pruned("nested outputs")
    with torch.no_grad():
        tensors(small)[f"heads.{place}.bias"].fill_(float("nan"))

    with pytest.raises(VerificationError, match="differs from the masked original by nan"):
        verify(case.model, small, plan, case.inputs)


class Wrapped(nn.Module):
    """Returns what a function makes of the output."""

    def __init__(self, model: nn.Module, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self, x: Tensor) -> Any:  # noqa: ANN401 - whatever the function returns
        return self.function(self.model(x))


def test_another_number_of_outputs_is_named() -> None:
    case, plan, small = pruned("plain")

    with pytest.raises(VerificationError, match="returns 2 tensors, not 1"):
        verify(case.model, Wrapped(small, lambda y: (y, y)), plan, case.inputs)


def test_another_shape_is_named() -> None:
    case, plan, small = pruned("plain")

    with pytest.raises(VerificationError, match=r"has shape \(2, 3\), expected \(2, 4\)"):
        verify(case.model, Wrapped(small, lambda y: y[:, :3]), plan, case.inputs)


def test_neither_network_is_changed() -> None:
    case, plan, small = pruned("residual")
    for model in (case.model, small):
        model.float().train()
    states = [copy.deepcopy(m.state_dict()) for m in (case.model, small)]

    verify(case.model, small, plan, case.inputs.float())

    for model, state in zip((case.model, small), states, strict=True):
        torch.testing.assert_close(dict(model.state_dict()), dict(state), rtol=0, atol=0)
        assert all(m.training for m in model.modules())


def test_tolerance_is_looser_where_the_model_casts_down() -> None:
    case = nets.case("plain")
    model = Wrapped(case.model, lambda y: y.to(torch.float32).softmax(1))
    plan = plan_removal(trace(model, case.inputs), {"model.conv1": [1]})

    result = verify(model, apply(plan, model), plan, case.inputs)

    assert result.tolerance == 1e-4


def test_a_graph_traced_in_train_mode_is_verified_in_eval_mode() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Dropout(0.5), nn.Conv2d(6, 2, 1)
    )
    model.train().double()
    x = nets.example(2, 3, 6, 6, seed=0)
    plan = plan_removal(trace(model, x), {"0": [1, 4]})

    found = verify(model, apply(plan, model), plan, x)

    assert found.output_error < 1e-12
    assert model.training

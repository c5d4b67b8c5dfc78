"""Gates: where they sit, that they fold exactly, and what they refuse."""

import pytest
import torch
from torch import Tensor, nn

from sentei.errors import PruningError
from sentei.graph import trace
from sentei.sparsify.channels import evidence_of
from sentei.sparsify.gates import AttachedGates, attach_gates
from sentei.sparsify.wiring import gate_slices
from sentei.surgery import apply, plan_removal
from tests.support.nets import (
    FunctionalNet,
    NormNet,
    PlainNet,
    ResidualNet,
    TwiceNet,
    WeightNormNet,
    case,
    example,
    fill,
)


class Gates(nn.Module):
    """Plain gates."""

    def __init__(self, values_C: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values_C)

    def forward(self) -> Tensor:
        return self.values


def attached(model: nn.Module, inputs: Tensor, seed: int = 0) -> tuple[AttachedGates, Gates]:
    graph = trace(model, inputs)
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(graph.num_channels, generator=generator, dtype=torch.float64)
    gates = Gates(values)
    return attach_gates(model, evidence_of(graph, model), gates), gates


def tensors_gated(model: nn.Module, inputs: Tensor) -> set[str]:
    graph = trace(model, inputs)
    return {s.tensor for s in gate_slices(evidence_of(graph, model))}


def test_gates_sit_on_norms_and_on_producers_that_no_norm_follows() -> None:
    assert tensors_gated(fill(PlainNet()), example(1, 3, 8, 8)) == {
        "bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias",
    }  # fmt: skip
    # The stem joins the stream without a norm, the block ends in one.
    assert tensors_gated(fill(ResidualNet()), example(1, 3, 8, 8)) == {
        "stem.weight", "stem.bias", "bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias",
    }  # fmt: skip
    # This norm has no scale to put a gate on.
    bare = fill(NormNet(lambda c: nn.BatchNorm2d(c, affine=False)))
    assert tensors_gated(bare, example(1, 3, 5, 5)) == {"conv1.weight", "conv1.bias"}


@pytest.mark.parametrize(
    "name",
    ["plain", "residual", "depthwise", "grouped", "dense", "squeeze-excite", "transposed 2d",
     "layer norm", "twice", "functional", "attention", "flatten", "shuffle"],
)  # fmt: skip
def test_folding_changes_no_bit_of_the_outputs_and_restores_the_module(name: str) -> None:
    found = case(name)
    model, inputs = found.model, found.inputs
    kinds, names = [type(m) for m in model.modules()], list(model.state_dict())
    parameters = dict(model.named_parameters())
    gates, _ = attached(model, inputs)
    expected = model(inputs)

    gates.fold()

    assert torch.equal(model(inputs), expected)
    assert [type(m) for m in model.modules()] == kinds
    assert list(model.state_dict()) == names
    assert all(p is parameters[n] for n, p in model.named_parameters())


def test_removing_gates_gives_the_old_network_back() -> None:
    model = fill(ResidualNet())
    x = example(2, 3, 8, 8)
    expected = model(x)
    gates, _ = attached(model, x)
    changed = model(x)

    gates.remove()

    assert not torch.allclose(changed, expected)
    assert torch.equal(model(x), expected)


def test_a_gate_multiplies_its_channel_after_the_norm() -> None:
    model = fill(PlainNet())
    x = example(2, 3, 8, 8)
    _, gates = attached(model, x)
    seen: dict[str, Tensor] = {}
    model.bn1.register_forward_hook(lambda _m, _i, out: seen.update(gated=out))
    reference = fill(PlainNet())
    reference.bn1.register_forward_hook(lambda _m, _i, out: seen.update(plain=out))

    model(x)
    reference(x)

    factors = gates.values[:6].reshape(1, 6, 1, 1)
    torch.testing.assert_close(seen["gated"], seen["plain"] * factors, rtol=1e-10, atol=1e-12)


def test_channels_with_gate_zero_can_be_removed_without_a_change() -> None:
    model = fill(ResidualNet())
    x = example(2, 3, 8, 8)
    graph = trace(model, x)
    values = torch.linspace(0.5, 1.5, graph.num_channels, dtype=torch.float64)
    values[[1, 4, 6]] = 0
    gates = attach_gates(model, evidence_of(graph, model), Gates(values))
    expected = model(x)

    gates.fold()
    small = apply(plan_removal(graph, {"stem": [1, 4], "conv1": [0]}), model)

    torch.testing.assert_close(small(x), expected, rtol=1e-10, atol=1e-12)


def test_gradients_reach_the_gates() -> None:
    model = fill(PlainNet())
    x = example(2, 3, 8, 8)
    _, gates = attached(model, x)

    def output(values: Tensor) -> Tensor:
        gates.values.data = values.detach()
        return model(x).square().sum()

    output(gates.values).backward()
    found = gates.values.grad
    step = 1e-6
    for channel in (0, 5, 9):
        moved = [gates.values.detach().clone() for _ in range(2)]
        moved[0][channel] += step
        moved[1][channel] -= step
        difference = (output(moved[0]) - output(moved[1])) / (2 * step)
        output(moved[0] * 0.5 + moved[1] * 0.5)
        assert found is not None
        assert float(found[channel]) == pytest.approx(float(difference.detach()), rel=1e-5)


def test_a_shared_parameter_is_multiplied_once() -> None:
    model = fill(TwiceNet())
    weight = model.norm1.weight.detach().clone()
    gates, own = attached(model, example(1, 3, 6, 6))

    gates.fold()

    torch.testing.assert_close(model.norm1.weight.detach(), weight * own.values.detach())


def test_two_modules_that_share_a_weight_fold_together() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 4)
            self.second = nn.Linear(3, 4)
            self.second.weight = self.first.weight
            self.leave = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.leave(self.first(x) + self.second(x * 2))

    model, x = fill(Tied()), example(2, 3)
    gates, _ = attached(model, x)
    expected = model(x)

    gates.fold()

    assert torch.equal(model(x), expected)
    assert model.second.weight is model.first.weight


def test_bare_parameters_in_functional_calls_are_gated() -> None:
    model = fill(FunctionalNet())
    x = example(2, 3, 6, 6)
    expected = model(x)
    _, gates = attached(model, x)

    with torch.no_grad():
        gates.values.fill_(1.0)

    assert torch.equal(model(x), expected)


def test_what_is_parametrized_already_is_refused() -> None:
    with pytest.raises(PruningError, match=r"weight.original.* parametrized already.*ssl"):
        attached(fill(WeightNormNet()), example(1, 3, 6, 6))


def test_a_group_that_nothing_gateable_makes_is_refused() -> None:
    found = case("embedding")

    with pytest.raises(PruningError, match="group embed: no norm, convolution or linear layer"):
        attached(found.model, found.inputs)

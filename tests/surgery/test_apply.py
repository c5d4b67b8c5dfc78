"""What apply keeps, what it refuses, and that it changes everything or nothing."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from sentei.errors import PlanError
from sentei.graph import trace
from sentei.surgery import Plan, apply, mask, plan_removal, slicer, verify
from sentei.surgery.slicer import Slicer
from tests.support import nets
from tests.support.compare import assert_same, run, some_removal, tensors


def plan_for(case: nets.Case, *, seed: int = 0) -> Plan:
    graph = trace(case.model, case.inputs)
    return plan_removal(graph, some_removal(graph, seed=seed))


def plain_plan(case: nets.Case) -> Plan:
    return plan_removal(trace(case.model, case.inputs), {"conv1": [1, 4], "conv2": [0, 3, 7]})


def backward(model: nn.Module, inputs: Any) -> None:  # noqa: ANN401 - whatever the model takes
    out = model(inputs)
    out.mul(nets.example(*out.shape, seed=5).to(out.dtype)).sum().backward()


@pytest.mark.parametrize("name", nets.NAMES)
@pytest.mark.parametrize("seed", [0, 1])
def test_pruned_network_equals_masked_network(name: str, seed: int) -> None:
    case = nets.case(name)
    plan = plan_for(case, seed=seed)

    small = apply(plan, case.model)

    assert_same(small, mask(plan, case.model), case.inputs)


@pytest.mark.parametrize("name", nets.NAMES)
def test_pruned_network_is_smaller(name: str) -> None:
    case = nets.case(name)

    small = apply(plan_for(case), case.model)

    count = [sum(p.numel() for p in m.parameters()) for m in (small, case.model)]
    assert count[0] < count[1]


@pytest.mark.parametrize("name", nets.NAMES)
def test_empty_plan_changes_nothing(name: str) -> None:
    case = nets.case(name)
    plan = plan_removal(trace(case.model, case.inputs), {})

    small = apply(plan, case.model)

    torch.testing.assert_close(tensors(small), tensors(case.model), rtol=0, atol=0)


# With one input left in each of its four groups, a convolution loses whole groups from then on:
# its second removal has no equal in the coordinates of the first network.
@pytest.mark.parametrize("name", [n for n in nets.NAMES if n != "grouped 4"])
def test_pruning_twice_equals_pruning_once(name: str) -> None:
    case = nets.case(name)
    graph = trace(case.model, case.inputs)
    first = plan_removal(graph, some_removal(graph, ratio=0.25))
    half = apply(first, case.model)
    again = trace(half, case.inputs)
    second = plan_removal(again, some_removal(again, ratio=0.4, seed=3))
    # The second removal in the coordinates of the whole network.
    both = {g.name: list(first.removed.get(g.name, ())) for g in graph.groups}
    for name_, indices in second.removed.items():
        stay = [i for i in range(graph[name_].width) if i not in first.removed.get(name_, ())]
        both[name_] += [stay[i] for i in indices]

    twice, once = apply(second, half), apply(plan_removal(graph, both), case.model)

    torch.testing.assert_close(tensors(twice), tensors(once), rtol=0, atol=0)
    assert repr(twice) == repr(once)


def test_groups_of_a_convolution_can_go_once_they_have_one_input_each() -> None:
    case = nets.case("grouped 4")
    half = apply(plan_removal(trace(case.model, case.inputs), {"enter": [0, 2, 4, 6]}), case.model)
    plan = plan_removal(trace(half, case.inputs), {"enter": [1, 3]})

    small = apply(plan, half)

    assert_same(small, mask(plan, half), case.inputs)
    assert "groups=2" in repr(small)


# What is frozen --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "module", "reason"),
    [
        ("lstm", "lstm", "no rule for the operator 'lstm'"),
        ("lstm", "linear2", "no rule for the operator 'lstm'"),
        ("plain", "linear", "outputs of the model keep their shape"),
        ("embedding", "embed", "rows of an embedding are picked by index"),
    ],
)
def test_frozen_layers_say_why(name: str, module: str, reason: str) -> None:
    case = nets.case(name)

    reasons = trace(case.model, case.inputs).why(module)

    assert any(reason in text for text in reasons)


def test_opaque_layers_are_left_alone() -> None:
    case = nets.case("lstm")

    small = apply(plan_for(case), case.model)

    expected = tensors(case.model.get_submodule("lstm"))
    torch.testing.assert_close(tensors(small.get_submodule("lstm")), expected, rtol=0, atol=0)


# What survives ---------------------------------------------------------------------------------


def test_the_model_itself_is_left_as_it_was() -> None:
    case = nets.case("plain")
    before = copy.deepcopy(tensors(case.model))

    apply(plain_plan(case), case.model)

    torch.testing.assert_close(tensors(case.model), before, rtol=0, atol=0)
    assert "Conv2d(3, 6" in repr(case.model)


def test_result_shares_no_memory_with_the_model() -> None:
    case = nets.case("plain")
    small = apply(plain_plan(case), case.model)
    before = copy.deepcopy(tensors(case.model))

    with torch.no_grad():
        for tensor in tensors(small).values():
            tensor.zero_()

    torch.testing.assert_close(tensors(case.model), before, rtol=0, atol=0)


def test_result_is_of_the_users_class() -> None:
    case = nets.case("subclass")

    small = apply(plan_for(case), case.model)

    assert type(small) is nets.SubclassNet
    assert type(small.conv1) is nets.OwnConv2d
    assert small.conv1.factor == 0.7


def test_tied_parameters_stay_tied() -> None:
    case = nets.case("tied")

    small = apply(plan_for(case), case.model)

    assert isinstance(small, nets.TiedNet)
    assert small.head.weight is small.embed.weight


def test_a_module_under_two_names_stays_one() -> None:
    case = nets.case("twice")

    small = apply(plan_for(case), case.model)

    assert isinstance(small, nets.TwiceNet)
    assert small.norm2 is small.norm1


@pytest.mark.parametrize("in_place", [False, True])
def test_frozen_parameters_stay_frozen_and_are_pruned(in_place: bool) -> None:
    case = nets.case("plain")
    case.model.get_submodule("conv1").requires_grad_(False)

    small = apply(plain_plan(case), case.model, in_place=in_place)

    flags = {n: p.requires_grad for n, p in small.named_parameters()}
    assert flags == {n: n != "conv1.weight" for n in flags}
    assert tensors(small)["conv1.weight"].shape == (4, 3, 3, 3)


@pytest.mark.parametrize("training", [False, True])
def test_mode_is_left_as_it_was(training: bool) -> None:
    case = nets.case("residual")
    case.model.train(training)
    case.model.get_submodule("bn1").eval()

    small = apply(plan_for(case), case.model)

    modes = [m.training for m in small.modules()]
    assert modes == [m.training for m in case.model.modules()]


def test_training_mode_and_statistics_follow() -> None:
    case = nets.case("plain")
    plan = plain_plan(case)
    small = apply(plan, case.model).train()

    small(case.inputs)

    full = case.model.train()
    full(case.inputs)
    expected = tensors(full)["bn1.running_mean"][[0, 2, 3, 5]]
    found = tensors(small)["bn1.running_mean"]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_result_made_without_gradients_can_be_trained(
    context: Callable[[], Any], in_place: bool
) -> None:
    case = nets.case("plain")
    plan = plain_plan(case)
    with context():
        small = apply(plan, case.model, in_place=in_place)

    backward(small, case.inputs)

    assert all(p.grad is not None for p in small.parameters())


@pytest.mark.parametrize("in_place", [False, True])
def test_gradients_are_sliced(in_place: bool) -> None:
    case = nets.case("plain")
    backward(case.model, case.inputs)
    dense = {n: p.grad.clone() for n, p in case.model.named_parameters() if p.grad is not None}

    small = apply(plain_plan(case), case.model, in_place=in_place)

    grads = {n: p.grad for n, p in small.named_parameters()}
    first, second = [0, 2, 3, 5], [1, 2, 4, 5, 6]
    expected = {
        "conv1.weight": dense["conv1.weight"][first],
        "bn1.weight": dense["bn1.weight"][first],
        "bn1.bias": dense["bn1.bias"][first],
        "conv2.weight": dense["conv2.weight"][second][:, first],
        "conv2.bias": dense["conv2.bias"][second],
        "bn2.weight": dense["bn2.weight"][second],
        "bn2.bias": dense["bn2.bias"][second],
        "linear.weight": dense["linear.weight"][:, second],
        "linear.bias": dense["linear.bias"],
    }
    torch.testing.assert_close(grads, expected, rtol=0, atol=0)


def test_in_place_keeps_module_and_parameters() -> None:
    case = nets.case("plain")
    ids = {n: id(t) for n, t in tensors(case.model).items()}

    small = apply(plain_plan(case), case.model, in_place=True)

    assert small is case.model
    assert {n: id(t) for n, t in tensors(small).items()} == ids


@pytest.mark.parametrize("name", nets.NAMES)
def test_in_place_gives_the_same_network(name: str) -> None:
    case = nets.case(name)
    plan = plan_for(case)
    expected = apply(plan, case.model)

    found = apply(plan, case.model, in_place=True)

    torch.testing.assert_close(tensors(found), tensors(expected), rtol=0, atol=0)
    assert repr(found) == repr(expected)


@pytest.mark.parametrize("name", nets.NAMES)
def test_tensors_cut_some_rows_at_a_time_are_the_same(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    case = nets.case(name)
    plan = plan_for(case)
    expected = tensors(apply(plan, case.model))

    monkeypatch.setattr(slicer, "_LARGE", 40)
    monkeypatch.setattr(slicer, "_PIECE", 40)

    found = tensors(apply(plan, case.model))
    torch.testing.assert_close(found, expected, rtol=0, atol=0, check_stride=True)


@pytest.mark.parametrize("in_place", [False, True])
def test_hooks_on_gradients_survive(in_place: bool) -> None:
    case = nets.case("plain")
    shapes: dict[str, tuple[int, ...]] = {}
    sliced, whole = (case.model.get_parameter(n) for n in ("conv1.weight", "linear.bias"))
    sliced.register_hook(lambda grad: shapes.update(sliced=tuple(grad.shape)))
    whole.register_post_accumulate_grad_hook(lambda p: shapes.update(whole=tuple(p.shape)))

    small = apply(plain_plan(case), case.model, in_place=in_place)

    backward(small, case.inputs)
    assert shapes == {"sliced": (4, 3, 3, 3), "whole": (4,)}


class Remembering(nn.Module):
    """Keeps what its forward computes, as attention maps are kept to look at them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.linear = nn.Linear(8, 5)
        self.seen: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.seen["features"] = self.conv(x).relu()
        return self.linear(self.seen["features"].mean((2, 3)))


def remembering() -> nn.Module:
    model = Remembering()
    model(nets.example(2, 3, 8, 8).float())
    return model


def old_weight_norm() -> nn.Module:
    model = Remembering()
    with pytest.warns(FutureWarning, match="deprecated"):
        torch.nn.utils.weight_norm(model.conv)
    return model


def masked_by_torch() -> nn.Module:
    model = Remembering()
    prune.l1_unstructured(model.conv, "weight", 0.3)
    return model


@pytest.mark.parametrize("make", [remembering, old_weight_norm, masked_by_torch])
def test_models_that_keep_what_they_computed_are_pruned(make: Callable[[], nn.Module]) -> None:
    model, x = make().eval(), nets.example(2, 3, 8, 8).float()
    graph = trace(model, x)
    plan = plan_removal(graph, {graph.groups[0].name: [1, 4, 5]})

    small = apply(plan, model)

    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    verify(model, small, plan, x)
    backward(small, x)


@pytest.mark.parametrize("in_place", [False, True])
def test_hooks_survive(in_place: bool) -> None:
    case = nets.case("plain")
    shapes = []
    case.model.get_submodule("conv1").register_forward_hook(
        lambda _module, _args, out: shapes.append(out.shape[1])
    )
    plan = plain_plan(case)
    shapes.clear()

    apply(plan, case.model, in_place=in_place)(case.inputs)

    assert shapes == [4]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_result_can_be_copied_and_pickled(copied: Callable[[nn.Module], nn.Module]) -> None:
    case = nets.case("tied")
    small = apply(plan_for(case), case.model)

    twin = copied(small)

    assert_same(twin, small, case.inputs, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["residual", "split", "attention"])
def test_result_can_be_exported(name: str) -> None:
    case = nets.case(name)
    small = apply(plan_for(case), case.model)

    exported = torch.export.export(small, (case.inputs,)).module()

    torch.testing.assert_close(exported(case.inputs), small(case.inputs), rtol=1e-10, atol=1e-12)


def test_average_of_the_weights_takes_the_same_plan() -> None:
    case = nets.case("residual")
    plan = plan_for(case)
    average = nets.fill(nets.ResidualNet(), seed=9)

    small = apply(plan, average)

    assert_same(small, mask(plan, average), case.inputs)


def test_non_contiguous_memory_format_survives() -> None:
    case = nets.case("plain")
    model = case.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    small = apply(plain_plan(case), model)

    assert tensors(small)["conv2.weight"].is_contiguous(memory_format=torch.channels_last)


# Optimizers ------------------------------------------------------------------------------------

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=1e-2, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
}


def cut_by_hand(name: str, tensor: Tensor) -> Tensor:
    """Slice a tensor of ``PlainNet`` as ``plain_plan`` must."""
    first, second = [0, 2, 3, 5], [1, 2, 4, 5, 6]
    if name.startswith(("conv1", "bn1")):
        return tensor[first] if tensor.dim() else tensor
    if name == "conv2.weight":
        return tensor[second][:, first]
    if name.startswith(("conv2", "bn2")):
        return tensor[second] if tensor.dim() else tensor
    return tensor[:, second] if name == "linear.weight" else tensor


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_step_after_pruning_uses_the_sliced_state(kind: str, in_place: bool) -> None:
    case = nets.case("plain")
    optimizer = OPTIMIZERS[kind](case.model.parameters())
    backward(case.model, case.inputs)
    optimizer.step()
    state = {
        n: {
            k: cut_by_hand(n, v).clone() if v.dim() else v.clone()
            for k, v in optimizer.state[p].items()
        }
        for n, p in case.model.named_parameters()
    }
    # The reference: a network of the small widths with tensors and state cut by hand.
    reference = nets.PlainNet(4, 5).double().eval()
    reference.load_state_dict({n: cut_by_hand(n, t) for n, t in case.model.state_dict().items()})
    expected = OPTIMIZERS[kind](reference.parameters())
    for name, parameter in reference.named_parameters():
        expected.state[parameter] = state[name]

    small = apply(plain_plan(case), case.model, in_place=in_place, optimizer=optimizer)
    for model, opt in ((small, optimizer), (reference, expected)):
        opt.zero_grad()
        backward(model, case.inputs)
        opt.step()

    torch.testing.assert_close(tensors(small), tensors(reference), rtol=1e-10, atol=1e-12)


def test_optimizer_holds_exactly_the_new_parameters() -> None:
    case = nets.case("tied")
    model = case.model
    groups: list[dict[str, Any]] = [
        {"params": list(model.parameters())[:2]},
        {"params": list(model.parameters())[2:], "lr": 1.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    model(case.inputs).square().sum().backward()
    optimizer.step()

    small = apply(plan_for(case), model, optimizer=optimizer)

    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert held == [id(p) for p in small.parameters()]
    assert {id(p) for p in optimizer.state} == set(held)


def test_optimizer_keeps_parameters_of_other_modules() -> None:
    case = nets.case("plain")
    other = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([other, *case.model.parameters()], lr=0.1)

    apply(plain_plan(case), case.model, optimizer=optimizer)

    assert optimizer.param_groups[0]["params"][0] is other


def test_optimizer_state_that_cannot_be_sliced_is_refused() -> None:
    case = nets.case("plain")
    optimizer = torch.optim.Adafactor(case.model.parameters())
    backward(case.model, case.inputs)
    optimizer.step()
    held = list(optimizer.param_groups[0]["params"])

    with pytest.raises(PlanError, match=r"Adafactor.*row_var.*conv1.weight.*make a new optimizer"):
        apply(plain_plan(case), case.model, in_place=True, optimizer=optimizer)

    assert tensors(case.model)["conv1.weight"].shape == (6, 3, 3, 3)
    assert all(a is b for a, b in zip(held, optimizer.param_groups[0]["params"], strict=True))


# Refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_place", [False, True])
def test_plan_for_another_width_is_refused_and_nothing_changes(in_place: bool) -> None:
    case = nets.case("plain")
    other = nets.fill(nets.PlainNet(6, 9))
    before = copy.deepcopy(tensors(other))
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    held = list(optimizer.param_groups[0]["params"])

    with pytest.raises(
        PlanError, match=r"conv2.weight: the plan was made for shape \(8, 6, 3, 3\)"
    ):
        apply(plain_plan(case), other, in_place=in_place, optimizer=optimizer)

    torch.testing.assert_close(tensors(other), before, rtol=0, atol=0)
    assert all(a is b for a, b in zip(held, optimizer.param_groups[0]["params"], strict=True))
    assert not hasattr(other, "_sentei_history")


def test_plan_for_another_class_is_refused() -> None:
    case = nets.case("plain")

    with pytest.raises(
        PlanError, match=r"conv2.weight: .* the model has no such tensor; trace this"
    ):
        apply(plain_plan(case), nn.Linear(3, 3))


def test_plan_that_was_already_applied_is_refused() -> None:
    case = nets.case("plain")
    plan = plain_plan(case)
    small = apply(plan, case.model)

    with pytest.raises(PlanError, match="a pruned model needs a plan of its own"):
        apply(plan, small)


def test_model_that_ties_what_was_traced_apart_is_refused() -> None:
    layers = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    x = nets.example(2, 4)
    plan = plan_removal(trace(nets.fill(layers), x), {"0": [1]})
    tied = nets.fill(nn.Sequential(*(nn.Linear(4, 4) for _ in range(3))))
    tied[1].weight = tied[0].weight

    with pytest.raises(PlanError, match=r"1.weight and 0.weight are one tensor of this model"):
        apply(plan, tied)


def test_model_that_does_not_tie_what_was_traced_tied_is_sliced_whole() -> None:
    case = nets.case("tied")
    plan = plan_for(case)
    untied = nets.fill(nets.TiedNet())
    untied.head.weight = nn.Parameter(untied.embed.weight.detach().clone())

    small = apply(plan, untied)

    assert tensors(small)["head.weight"].shape == tensors(small)["embed.weight"].shape == (7, 3)


class OtherSplitNet(nets.SplitNet):
    """The same tensors, but sizes under another name."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = self.sizes
        del self.sizes


def test_model_without_the_traced_attribute_is_refused_and_nothing_changes() -> None:
    case = nets.case("split")
    other = nets.fill(OtherSplitNet())
    before = copy.deepcopy(tensors(other))

    with pytest.raises(PlanError, match=r"sizes\[0\] of the model .* expected 4"):
        apply(plan_for(case), other, in_place=True)

    torch.testing.assert_close(tensors(other), before, rtol=0, atol=0)


class Uncopyable(nn.Module):
    """A layer that cannot be copied once it is told so."""

    stubborn = False

    def forward(self, x: Tensor) -> Tensor:
        return x

    def __deepcopy__(self, memo: dict[int, Any]) -> "Uncopyable":
        if self.stubborn:
            raise RuntimeError("this layer cannot be copied")
        return Uncopyable()


def test_copy_that_fails_leaves_model_and_optimizer_as_they_were() -> None:
    case = nets.case("plain")
    layer = Uncopyable()
    model = nn.Sequential(case.model, layer)
    plan = plan_removal(trace(model, case.inputs), {"0.conv1": [2]})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    backward(model, case.inputs)
    optimizer.step()
    before, state = copy.deepcopy(tensors(model)), copy.deepcopy(optimizer.state_dict())
    layer.stubborn = True

    with pytest.raises(RuntimeError, match="cannot be copied"):
        apply(plan, model, optimizer=optimizer)

    torch.testing.assert_close(tensors(model), before, rtol=0, atol=0)
    torch.testing.assert_close(optimizer.state_dict(), state, rtol=0, atol=0)


def test_in_place_needs_most_memory_before_anything_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = nets.case("plain")
    plan = plain_plan(case)
    before, cut = copy.deepcopy(tensors(case.model)), []

    def too_large(_: Slicer, tensor: Tensor, name: str) -> Tensor:
        cut.append(name)
        raise MemoryError(f"no room for {tensor.numel()} elements")

    monkeypatch.setattr(Slicer, "cut", too_large)
    with pytest.raises(MemoryError, match="no room for 432 elements"):
        apply(plan, case.model, in_place=True)

    assert cut == ["conv2.weight"]  # 8 x 6 x 3 x 3, the largest of all
    torch.testing.assert_close(tensors(case.model), before, rtol=0, atol=0)


def test_history_notes_every_removal() -> None:
    case = nets.case("plain")
    small = apply(plain_plan(case), case.model)
    again = plan_removal(trace(small, case.inputs), {"conv1": [0]})

    twice = apply(again, small)

    expected = [{"conv1": [1, 4], "conv2": [0, 3, 7]}, {"conv1": [0]}]
    assert vars(twice)["_sentei_history"] == expected


def test_outputs_can_shrink_on_request() -> None:
    case = nets.case("plain")
    plan = plan_removal(trace(case.model, case.inputs, shrink_outputs=True), {"linear": [1]})

    small = apply(plan, case.model)

    expected = case.model(case.inputs)[:, [0, 2, 3]]
    torch.testing.assert_close(run(small, case.inputs)[0][0], expected, rtol=1e-10, atol=1e-12)

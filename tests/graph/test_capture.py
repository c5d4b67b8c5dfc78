"""What one run of a model shows, and that the model does not notice."""

import pytest
import torch
from torch import Tensor, nn

from sentei.errors import TraceError
from sentei.graph import trace
from sentei.graph.capture import Recording, capture, copied
from tests.support.nets import example, fill


class Branching(nn.Module):
    """Control flow on data, two ways."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Linear(3, width)
        self.second = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        if x.sum() > 0:
            x = x + 1
        return self.second(x) * x.max().item()


class Plain(nn.Module):
    """A block with a norm, dropout, an in-place operator and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.block(x))) + torch.ones(1)


def names(recording: Recording) -> list[str]:
    return [op.name for op in recording.ops]


def test_every_operator_is_seen_once_in_order() -> None:
    found = names(capture(Plain().eval(), torch.zeros(1, 3, 2, 2)))

    of_layers = {"convolution", "native_batch_norm", "relu"}
    assert [n for n in found if n in of_layers] == [
        "convolution", "native_batch_norm", "relu", "convolution",
    ]  # fmt: skip
    assert found[-1] == "add"


def test_parameters_buffers_inputs_and_constants_are_told_apart() -> None:
    constant = torch.arange(3.0)

    class Net(nn.Module):
        shift: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))
            self.register_buffer("shift", torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight + self.shift + constant

    recording = capture(Net(), torch.zeros(2, 3))

    kinds = [(value.kind, value.name) for value in recording.values if value.kind != "op"]
    assert kinds[:3] == [("param", "weight"), ("buffer", "shift"), ("input", "")]
    assert all(kind == "const" for kind, _ in kinds[3:])
    assert recording.batch_size == 2


def test_a_shared_parameter_is_one_value_of_two_names() -> None:
    model = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    model[1].weight = model[0].weight

    recording = capture(nn.Sequential(*model), torch.zeros(1, 3))

    assert [v.names for v in recording.values if v.kind == "param"] == [
        ("0.weight", "1.weight"),
        ("0.bias",),
        ("1.bias",),
    ]


def test_calls_know_their_module_and_line() -> None:
    recording = capture(Plain().eval(), torch.zeros(1, 3, 2, 2))

    calls = {call.function: call for call in recording.calls}
    assert calls["batch_norm"].module == "block.1"
    assert calls["conv2d"].module == "head"
    line = Plain.forward.__code__.co_firstlineno + 1
    assert calls["add"].where == f"graph/test_capture.py:{line}"


def test_a_model_in_a_folder_named_torch_is_still_the_users() -> None:
    scope = {"nn": nn}
    source = "class Net(nn.Module):\n    def forward(self, x):\n        return x.relu()\n"
    exec(compile(source, "/home/somebody/torch/net.py", "exec"), scope)

    recording = capture(scope["Net"](), torch.zeros(2))  # type: ignore[operator]

    assert recording.calls[0].where == "torch/net.py:3"


def test_an_operator_in_place_returns_the_value_it_changed() -> None:
    recording = capture(Plain().eval(), torch.zeros(1, 3, 2, 2))

    relu = next(op for op in recording.ops if op.name == "relu")
    assert relu.outputs == (relu.args["self"].value,)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_its_mode_and_the_random_state_stay(*, training: bool) -> None:
    model = fill(Plain()).train(training)
    model.head.weight.grad = torch.ones_like(model.head.weight)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    state = torch.get_rng_state()

    trace(model, example(1, 3, 4, 4))

    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert all(module.training is training for module in model.modules())
    assert torch.equal(model.head.weight.grad, torch.ones_like(model.head.weight))
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert type(vars(model.block[0])["out_channels"]) is int


def test_a_real_run_changes_no_statistics() -> None:
    class Counting(Branching):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.norm(x))

    model = fill(Counting()).train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}

    trace(model, example(5, 3))

    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_control_flow_on_data_is_followed_by_a_real_run() -> None:
    model = fill(Branching())

    graph = trace(model, example(2, 3))

    assert {group.name: group.width for group in graph.groups} == {"first": 4}


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_graph_is_the_same_in_every_gradient_mode(context: type) -> None:
    model, inputs = fill(Plain()), example(1, 3, 4, 4)
    expected = trace(model, inputs)

    with context():
        found = trace(model, inputs)

    assert str(found) == str(expected)
    assert found.frozen == expected.frozen
    assert names(found.recording) == names(expected.recording)


def test_a_failing_model_is_blamed_on_its_own_line() -> None:
    model = Plain().eval()
    line = Plain.forward.__code__.co_firstlineno + 1

    with pytest.raises(TraceError, match=rf"test_capture\.py:{line}: return self\.head") as caught:
        trace(model, torch.zeros(1, 5, 4, 4))

    assert "expected input[1, 5, 4, 4] to have 3 channels" in str(caught.value)


def test_inputs_without_a_tensor_are_refused() -> None:
    with pytest.raises(TraceError, match=r"hold no tensor \(found int\); pass the tensors"):
        trace(Plain(), 3)


def test_a_composite_shows_the_operators_it_runs() -> None:
    # A composite in C++ calls operators that no Python code names.
    recording = capture(nn.CosineSimilarity(), (torch.zeros(2, 3), torch.zeros(2, 3)))

    assert "mul" in names(recording) or "sum" in names(recording)


def test_a_copy_shares_no_hooks_with_its_model() -> None:
    model, seen = Plain(), list[str]()
    model.block.register_forward_hook(lambda *_: seen.append("before"))

    twin = copied(model)
    for module in twin.modules():
        module.register_forward_hook(lambda *_: seen.append("after"))
    model(torch.ones(1, 3, 2, 2))

    assert seen == ["before"]
    twin(torch.ones(1, 3, 2, 2))
    assert sorted(seen) == ["after"] * len(list(twin.modules())) + ["before"] * 2


def test_a_copy_holds_what_the_memo_says() -> None:
    model = Plain()
    weight = nn.Parameter(torch.ones(2, 4, 1, 1))

    twin = copied(model, {id(model.head.weight): weight})

    assert twin.head.weight is weight
    assert twin.head.bias is not model.head.bias
    torch.testing.assert_close(twin.head.bias, model.head.bias)

"""The graph as users see it: groups, what stays and why, and what they can ask for."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentei.errors import PlanError, UnknownNameError
from sentei.graph import trace
from sentei.surgery import apply, plan_removal, verify
from tests.support import nets
from tests.support.nets import example, fill


def two_layers() -> nn.Sequential:
    return fill(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))


def test_a_group_is_named_after_its_producer_and_lists_what_it_owns() -> None:
    (group,) = trace(two_layers(), example(2, 3)).groups

    assert (group.name, group.width, group.num_rows, group.first) == ("0", 4, 1, 0)
    assert [(m.tensor, m.dim, m.channels.tolist()) for m in group.members] == [
        ("0.weight", 0, [0, 1, 2, 3]),
        ("0.bias", 0, [0, 1, 2, 3]),
        ("2.weight", 1, [0, 1, 2, 3]),
    ]


def test_outputs_keep_their_shape_unless_they_may_shrink() -> None:
    model, inputs = two_layers(), example(2, 3)

    assert trace(model, inputs).why("2") == ("its outputs: outputs of the model keep their shape",)
    assert [g.name for g in trace(model, inputs, shrink_outputs=True).groups] == ["0", "2"]


@pytest.mark.parametrize("name", ["0", "0.weight", "0.bias", ""])
def test_what_is_protected_stays(name: str) -> None:
    graph = trace(two_layers(), example(2, 3), protect=[name])

    assert graph.groups == ()
    assert f"{name or 'the model'} is protected by the user" in " ".join(graph.why("0"))


@pytest.mark.parametrize("conv", [nn.Conv2d, nn.ConvTranspose2d])
def test_protecting_a_convolution_keeps_what_it_reads_and_says_so_once(
    conv: type[nn.Conv2d],
) -> None:
    model = fill(nn.Sequential(nn.Conv2d(3, 4, 1), conv(4, 5, 1), nn.Conv2d(5, 2, 1)))

    graph = trace(model, example(2, 3, 4, 4), protect=["1"])

    assert graph.groups == ()
    assert graph.why("1") == ("1 is protected by the user",)
    assert graph.why("0") == (
        "its outputs: 1 is protected by the user",
        "its inputs: it meets inputs, pixels or constants, which cannot shrink",
    )
    assert graph.why("2.weight") == (
        "its outputs: outputs of the model keep their shape",
        "its inputs: 1 is protected by the user",
    )


@pytest.mark.parametrize("name", ["1.bias", "2"])
def test_protecting_a_bias_or_a_norm_keeps_only_what_is_produced(name: str) -> None:
    layers = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5), nn.Conv2d(5, 2, 1)
    model = fill(nn.Sequential(*layers))

    graph = trace(model, example(2, 3, 4, 4), protect=[name])

    assert [group.name for group in graph.groups] == ["0"]
    assert graph.why("1") == (f"its outputs: {name} is protected by the user",)
    assert graph.why("2") == (f"{name} is protected by the user",)


def test_frozen_inputs_are_no_reason_why_a_module_names_no_group() -> None:
    layers = nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 2)
    graph = trace(fill(nn.Sequential(*layers)), example(2, 3), protect=["0"])

    with pytest.raises(UnknownNameError, match=r"no group '2'\. It is frozen: its outputs"):
        graph["2"]
    with pytest.raises(UnknownNameError, match=r"no group '1\.weight'\. Known: 1"):
        graph["1.weight"]


def test_protecting_what_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"cannot protect 'O': the model has no such module"):
        trace(two_layers(), example(2, 3), protect=["O"])


def test_asking_for_a_frozen_group_says_why() -> None:
    graph = trace(two_layers(), example(2, 3))

    with pytest.raises(
        UnknownNameError, match=r"no group '2'\. It is frozen: its outputs: outputs of the model"
    ):
        graph["2"]


def test_asking_for_an_unknown_group_suggests_one() -> None:
    graph = trace(nets.case("plain").model, nets.case("plain").inputs)

    with pytest.raises(UnknownNameError, match="Did you mean 'conv1'"):
        graph["conv_1"]


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ([4], "channel 4 does not exist; the group has channels 0 to 3"),
        ([-1], "channel -1 does not exist"),
        ([1, 1], "a channel is named twice"),
        ([0, 1, 2, 3], "removes all 4 channels; keep at least 1"),
    ],
)
def test_a_removal_that_a_group_cannot_bear_is_refused(removed: list[int], message: str) -> None:
    graph = trace(two_layers(), example(2, 3))

    with pytest.raises(PlanError, match=message):
        graph.keep({"0": removed})


def test_unequal_rows_are_refused() -> None:
    model = fill(nn.Sequential(nn.Conv1d(3, 4, 1), nn.GroupNorm(2, 4), nn.Conv1d(4, 2, 1)))
    graph = trace(model, example(2, 3, 5))

    with pytest.raises(PlanError, match=r"2 rows of channels must keep equally many.*\[1, 2\]"):
        graph.keep({"0": [0]})


def test_channels_are_numbered_through() -> None:
    model = fill(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 2)))
    graph = trace(model, example(2, 3))

    mask = graph.keep({"0": [1], "1": [0, 4]})

    assert graph.num_channels == 9
    assert np.flatnonzero(~mask).tolist() == [1, 4, 8]


def test_an_operator_without_a_rule_freezes_what_it_touches_by_name() -> None:
    @torch.library.custom_op("sentei_tests::mystery", mutates_args=())
    def mystery(x: Tensor) -> Tensor:
        return x.clone()

    mystery.register_fake(torch.empty_like)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.third(self.second(mystery(self.first(x))))

    graph = trace(fill(Net()), example(2, 3))

    assert [group.name for group in graph.groups] == ["second"]
    assert graph.why("first.bias")[0].startswith(
        "its outputs: sentei has no rule for the operator 'mystery' in "
    )


def test_parameters_that_the_run_does_not_use_stay() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.spare = two_layers(), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

    model = fill(Net())
    graph = trace(model, example(2, 3))
    small = apply(plan_removal(graph, {"body.0": [0]}), model)

    assert [group.name for group in graph.groups] == ["body.0"]
    assert graph.why("spare") == ("the run does not use it",)
    assert small.spare.weight.shape == (4, 4)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_stay_whole_and_the_rest_can_go(
    kind: Any,  # noqa: ANN401 - mypy takes the base class of torch's layers for their type
) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 4)
            self.recurrent = kind(4, 4, batch_first=True)
            self.last = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.recurrent(self.second(self.first(x)))[0])

    model, inputs = fill(Net()), example(2, 6, 3)
    graph = trace(model, inputs)
    plan = plan_removal(graph, {"first": [0, 2]})

    verify(model, apply(plan, model), plan, inputs)

    assert [group.name for group in graph.groups] == ["first"]
    name = {nn.LSTM: "lstm", nn.GRU: "gru", nn.RNN: "rnn_tanh"}[kind]
    assert f"no rule for the operator '{name}'" in " ".join(graph.why("recurrent"))
    assert "no rule for the operator" in " ".join(graph.why("second"))


def test_multi_head_attention_loses_whole_heads() -> None:
    case = nets.case("multihead")
    graph = trace(case.model, case.inputs)
    heads = next(g for g in graph.groups if any("in_proj" in m.tensor for m in g.members))

    assert heads.width == 2
    (channels,) = [m.channels for m in heads.members if m.tensor == "attention.in_proj_bias"]
    assert channels.reshape(3, 2, 4).tolist() == [[[0] * 4, [1] * 4]] * 3
    plan = plan_removal(graph, {heads.name: [0]})
    small = apply(plan, case.model)
    verify(case.model, small, plan, case.inputs)
    attention = small.attention
    assert isinstance(attention, nn.MultiheadAttention)
    assert (attention.num_heads, attention.embed_dim) == (1, 4)


class StreamAttention(nn.Module):
    """Attention that is as wide as its input, as vision transformers write it."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = 2
        self.embed = nn.Linear(3, 8)
        self.qkv, self.proj, self.head = nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        samples, length, width = x.shape
        qkv = self.qkv(x).reshape(samples, length, 3, self.num_heads, width // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attention = (q @ k.transpose(-2, -1) * 0.5).softmax(-1)
        out = (attention @ v).transpose(1, 2).reshape(samples, length, width)
        return self.head(x + self.proj(out))


def test_attention_as_wide_as_the_stream_ties_its_heads_to_it() -> None:
    model, inputs = fill(StreamAttention()), example(2, 5, 3)
    graph = trace(model, inputs)

    stream = graph.layouts["embed.weight"].dims[0]
    heads = graph.layouts["qkv.weight"].dims[0]
    assert stream is not None
    assert heads is not None
    # A head takes its run of the stream with it: position i of one is position i of the other.
    assert heads.reshape(3, -1).tolist() == [stream.tolist()] * 3
    assert stream.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    plan = plan_removal(graph, {graph.groups[0].name: [1]})
    small = apply(plan, model)
    verify(model, small, plan, inputs)
    assert small.num_heads == 1


def test_a_module_in_train_mode_is_traced_as_it_is() -> None:
    model = fill(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)))

    graph = trace(model.train(), example(5, 3))

    assert [(group.name, group.width) for group in graph.groups] == [("0", 4)]


def test_a_graph_prints_its_groups() -> None:
    printed = str(trace(two_layers(), example(2, 3)))

    assert printed.splitlines()[0] == "1 groups, 4 channels"
    assert printed.splitlines()[1].split() == ["0", "4", "channels"]

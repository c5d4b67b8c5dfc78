"""Pruned networks against networks built small and filled by hand-written indices.

Each row names the removal, the small network, and for every tensor that shrinks the positions that
stay: ``{dim: positions}``. Everything else must be as it was.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from sentei.graph import trace
from sentei.surgery import apply, plan_removal
from tests.support import nets
from tests.support.compare import assert_same, tensors

Cuts = Mapping[str, Mapping[int, Sequence[int]]]


@dataclass(frozen=True, kw_only=True)
class Hand:
    """What is removed, and what must come out; ``bn.`` stands for all tensors of a norm."""

    removed: Mapping[str, Sequence[int]]
    small: Callable[[], nn.Module]
    cuts: Cuts


def cut(tensor: Tensor, positions: Mapping[int, Sequence[int]]) -> Tensor:
    for dim, stay in positions.items():
        tensor = torch.stack([tensor.select(dim, i) for i in stay], dim)
    return tensor


def by_hand(name: str, dense: nn.Module) -> nn.Module:
    hand = HANDS[name]
    small = hand.small().double().eval()
    own = tensors(small)
    with torch.no_grad():
        for key, tensor in tensors(dense).items():
            prefix = key.rpartition(".")[0] + "."
            positions = hand.cuts.get(key, hand.cuts.get(prefix, {}) if tensor.dim() else {})
            expected = cut(tensor, positions)
            assert own[key].shape == expected.shape, key
            own[key].copy_(expected)
    return small


def norm_hand(norm: Callable[[int], nn.Module]) -> Hand:
    return Hand(
        removed={"conv1": [1, 4]},
        small=lambda: nets.NormNet(norm, 4),
        cuts={
            "conv1.": {0: [0, 2, 3, 5]},
            "norm.": {0: [0, 2, 3, 5]},
            "conv2.weight": {1: [0, 2, 3, 5]},
        },
    )


def token_hand(norm: Callable[[int], nn.Module]) -> Hand:
    return Hand(
        removed={"linear1": [0, 3, 4]},
        small=lambda: nets.TokenNormNet(norm, 3),
        cuts={
            "linear1.": {0: [1, 2, 5]},
            "norm.": {0: [1, 2, 5]},
            "linear2.weight": {1: [1, 2, 5]},
        },
    )


# Queries, keys and values are three blocks of 3 heads of 4; head 1 goes.
_QKV = [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25, 26, 27, 32, 33, 34, 35]
_HEADS = {"qkv.": {0: _QKV}, "proj.weight": {1: [0, 1, 2, 3, 8, 9, 10, 11]}}

HANDS = {
    "plain": Hand(
        removed={"conv1": [1, 4], "conv2": [0, 3, 7]},
        small=lambda: nets.PlainNet(4, 5),
        cuts={
            "conv1.": {0: [0, 2, 3, 5]},
            "bn1.": {0: [0, 2, 3, 5]},
            "conv2.weight": {0: [1, 2, 4, 5, 6], 1: [0, 2, 3, 5]},
            "conv2.bias": {0: [1, 2, 4, 5, 6]},
            "bn2.": {0: [1, 2, 4, 5, 6]},
            "linear.weight": {1: [1, 2, 4, 5, 6]},
        },
    ),
    "flatten": Hand(
        removed={"conv": [0, 3]},
        small=lambda: nets.FlattenNet(3),
        cuts={
            "conv.": {0: [1, 2, 4]},
            "linear.weight": {1: [4, 5, 6, 7, 8, 9, 10, 11, 16, 17, 18, 19]},
        },
    ),
    "depthwise": Hand(
        removed={"expand": [2, 5]},
        small=lambda: nets.DepthwiseNet(4),
        cuts={
            "expand.": {0: [0, 1, 3, 4]},
            "depthwise.": {0: [0, 1, 3, 4]},
            "bn.": {0: [0, 1, 3, 4]},
            "project.weight": {1: [0, 1, 3, 4]},
        },
    ),
    "transposed 1d": Hand(
        removed={"up1": [1, 2]},
        small=lambda: nets.TransposedNet(1, 3),
        cuts={
            "up1.weight": {1: [0, 3, 4]},
            "up1.bias": {0: [0, 3, 4]},
            "bn.": {0: [0, 3, 4]},
            "up2.weight": {0: [0, 3, 4]},
        },
    ),
    "transposed 3d": Hand(
        removed={"up1": [0]},
        small=lambda: nets.TransposedNet(3, 4),
        cuts={
            "up1.weight": {1: [1, 2, 3, 4]},
            "up1.bias": {0: [1, 2, 3, 4]},
            "bn.": {0: [1, 2, 3, 4]},
            "up2.weight": {0: [1, 2, 3, 4]},
        },
    ),
    "residual": Hand(
        removed={"stem": [0, 5], "conv1": [1]},
        small=lambda: nets.ResidualNet(4, 4),
        cuts={
            "stem.": {0: [1, 2, 3, 4]},
            "conv1.weight": {0: [0, 2, 3, 4], 1: [1, 2, 3, 4]},
            "bn1.": {0: [0, 2, 3, 4]},
            "conv2.weight": {0: [1, 2, 3, 4], 1: [0, 2, 3, 4]},
            "bn2.": {0: [1, 2, 3, 4]},
            "linear.weight": {1: [1, 2, 3, 4]},
        },
    ),
    # The second concatenation is (layer2: 4, stem: 5, layer1: 3).
    "dense": Hand(
        removed={"stem": [1, 4], "layer1": [0], "layer2": [2, 3]},
        small=lambda: nets.DenseNet(3, 2, 2),
        cuts={
            "stem.": {0: [0, 2, 3]},
            "layer1.weight": {0: [1, 2], 1: [0, 2, 3]},
            "layer1.bias": {0: [1, 2]},
            "bn.": {0: [0, 2, 3, 6, 7]},
            "layer2.weight": {0: [0, 1], 1: [0, 2, 3, 6, 7]},
            "layer2.bias": {0: [0, 1]},
            "linear.weight": {1: [0, 1, 4, 6, 7, 10, 11]},
        },
    ),
    "squeeze-excite": Hand(
        removed={"conv": [3, 4, 5], "reduce": [1]},
        small=lambda: nets.SqueezeExciteNet(3, 3),
        cuts={
            "conv.": {0: [0, 1, 2]},
            "reduce.weight": {0: [0, 2, 3], 1: [0, 1, 2]},
            "reduce.bias": {0: [0, 2, 3]},
            "expand.weight": {0: [0, 1, 2], 1: [0, 2, 3]},
            "expand.bias": {0: [0, 1, 2]},
            "head.weight": {1: [0, 1, 2]},
        },
    ),
    # The stem's channels are 1 to 4 of the seven; the convolution's own are 0, 5 and 6.
    "pad": Hand(
        removed={"stem": [2], "conv": [1]},
        small=lambda: nets.PadNet(3, 5),
        cuts={
            "stem.": {0: [0, 1, 3]},
            "conv.weight": {0: [0, 1, 2, 4, 6], 1: [0, 1, 3]},
            "conv.bias": {0: [0, 1, 2, 4, 6]},
            "linear.weight": {1: [0, 1, 2, 4, 6]},
        },
    ),
    "gated": Hand(
        removed={"linear1": [1, 3]},
        small=lambda: nets.GatedNet(3),
        cuts={"linear1.": {0: [0, 2, 4, 5, 7, 9]}, "linear2.weight": {1: [0, 2, 4]}},
    ),
    "glu": Hand(
        removed={"conv1": [0]},
        small=lambda: nets.GLUNet(4),
        cuts={"conv1.": {0: [1, 2, 3, 4, 6, 7, 8, 9]}, "conv2.weight": {1: [1, 2, 3, 4]}},
    ),
    "split": Hand(
        removed={"conv": [0, 3], "conv#2": [1]},
        small=lambda: nets.SplitNet(2, 2),
        cuts={"conv.": {0: [1, 2, 4, 6]}, "left.weight": {1: [1, 2]}, "right.weight": {1: [0, 2]}},
    ),
    "group norm 1": norm_hand(lambda c: nn.GroupNorm(1, c)),
    "group norm 2": norm_hand(lambda c: nn.GroupNorm(2, c)),
    "group norm C": norm_hand(lambda c: nn.GroupNorm(c, c)),
    "instance norm": norm_hand(lambda c: nn.InstanceNorm2d(c, affine=True)),
    "layer norm": token_hand(nn.LayerNorm),
    "rms norm": token_hand(nn.RMSNorm),
    "channel mean": Hand(
        removed={"conv": [0, 1]},
        small=lambda: nets.ChannelMeanNet(4),
        cuts={"conv.": {0: [2, 3, 4, 5]}, "head.weight": {1: [2, 3, 4, 5]}},
    ),
    "standardized": Hand(
        removed={"conv1": [0, 2]},
        small=lambda: nets.StandardizedNet(4),
        cuts={"conv1.": {0: [1, 3, 4, 5]}, "conv2.weight": {1: [1, 3, 4, 5]}},
    ),
    "weight norm": Hand(
        removed={"conv1.parametrizations.weight": [4, 5]},
        small=lambda: nets.WeightNormNet(4),
        cuts={
            "conv1.bias": {0: [0, 1, 2, 3]},
            "conv1.parametrizations.weight.": {0: [0, 1, 2, 3]},
            "conv2.parametrizations.weight.original1": {1: [0, 1, 2, 3]},
        },
    ),
    "prelu": Hand(
        removed={"conv1": [2]},
        small=lambda: nets.PReLUNet(5),
        cuts={
            "conv1.": {0: [0, 1, 3, 4, 5]},
            "act.": {0: [0, 1, 3, 4, 5]},
            "conv2.weight": {1: [0, 1, 3, 4, 5]},
        },
    ),
    # Channel c of group g moves to 2 c + g: c goes in both groups.
    "shuffle": Hand(
        removed={"conv1": [1]},
        small=lambda: nets.ShuffleNet(6),
        cuts={"conv1.": {0: [0, 2, 3, 4, 6, 7]}, "conv2.weight": {1: [0, 1, 4, 5, 6, 7]}},
    ),
    "pixel shuffle": Hand(
        removed={"conv1": [1]},
        small=lambda: nets.PixelShuffleNet(2),
        cuts={"conv1.": {0: [0, 1, 2, 3, 8, 9, 10, 11]}, "conv2.weight": {1: [0, 2]}},
    ),
    "attention": Hand(removed={"qkv": [1]}, small=lambda: nets.AttentionNet(2, 4), cuts=_HEADS),
    "sdpa": Hand(removed={"qkv": [1]}, small=lambda: nets.SDPANet(2, 4), cuts=_HEADS),
    # Two heads of 4; the first of queries, keys and values stays, and 4 of the 8 outputs.
    "multihead": Hand(
        removed={"linear1": [1], "attention.out_proj": [1, 2, 3, 5], "linear2": [4]},
        small=lambda: nets.MultiheadNet(4, 4, 1),
        cuts={
            "linear1.": {0: [0, 1, 2, 3]},
            "attention.in_proj_weight": {
                0: [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19],
                1: [0, 1, 2, 3],
            },
            "attention.in_proj_bias": {0: [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]},
            "attention.out_proj.weight": {0: [0, 4, 6, 7], 1: [0, 1, 2, 3]},
            "attention.out_proj.bias": {0: [0, 4, 6, 7]},
            "linear2.weight": {0: [0, 1, 2, 3], 1: [0, 4, 6, 7]},
            "linear2.bias": {0: [0, 1, 2, 3]},
            "linear3.weight": {1: [0, 1, 2, 3]},
        },
    ),
    "embedding": Hand(
        removed={"embed": [0, 5]},
        small=lambda: nets.EmbeddingNet(4),
        cuts={"embed.weight": {1: [1, 2, 3, 4]}, "linear.weight": {1: [1, 2, 3, 4]}},
    ),
    "tied": Hand(
        removed={"down": [0, 5], "up": [2]},
        small=lambda: nets.TiedNet(4, 4),
        cuts={
            "embed.weight": {1: [1, 2, 3, 4]},
            "up.weight": {0: [0, 1, 3, 4], 1: [1, 2, 3, 4]},
            "up.bias": {0: [0, 1, 3, 4]},
            "down.weight": {0: [1, 2, 3, 4], 1: [0, 1, 3, 4]},
            "down.bias": {0: [1, 2, 3, 4]},
        },
    ),
    "twice": Hand(
        removed={"stem": [3]},
        small=lambda: nets.TwiceNet(5),
        cuts={
            "stem.": {0: [0, 1, 2, 4, 5]},
            "conv.weight": {0: [0, 1, 2, 4, 5], 1: [0, 1, 2, 4, 5]},
            "conv.bias": {0: [0, 1, 2, 4, 5]},
            "norm1.": {0: [0, 1, 2, 4, 5]},
            "head.weight": {1: [0, 1, 2, 4, 5]},
        },
    ),
    "functional": Hand(
        removed={"kernel": [0, 4]},
        small=lambda: nets.FunctionalNet(4),
        cuts={"kernel": {0: [1, 2, 3, 5]}, "scale": {1: [1, 2, 3, 5]}, "matrix": {0: [1, 2, 3, 5]}},
    ),
    "buffers": Hand(
        removed={"conv1": [0, 4]},
        small=lambda: nets.BufferNet(4),
        cuts={
            "conv1.": {0: [1, 2, 3, 5]},
            "offset": {0: [1, 2, 3, 5]},
            "gain": {1: [1, 2, 3, 5]},
            "conv2.weight": {1: [1, 2, 3, 5]},
        },
    ),
    "two inputs": Hand(
        removed={"a": [5]},
        small=lambda: nets.TwoInputNet(5),
        cuts={
            "a.": {0: [0, 1, 2, 3, 4]},
            "b.": {0: [0, 1, 2, 3, 4]},
            "head.weight": {1: [0, 1, 2, 3, 4]},
        },
    ),
}


@pytest.mark.parametrize("name", HANDS)
def test_pruned_network_equals_the_one_made_by_hand(name: str) -> None:
    case = nets.case(name)
    plan = plan_removal(trace(case.model, case.inputs), HANDS[name].removed)

    small = apply(plan, case.model)

    assert_same(small, by_hand(name, case.model), case.inputs)


@pytest.mark.parametrize("name", HANDS)
def test_pruned_tensors_are_those_sliced_by_hand(name: str) -> None:
    case = nets.case(name)
    plan = plan_removal(trace(case.model, case.inputs), HANDS[name].removed)

    small = tensors(apply(plan, case.model))

    expected = tensors(by_hand(name, case.model))
    torch.testing.assert_close(small, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", HANDS)
def test_layers_state_the_sizes_of_the_one_made_by_hand(name: str) -> None:
    case = nets.case(name)
    plan = plan_removal(trace(case.model, case.inputs), HANDS[name].removed)

    small = apply(plan, case.model)

    assert repr(small) == repr(by_hand(name, case.model))


def test_grouped_convolution_removes_different_inputs_of_every_group() -> None:
    case = nets.case("grouped")
    dense, small = tensors(case.model), nets.GroupedNet(6, 8, 2).double()
    ins, outs = [0, 2, 3, 4, 5, 7], [1, 3, 4, 5, 6, 8, 10, 11]
    # Outputs 0 to 5 see inputs 0 to 3, the others inputs 4 to 7: counted from 0 in the weight.
    columns = {o: [0, 2, 3] if o < 6 else [0, 1, 3] for o in outs}
    small.load_state_dict(
        {
            "enter.weight": dense["enter.weight"][ins],
            "enter.bias": dense["enter.bias"][ins],
            "grouped.weight": torch.stack([dense["grouped.weight"][o][columns[o]] for o in outs]),
            "grouped.bias": dense["grouped.bias"][outs],
            "leave.weight": dense["leave.weight"][:, outs],
            "leave.bias": dense["leave.bias"],
        }
    )
    plan = plan_removal(trace(case.model, case.inputs), {"enter": [1, 6], "grouped": [0, 2, 7, 9]})

    found = apply(plan, case.model)

    assert_same(found, small, case.inputs)


def test_multihead_attention_takes_torchs_fast_path_too() -> None:
    case = nets.case("multihead")
    graph = trace(case.model, case.inputs)

    small = apply(plan_removal(graph, HANDS["multihead"].removed), case.model)

    with torch.inference_mode():
        found = small(case.inputs)
    expected = by_hand("multihead", case.model)(case.inputs)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_padding_of_no_channels_is_left_when_all_padded_channels_go() -> None:
    case = nets.case("pad")
    plan = plan_removal(trace(case.model, case.inputs), {"conv": [0]})

    small = apply(plan, case.model)

    assert isinstance(small, nets.PadNet)
    assert [small.before, small.after] == [0, 2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_is_sliced_and_kept(dtype: torch.dtype) -> None:
    case = nets.case("plain")
    model = case.model.to(dtype)
    plan = plan_removal(trace(model, case.inputs.to(dtype)), HANDS["plain"].removed)

    small = tensors(apply(plan, model))

    expected = {n: t.to(dtype) if t.is_floating_point() else t
                for n, t in tensors(by_hand("plain", model)).items()}  # fmt: skip
    torch.testing.assert_close(small, expected, rtol=0, atol=0)

"""Counts of modules against formulas written by hand, torch's own counter, and real memory."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from sentei.cost import measure
from sentei.errors import TraceError
from sentei.graph.capture import tensors_in
from sentei.models import load_model


class Residual(nn.Module):
    """Stem, bottleneck and skip at 6x6; every activation of one sample is 36 times its width."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)
        self.mid = nn.Conv2d(8, 6, 1, bias=False)
        self.out = nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.stem(x)))
        return self.head((x + self.out(self.mid(x))).mean((2, 3)).flatten(1))


class LowRank(nn.Module):
    """A weight that is computed in the forward, once whatever the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(torch.ones(7, 2)), nn.Parameter(torch.ones(2, 5))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.left @ self.right)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 3)


class OtherPath(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu() if x.shape[0] > 3 else x


class Allocations(TorchDispatchMode):
    """Sums the bytes of all memory that operators really allocate."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = list(known)
        self.known = {t.untyped_storage().data_ptr() for t in known}
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN204
        out = func(*args, **(kwargs or {}))
        for tensor in tensors_in(out):
            self.alive.append(tensor)
            pointer = tensor.untyped_storage().data_ptr()
            if pointer not in self.known and tensor.numel():
                self.known.add(pointer)
                self.bytes += tensor.untyped_storage().nbytes()
        return out


def torch_macs(model: nn.Module, *inputs: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


def test_costs_of_a_residual_network_follow_the_formulas() -> None:
    counts = measure(Residual().eval(), torch.zeros(1, 3, 6, 6))

    assert counts.macs == 36 * (3 * 8 * 9 + 8 * 6 + 6 * 8 * 9) + 8 * 5
    assert counts.num_parameters == 3 * 8 * 9 + 2 * 8 + 8 * 6 + 6 * 8 * 9 + 8 * 5 + 5
    # The batch counter of the norm is an int64.
    assert counts.weight_bytes == 4 * (counts.num_parameters + 2 * 8) + 8
    # stem, norm (ReLU is in place), mid, out, sum, mean (flatten is a view), head.
    assert counts.activation_bytes == 4 * (36 * (8 + 8 + 6 + 8 + 8) + 8 + 5)
    # The sum needs both its terms and itself.
    assert counts.peak_activation_bytes == 4 * 36 * (8 + 8 + 8)


def test_inputs_live_until_their_last_use() -> None:
    model = nn.Sequential(nn.Linear(100, 3), nn.Linear(3, 50), nn.Linear(50, 2))

    # 100 + 3 floats while the first layer runs; without the input, 3 + 50 would be the peak.
    assert measure(model, torch.zeros(1, 100)).peak_activation_bytes == 4 * 103


def test_outputs_live_until_the_end() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            first = torch.cat([x, x, x])
            return first, first[:1].exp().exp().exp()

    # 3 floats of the first output, and two of the chain of exponentials.
    assert measure(Two(), torch.zeros(1)).peak_activation_bytes == 4 * 5


def test_a_view_keeps_its_base_alive() -> None:
    class Slice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            big = torch.cat([x] * 10)
            return x.exp() + big[:1]

    assert measure(Slice(), torch.zeros(1)).peak_activation_bytes == 4 * (10 + 1 + 1)


@pytest.mark.parametrize(
    ("model", "shape", "macs"),
    [
        (nn.Conv2d(6, 6, 3, groups=6), (1, 6, 5, 5), 9 * 6 * 9),
        (nn.Conv2d(4, 6, 3, groups=2, stride=2), (1, 4, 5, 5), 4 * 6 * 2 * 9),
        (nn.ConvTranspose2d(4, 6, 2, groups=2), (1, 4, 3, 3), 9 * 4 * 3 * 4),
        (nn.Conv1d(2, 3, 4), (1, 2, 9), 6 * 3 * 2 * 4),
        (nn.Linear(8, 5), (1, 7, 8), 7 * 8 * 5),
        (nn.LSTM(5, 7, batch_first=True), (1, 3, 5), 3 * 4 * 7 * (5 + 7)),
        (nn.GRU(5, 7, 2, bidirectional=True, batch_first=True), (1, 3, 5),
         3 * 3 * 2 * (7 * (5 + 7) + 7 * (14 + 7))),
        (nn.LSTMCell(5, 7), (1, 5), 4 * 7 * (5 + 7)),
    ],
    ids=["depthwise", "grouped", "transposed", "1d", "tokens", "lstm", "gru", "lstm-cell"],
)  # fmt: skip
@pytest.mark.parametrize("batch", [1, 3])
def test_macs_of_a_layer_for_one_sample(
    model: nn.Module, shape: tuple[int, ...], macs: int, batch: int
) -> None:
    assert measure(model, torch.zeros(batch, *shape[1:])).macs == macs


def test_macs_of_packed_sequences_count_the_real_steps() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(5, 7, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            lengths = torch.tensor([3, 1])
            packed = nn.utils.rnn.pack_padded_sequence(x.expand(2, -1, -1), lengths, True)
            return self.rnn(packed)[1]

    # 4 steps in all; the batch of 1 holds both sequences.
    assert measure(Packed(), torch.zeros(1, 3, 5)).macs == 4 * 3 * 7 * (5 + 7)


def test_macs_of_bilinear_are_one_a_weight() -> None:
    assert measure(nn.Bilinear(3, 4, 5), (torch.zeros(2, 3), torch.zeros(2, 4))).macs == 3 * 4 * 5


@pytest.mark.parametrize(
    ("options", "key_size", "value_size"),
    [({}, 8, 8), ({"kdim": 6, "vdim": 5, "bias": False, "add_zero_attn": True}, 6, 5),
     ({"add_bias_kv": True}, 8, 8)],
)  # fmt: skip
def test_macs_of_multi_head_attention_agree_with_torch(
    options: dict[str, int], key_size: int, value_size: int
) -> None:
    model = nn.MultiheadAttention(8, 2, batch_first=True, **options)
    inputs = torch.zeros(1, 3, 8), torch.zeros(1, 4, key_size), torch.zeros(1, 4, value_size)

    assert measure(model, inputs).macs == torch_macs(model, *inputs)


def test_macs_of_attention_without_returned_weights() -> None:
    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x, need_weights=False)[0]

    # Three projections in, one out; 3 queries meet 3 keys and the learned one, twice.
    assert measure(Attend(), torch.zeros(2, 3, 8)).macs == 4 * 3 * 8 * 8 + 2 * 3 * 4 * 8


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_weight_computed_in_the_forward_counts_once(batch: int) -> None:
    assert measure(LowRank(), torch.zeros(batch, 5)).macs == 7 * 2 * 5 + 5 * 7


def test_a_shared_parameter_counts_once() -> None:
    assert measure(Tied(), torch.zeros(1, 4)).num_parameters == 16 + 4 + 4


def test_bytes_follow_the_dtype() -> None:
    counts = measure(nn.Linear(4, 3).half(), torch.zeros(1, 4, dtype=torch.float16))

    assert (counts.weight_bytes, counts.activation_bytes) == (2 * 15, 2 * 3)


@pytest.mark.parametrize(
    "spec",
    ["resnet20", "densenet40", "mobilenetv2_cifar", "timm:test_efficientnet", "timm:test_convnext",
     "timm:test_vit", "timm:botnet26t_256", "timm:lambda_resnet26t"],
)  # fmt: skip
def test_macs_of_networks_agree_with_torch(spec: str) -> None:
    with torch.device("meta"):
        loaded = load_model(spec)
        assert loaded.input_shape is not None
        image = torch.empty(1, *loaded.input_shape)
    model = loaded.model.eval()

    assert measure(model, image).macs == torch_macs(model, image)


@pytest.mark.parametrize("spec", ["resnet20", "vgg16_bn", "mobilenetv2_cifar", "densenet40"])
def test_activation_bytes_are_those_that_torch_allocates(spec: str) -> None:
    loaded = load_model(spec)
    assert loaded.input_shape is not None
    model, image = loaded.model.eval(), torch.zeros(1, *loaded.input_shape)
    known = [image, *model.parameters(), *model.buffers()]

    with Allocations(known) as real, torch.no_grad():
        model(image)

    assert measure(model, image).activation_bytes == real.bytes


@pytest.mark.parametrize("spec", ["resnet20", "timm:test_vit", "timm:botnet26t_256"])
def test_counts_of_one_sample_do_not_depend_on_the_batch(spec: str) -> None:
    with torch.device("meta"):
        loaded = load_model(spec)
        assert loaded.input_shape is not None
        images = torch.empty(6, *loaded.input_shape)
    model = loaded.model.eval()

    assert measure(model, images[:1]) == measure(model, images[:2]) == measure(model, images)


def test_training_mode_with_statistics_over_the_batch_alone_is_counted() -> None:
    # A batch of one could not be normalised: the statistics need two values.
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))

    assert measure(model, torch.zeros(2, 4)).macs == 12


def test_a_model_that_needs_its_batch_is_refused() -> None:
    with pytest.raises(TraceError, match="fails on a batch of 4; trace it with a batch of one"):
        measure(FixedBatch(), torch.zeros(2, 3))


def test_a_model_that_does_other_things_on_a_larger_batch_is_refused() -> None:
    with pytest.raises(TraceError, match="on a batch of 4 the model runs other operators"):
        measure(OtherPath(), torch.zeros(2, 3))

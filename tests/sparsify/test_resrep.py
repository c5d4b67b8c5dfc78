"""ResRep: exact folding, gradient resetting by hand, masks that reach the budget."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentei.errors import PruningError
from sentei.graph import trace
from sentei.models.digits_cnn import DigitsCNN
from sentei.sparsify.base import SparseHook
from sentei.sparsify.resrep import Compactor, ResRep
from sentei.surgery import apply, plan_removal
from sentei.train import TrainConfig
from tests.support.nets import DepthwiseNet, PlainNet, ResidualNet, TwiceNet, example, fill
from tests.support.sparse import digits_net, setting_for, train_sparse


class LinearNet(nn.Module):
    """A norm behind a linear layer, of two dimensions. [N, 3, 8, 8] -> [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1 = nn.Linear(3, 6)
        self.norm = nn.BatchNorm1d(6)
        self.linear2 = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(nn.functional.relu(self.norm(self.linear1(x.mean((2, 3))))))


def started(model: nn.Module, method: ResRep | None = None, **options: float) -> SparseHook:
    setting = setting_for(trace(model, example(2, 3, 8, 8)), macs=options.get("macs", 0.5))
    hook = (method or ResRep()).start(setting)
    hook.on_start(model)
    return hook


def compactors(model: nn.Module) -> list[Compactor]:
    return [m for m in model.modules() if isinstance(m, Compactor)]


def disturb(model: nn.Module) -> None:
    """Give all compactors other matrices and statistics."""
    generator = torch.Generator().manual_seed(5)
    for compactor in compactors(model):
        noise = torch.randn(compactor.flat.shape, generator=generator, dtype=torch.float64)
        compactor.flat.data += 0.3 * noise
        compactor.mean += 0.1
        compactor.variance *= 1.7


@pytest.mark.parametrize(
    "make", [PlainNet, LinearNet, lambda: DigitsCNN(num_classes=4, in_channels=3)]
)
def test_folding_is_exact(make: type[nn.Module]) -> None:
    model, x = fill(make()), example(2, 3, 8, 8)
    untouched = model(x)
    hook = started(model)
    torch.testing.assert_close(model(x), untouched, rtol=1e-12, atol=1e-12)
    disturb(model)
    expected = model(x)
    assert not torch.allclose(expected, untouched)

    hook.finish(model)

    torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-12)
    assert not compactors(model)


def test_rows_of_zeros_can_be_removed_without_a_change() -> None:
    model, x = fill(DigitsCNN(num_classes=4, in_channels=3)), example(2, 3, 8, 8)
    graph = trace(model, x)
    hook = started(model)
    disturb(model)
    for module in (model.bn2, model.bn4):
        (compactor,) = compactors(module)
        with torch.no_grad():
            compactor.matrix[[3, 7]] = 0
    expected = model(x)

    hook.finish(model)
    small = apply(plan_removal(graph, {"conv2": [3, 7]}), model)

    torch.testing.assert_close(small(x), expected, rtol=1e-10, atol=1e-12)


def test_the_folded_norm_normalizes_in_training_mode_as_before() -> None:
    model, x = fill(PlainNet()), example(64, 3, 8, 8)
    for norm in (model.bn1, model.bn2):
        norm.momentum = 1.0
    hook = started(model)
    disturb(model)
    expected = model.train()(x)  # with momentum 1 all statistics become those of this batch

    hook.finish(model.eval())

    # What is left is n / (n - 1) in the variances.
    torch.testing.assert_close(model.train()(x), expected, rtol=0.01, atol=0.01)


def test_gradients_of_masked_rows_only_forget() -> None:
    model = fill(ResidualBlock())
    hook = started(model, ResRep(strength=0.2), macs=0.9)
    first, second = compactors(model.bn1)[0], compactors(model.bn2)[0]
    disturb(model)
    for compactor in (first, second):
        compactor.flat.grad = torch.ones_like(compactor.flat)
    hook.kept["masked"][1] = True

    hook.after_backward(model)

    # Both norms make the channels of one group: their rows are one.
    norms = (first.matrix.square().sum(1) + second.matrix.square().sum(1)).sqrt().detach()
    for compactor in (first, second):
        assert compactor.flat.grad is not None
        learned = torch.ones(6, 6, dtype=torch.float64)
        learned[1] = 0
        expected = learned + 0.2 * compactor.matrix.detach() / norms[:, None]
        torch.testing.assert_close(compactor.flat.grad.reshape(6, 6), expected)


class ResidualBlock(nn.Module):
    """Two normed convolutions into one stream; [N, 3, 8, 8] -> [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(6)
        self.linear = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.bn1(self.conv1(x)))
        x = nn.functional.relu(x + self.bn2(self.conv2(x)))
        return self.linear(x.mean((2, 3)))


def test_masks_grow_to_the_lowest_channels_that_meet_the_budget() -> None:
    model = fill(PlainNet())
    setting = setting_for(trace(model, example(1, 3, 8, 8)))  # 15 steps, half the MACs
    hook = ResRep(warmup=0.0, growth=0.8, every=3).start(setting)
    hook.on_start(model)
    sizes = torch.tensor([6, 1, 5, 2, 4, 3, 12, 11, 10, 9, 8, 7, 14, 13], dtype=torch.float64)
    for compactor, own in zip(compactors(model), (sizes[:6], sizes[6:]), strict=True):
        with torch.no_grad():
            compactor.flat.copy_(torch.diag(own).flatten())

    counts = []
    for _ in range(15):
        hook.after_step(model)
        counts.append(int(hook.kept["masked"].sum()))

    # After 3 of 12 steps at most a quarter of 14 channels; three channels save half the MACs:
    # 64 * 27 * 3 + 9 * 8 * 9 * 3 + 32 = 7160 > 7144 = half of 14288, four do.
    assert counts[:3] == [0, 0, 4]
    assert counts[-1] == 4
    masked = np.flatnonzero(hook.kept["masked"].numpy())
    assert masked.tolist() == [1, 3, 4, 5]
    scores = hook.scores(model)
    assert scores is not None
    assert scores[masked].max() < np.delete(scores, masked).min()


def test_masked_rows_of_digits_fade_and_the_rest_stays() -> None:
    config = TrainConfig(epochs=20, learning_rate=0.1, schedule="constant", momentum=0.9)
    method = ResRep(strength=0.05, growth=0.3, every=2)
    trained = train_sparse(method, digits_net(), config=config)

    scores = trained.hook.scores(trained.model)

    assert scores is not None
    masked = trained.hook.kept["masked"].numpy()
    keep = ~masked
    widths = np.array([keep[g.first : g.first + g.width].sum() for g in trained.graph.groups])
    setting = trained.hook.setting
    assert setting.costs.macs(widths) <= setting.targets["macs"]
    assert scores[masked].max() < 0.2 * scores[~masked].mean()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (ResidualNet, r"stem.weight makes channels that no norm follows .*'oto'"),
        (DepthwiseNet, r"expand.weight makes channels that no norm follows"),
        (TwiceNet, r"makes channels that no norm follows"),
    ],
)
def test_layers_without_a_place_for_a_compactor_are_refused(
    make: type[nn.Module], message: str
) -> None:
    model = fill(make())

    with pytest.raises(PruningError, match=message):
        started(model, macs=0.9)


def test_a_norm_behind_a_depthwise_layer_is_refused() -> None:
    layers = [
        nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1),
    ]  # fmt: skip

    with pytest.raises(PruningError, match=r"4.weight: 'resrep' folds compactors into the dense"):
        started(fill(nn.Sequential(*layers)), macs=0.9)


class NormAndReLU(nn.BatchNorm2d):
    """A norm and its activation in one module, as some model zoos have it."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(super().forward(x))


def test_a_norm_that_computes_more_is_refused() -> None:
    model = fill(PlainNet())
    model.bn1 = NormAndReLU(6).double()

    with pytest.raises(PruningError, match=r"bn1.weight belongs to a NormAndReLU.*'oto' or 'ssl'"):
        started(model)


def test_fields_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"masks grow until 1.2 of the training"):
        ResRep(warmup=0.5, growth=0.7)
    with pytest.raises(ValueError, match="every=0; expected a finite number >= 1"):
        ResRep(every=0)

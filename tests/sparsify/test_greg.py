"""Growing regularization: factors over time, gradient, and that the chosen channels vanish."""

import pytest
import torch

from sentei.graph import trace
from sentei.sparsify import SPARSIFIERS
from sentei.sparsify.base import SparseHook, Sparsifier
from sentei.sparsify.greg import GReg1, GReg2
from sentei.train import TrainConfig
from tests.support.nets import PlainNet, example, fill
from tests.support.sparse import digits_net, penalty_of, setting_for, train_sparse

TWENTY_STEPS = TrainConfig(epochs=4, learning_rate=0.1)


def started(model: PlainNet, method: Sparsifier) -> SparseHook:
    graph = trace(model, example(1, 3, 8, 8))
    hook = method.start(setting_for(graph, config=TWENTY_STEPS, steps_per_epoch=5))
    hook.on_start(model)
    return hook


def factors(hook: SparseHook, model: PlainNet) -> tuple[float, float]:
    """Return lambda of a chosen channel and of another one, from the gradient of their scales."""
    (gradient,) = torch.autograd.grad(penalty_of(hook, model), model.bn1.weight)
    values = gradient / model.bn1.weight.detach()
    chosen = hook.kept["chosen"][:6]
    return float(values[chosen].mean()), float(values[~chosen].mean())


FIRST = (0.5, 0.15, 1.0, 0.35, 0.85, 0.65)
SECOND = (0.6, 0.9, 0.1, 0.7, 0.2, 1.0, 0.55, 0.8)


def graded_net() -> PlainNet:
    """Return a network whose channels have the sizes FIRST and SECOND, in all that they own."""
    model = fill(PlainNet())
    first, second = torch.tensor(FIRST).double(), torch.tensor(SECOND).double()
    with torch.no_grad():
        model.conv1.weight.copy_(first[:, None, None, None].expand_as(model.conv1.weight))
        model.bn1.weight.copy_(first)
        pairs = second[:, None] * first
        model.conv2.weight.copy_(pairs[:, :, None, None].expand_as(model.conv2.weight))
        model.bn2.weight.copy_(second)
        model.linear.weight.copy_(second.expand_as(model.linear.weight))
    return model


def test_greg1_grows_on_the_channels_that_l1_and_the_budget_choose() -> None:
    model = graded_net()
    hook = started(model, GReg1(ceiling=0.8, growth=0.5, every=5))

    found = []
    for _ in range(20):
        found.append(factors(hook, model))
        hook.after_step(model)

    # Two increments of 5 steps within the first 10 of 20 steps, then the ceiling.
    assert [f for f, _ in found] == pytest.approx([0.4] * 5 + [0.8] * 15)
    assert [f for _, f in found] == [0.0] * 20
    # The smallest go: 0.1, 0.15, 0.2, 0.35, 0.5. Then 3 and 6 channels are left, and of
    # 64 * 27 * 6 + 9 * 9 * 6 * 8 + 4 * 8 = 14288 multiply-adds 6666; with 4 and 6 it were 8880.
    expected = [True, True, False, True, False, False]
    expected += [False, False, True, False, True, False, False, False]
    assert hook.kept["chosen"].tolist() == expected


def test_greg2_presses_on_all_then_chooses_and_lets_the_rest_recover() -> None:
    model = fill(PlainNet())
    method = GReg2(common=0.2, recovery=0.01, separation=0.5, ceiling=1.0, growth=0.25, every=5)
    hook = started(model, method)

    all_alike = []
    for _ in range(10):
        (gradient,) = torch.autograd.grad(penalty_of(hook, model), model.bn1.weight)
        values = gradient / model.bn1.weight.detach()
        assert values.tolist() == pytest.approx([float(values[0])] * 6)
        all_alike.append(float(values[0]))
        assert not hook.kept["chosen"].any()
        hook.after_step(model)
    after = [factors(hook, model)]
    hook.after_step(model)
    after.append(factors(hook, model))

    assert all_alike == pytest.approx([0.1] * 5 + [0.2] * 5)
    assert after[0] == pytest.approx((1.0, -0.01))
    assert after[1] == pytest.approx((1.0, -0.01))


@pytest.mark.parametrize("method", [GReg1(), GReg2()])
def test_gradient_passes_gradcheck(method: Sparsifier) -> None:
    model = fill(PlainNet())
    hook = started(model, method)
    weights = (model.conv1.weight, model.bn2.weight)

    assert torch.autograd.gradcheck(lambda *_: penalty_of(hook, model), weights)


@pytest.mark.parametrize("name", ["greg1", "greg2"])
def test_chosen_channels_of_digits_shrink_and_score_lowest(name: str) -> None:
    config = TrainConfig(epochs=8, learning_rate=0.1, schedule="constant", nesterov=False)
    trained = train_sparse(SPARSIFIERS[name](ceiling=2.0), digits_net(), config=config)

    scores = trained.hook.scores(trained.model)

    assert scores is not None
    chosen = trained.hook.kept["chosen"].numpy()
    assert 0 < chosen.mean() < 1
    assert scores[chosen].max() < scores[~chosen].min()
    assert scores[chosen].max() < 0.2 * scores[~chosen].mean()


def test_fields_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lambda grows until 1.25 of the training"):
        GReg2(separation=0.5, growth=0.75)
    with pytest.raises(ValueError, match="ceiling=0; expected a finite number > 0"):
        GReg1(ceiling=0)
    with pytest.raises(ValueError, match="every=0; expected a finite number >= 1"):
        GReg1(every=0)
    with pytest.raises(ValueError, match="recovery=-1; expected a finite number >= 0"):
        GReg2(recovery=-1)

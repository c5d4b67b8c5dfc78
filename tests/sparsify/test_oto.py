"""OTO: the half-space step by hand, gradient, and zero groups that go without a change."""

import numpy as np
import pytest
import torch
from torch import nn

from sentei.errors import PruningError
from sentei.graph import trace
from sentei.sparsify.base import SparseHook
from sentei.sparsify.oto import OTO
from sentei.surgery import apply
from sentei.surgery.plan import plan_keep
from sentei.train import TrainConfig
from tests.support.nets import PlainNet, case, example, fill
from tests.support.sparse import (
    BareNet,
    digit_batches,
    digits_net,
    penalty_of,
    setting_for,
    train_sparse,
)


def started(model: nn.Module, method: OTO) -> SparseHook:
    hook = method.start(setting_for(trace(model, example(1, 3, 8, 8))))
    hook.on_start(model)
    return hook


def test_penalty_is_over_what_makes_a_channel() -> None:
    model = fill(PlainNet())
    assert model.conv2.bias is not None

    penalty = penalty_of(started(model, OTO(strength=0.1)), model)

    first = [
        model.conv1.weight[c].square().sum() + model.bn1.weight[c] ** 2 + model.bn1.bias[c] ** 2
        for c in range(6)
    ]
    second = [
        model.conv2.weight[c].square().sum()
        + model.conv2.bias[c] ** 2
        + model.bn2.weight[c] ** 2
        + model.bn2.bias[c] ** 2
        for c in range(8)
    ]
    expected = 0.1 * torch.stack(first + second).sqrt().sum()
    torch.testing.assert_close(penalty, expected, rtol=1e-10, atol=0)


def test_gradient_passes_gradcheck() -> None:
    model = fill(PlainNet())
    hook = started(model, OTO(strength=0.1))

    assert torch.autograd.gradcheck(
        lambda *_: penalty_of(hook, model), (model.conv1.weight, model.bn2.bias)
    )


def test_groups_that_leave_their_half_space_become_zero_and_stay_so() -> None:
    model = fill(PlainNet())
    hook = started(model, OTO(epsilon=0.5, warmup=0.0))
    hook.after_backward(model)
    with torch.no_grad():
        # Channel 0 keeps 0.6 of itself, channel 1 keeps 0.4, channel 2 turns round.
        for tensor in (model.conv1.weight, model.bn1.weight, model.bn1.bias):
            for channel, factor in enumerate((0.6, 0.4, -1.0)):
                tensor[channel] *= factor

    hook.after_step(model)
    zero = [float(model.conv1.weight[c].detach().abs().sum()) == 0 for c in range(6)]
    hook.after_backward(model)
    with torch.no_grad():
        model.conv1.weight[1] += 1.0
    hook.after_step(model)

    assert zero == [False, True, True, False, False, False]
    assert float(model.bn1.bias.detach()[1]) == 0
    assert float(model.conv1.weight[1].detach().abs().sum()) == 0


def test_the_first_stage_does_not_project() -> None:
    model = fill(PlainNet())
    hook = started(model, OTO(warmup=0.5))
    hook.after_backward(model)
    with torch.no_grad():
        model.conv1.weight.mul_(-1)
    before = model.conv1.weight.detach().clone()

    hook.after_step(model)

    assert torch.equal(model.conv1.weight, before)


def test_the_floor_is_never_projected() -> None:
    model = fill(PlainNet())
    hook = started(model, OTO(warmup=0.0))
    hook.after_backward(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-1)

    hook.after_step(model)

    # floor = 0.1 of 6 and of 8 channels is one of each.
    alive = [
        int((w.detach().abs().sum((1, 2, 3)) > 0).sum())
        for w in (model.conv1.weight, model.conv2.weight)
    ]
    assert alive == [1, 1]


@pytest.mark.parametrize("kind", [digits_net, BareNet])
def test_removing_zero_groups_after_training_changes_no_output(kind: type[nn.Module]) -> None:
    config = TrainConfig(epochs=6, learning_rate=0.05, schedule="constant", nesterov=False)
    method = OTO(strength=0.2, epsilon=0.95, warmup=0.3)
    trained = train_sparse(method, kind(), config=config)
    scores = trained.hook.scores(trained.model)
    assert scores is not None
    assert 0 < np.mean(scores == 0) < 1
    x = digit_batches(1)[0][0]

    small = apply(plan_keep(trained.graph, scores > 0), trained.model.eval())

    torch.testing.assert_close(small(x), trained.model(x), rtol=1e-10, atol=1e-12)


def test_a_group_that_nothing_makes_is_refused() -> None:
    found = case("embedding")
    hook = OTO().start(setting_for(trace(found.model, found.inputs), macs=0.9))

    with pytest.raises(PruningError, match=r"group embed: no convolution.*'ssl'"):
        hook.on_start(found.model)


def test_fields_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"epsilon=1.0; expected a number in \[0, 1\)"):
        OTO(epsilon=1.0)
    with pytest.raises(ValueError, match="warmup=2; expected a share"):
        OTO(warmup=2)

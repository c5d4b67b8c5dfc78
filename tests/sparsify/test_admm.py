"""ADMM: the projection, the penalty and the dual by hand, and that the rest shrinks."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sentei.graph import trace
from sentei.sparsify.admm import ADMM
from sentei.sparsify.base import SparseHook
from sentei.train import TrainConfig
from tests.support.nets import PlainNet, example, fill
from tests.support.sparse import digits_net, penalty_of, planned_removal, setting_for, train_sparse

WEIGHTS = ("conv1.weight", "bn1.weight", "conv2.weight", "bn2.weight", "linear.weight")


def started(model: PlainNet, method: ADMM) -> SparseHook:
    hook = method.start(setting_for(trace(model, example(1, 3, 8, 8))))
    hook.on_start(model)
    return hook


def coupled_norms(model: PlainNet) -> tuple[Tensor, Tensor]:
    """Return the norm of every channel of both groups over all it owns, written out."""
    w1, w2, w3 = (m.weight.detach() for m in (model.conv1, model.conv2, model.linear))
    first = w1.square().sum((1, 2, 3)) + model.bn1.weight**2 + w2.square().sum((0, 2, 3))
    second = w2.square().sum((1, 2, 3)) + model.bn2.weight**2 + w3.square().sum(0)
    return first.detach().sqrt(), second.detach().sqrt()


def test_the_projection_keeps_the_channels_of_the_largest_coupled_norms() -> None:
    model = fill(PlainNet())
    hook = started(model, ADMM())

    zero = hook.kept["zero"]
    for own, norms in zip((zero[:6], zero[6:]), coupled_norms(model), strict=True):
        count = int(own.sum())
        assert 0 < count < len(own)
        assert set(torch.nonzero(own).flatten().tolist()) == set(norms.argsort()[:count].tolist())
    keep1, keep2 = (~zero[:6]).double(), (~zero[6:]).double()
    expected = model.conv2.weight * keep2[:, None, None, None] * keep1[None, :, None, None]
    assert torch.equal(hook.kept["target:conv2.weight"], expected.detach())
    assert torch.equal(hook.kept["target:bn1.weight"], (model.bn1.weight * keep1).detach())


def test_penalty_is_half_rho_times_the_squared_distance() -> None:
    model = fill(PlainNet())
    hook = started(model, ADMM(rho=0.3))
    hook.kept["dual:bn1.weight"].copy_(example(6))

    penalty = penalty_of(hook, model)

    parameters = dict(model.named_parameters())
    expected = sum(
        (parameters[n] - hook.kept[f"target:{n}"] + hook.kept[f"dual:{n}"]).square().sum()
        for n in WEIGHTS
    )
    torch.testing.assert_close(penalty, 0.15 * expected, rtol=1e-10, atol=0)
    assert torch.autograd.gradcheck(lambda *_: penalty_of(hook, model), (model.bn1.weight,))


def test_the_dual_adds_what_is_left_after_each_epoch() -> None:
    model = fill(PlainNet())
    hook = started(model, ADMM(stages=1))
    for _ in range(2):
        before = hook.kept["dual:conv1.weight"].clone()
        hook.after_epoch(model, 0)
        left = model.conv1.weight.detach() - hook.kept["target:conv1.weight"]

        torch.testing.assert_close(hook.kept["dual:conv1.weight"], before + left)
        assert bool(left.abs().sum() > 0)


def test_the_dual_shrinks_as_rho_grows() -> None:
    model = fill(PlainNet())
    hook = started(model, ADMM(stages=3))  # of one epoch each
    for _ in range(5):
        hook.after_step(model)

    hook.after_epoch(model, 0)

    left = model.conv1.weight.detach() - hook.kept["target:conv1.weight"]
    torch.testing.assert_close(hook.kept["dual:conv1.weight"], left / 10)


def test_rho_grows_tenfold_in_each_of_equal_stages() -> None:
    method = ADMM(rho=1e-4, stages=4)

    found = [method.rho_in(epoch, 8) for epoch in (*range(8), 8)]

    assert found == pytest.approx([1e-4, 1e-4, 1e-3, 1e-3, 1e-2, 1e-2, 0.1, 0.1, 0.1])


def test_channels_of_digits_outside_the_projection_shrink_and_score_lowest() -> None:
    config = TrainConfig(epochs=8, learning_rate=0.1, schedule="constant", nesterov=False)
    trained = train_sparse(ADMM(rho=0.1, stages=2), digits_net(), config=config)

    scores = trained.hook.scores(trained.model)

    assert scores is not None
    zero = trained.hook.kept["zero"].numpy()
    assert 0 < zero.mean() < 1
    assert scores[zero].max() <= scores[~zero].min()
    assert scores[zero].mean() < 0.5 * np.mean(scores[~zero])


def test_a_plan_over_all_groups_removes_nothing_but_what_training_chose() -> None:
    model = digits_net()
    with torch.no_grad():
        model.conv1.weight[0] *= 100  # against the mean of this group all others are low
    trained = train_sparse(ADMM(), model)

    removed = planned_removal("admm", ADMM(), trained)

    assert removed.sum() > 0
    assert not (removed & ~trained.hook.kept["zero"].numpy()).any()


def test_fields_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="rho=0; expected a finite number > 0"):
        ADMM(rho=0)
    with pytest.raises(ValueError, match="stages=0; expected a finite number >= 1"):
        ADMM(stages=0)

"""DPF: dense weights under a mask, the gradient they get, and the cubic schedule."""

import pytest
import torch
from torch import Tensor

from sentei.graph import trace
from sentei.sparsify.base import SparseHook
from sentei.sparsify.dpf import DPF
from tests.support.nets import PlainNet, example, fill
from tests.support.sparse import digits_net, planned_removal, setting_for, train_sparse


def started(model: PlainNet, method: DPF) -> SparseHook:
    hook = method.start(setting_for(trace(model, example(1, 3, 8, 8))))
    hook.on_start(model)
    return hook


def masked_net() -> tuple[PlainNet, SparseHook, Tensor]:
    """Return a network with its first mask, and a filter that it has."""
    model = fill(PlainNet())
    hook = started(model, DPF(growth=0.05, every=1))
    hook.after_step(model)
    return model, hook, model.conv1.weight


def test_the_network_runs_masked_and_the_dense_weights_are_kept() -> None:
    dense = fill(PlainNet()).conv1.weight.detach()

    _, hook, weight = masked_net()

    masked = hook.kept["masked"][:6]
    assert 0 < int(masked.sum()) < 6
    assert bool((weight[masked] == 0).all())
    assert torch.equal(weight[~masked], dense[~masked])
    assert torch.equal(hook.kept["dense:conv1.weight"], dense)


def test_dense_weights_step_by_the_gradient_of_the_masked_network() -> None:
    model, hook, weight = masked_net()
    dense = hook.kept["dense:conv1.weight"].clone()
    masked = hook.kept["masked"][:6]
    # By another way: the network with the masked weight as an argument.
    x = example(4, 3, 8, 8)
    argument = (dense * (~masked).double()[:, None, None, None]).requires_grad_()
    parameters = {**dict(model.named_parameters()), "conv1.weight": argument}
    loss = torch.func.functional_call(model, parameters, (x,)).square().sum()
    (gradient,) = torch.autograd.grad(loss, argument)
    assert bool(gradient[masked].abs().sum() > 0)

    model.zero_grad()
    model(x).square().sum().backward()
    hook.after_backward(model)
    torch.optim.SGD(model.parameters(), lr=1e-4).step()
    hook.after_step(model)

    found = hook.kept["dense:conv1.weight"]
    torch.testing.assert_close(found, dense - 1e-4 * gradient, rtol=1e-10, atol=1e-14)
    assert bool((weight[hook.kept["masked"][:6]] == 0).all())


def test_a_masked_channel_whose_dense_weights_grow_comes_back() -> None:
    model, hook, weight = masked_net()
    back = int(torch.nonzero(hook.kept["masked"])[0])

    hook.after_backward(model)
    with torch.no_grad():
        weight[back] = 10.0
    hook.after_step(model)

    assert not hook.kept["masked"][back]
    assert bool((weight[back] == 10).all())


def test_the_share_is_cubic_until_growth_ends() -> None:
    method = DPF(growth=0.5)

    found = [method.share(step, 100) for step in (0, 25, 50, 100)]

    assert found == pytest.approx([0.0, 1 - 0.5**3, 1.0, 1.0])


def test_masks_are_made_every_few_steps_and_after_the_last() -> None:
    model = fill(PlainNet())
    hook = started(model, DPF(growth=0.5, every=4))
    changes = []
    before = hook.kept["masked"].clone()
    for step in range(1, 16):  # 3 epochs of 5 steps
        hook.after_backward(model)
        with torch.no_grad():
            model.conv1.weight[step % 6] *= 0.1
        hook.after_step(model)
        if not torch.equal(hook.kept["masked"], before):
            changes.append(step)
            before = hook.kept["masked"].clone()

    assert changes
    assert set(changes) <= {4, 8, 12, 15}


def test_masked_channels_of_digits_are_zero_and_score_lowest() -> None:
    trained = train_sparse(DPF(), digits_net())

    scores = trained.hook.scores(trained.model)

    assert scores is not None
    masked = trained.hook.kept["masked"].numpy()
    assert 0 < masked.mean() < 1
    assert scores[masked].max() <= scores[~masked].min()


def test_a_plan_over_all_groups_removes_nothing_but_what_training_chose() -> None:
    model = digits_net()
    with torch.no_grad():
        model.conv1.weight[0] *= 100  # against the mean of this group all others are low
    trained = train_sparse(DPF(), model)

    removed = planned_removal("dpf", DPF(), trained)

    assert removed.sum() > 0
    assert not (removed & ~trained.hook.kept["masked"].numpy()).any()


def test_fields_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"growth=2; expected a share in \(0, 1\]"):
        DPF(growth=2)
    with pytest.raises(ValueError, match="growth=0; expected a finite number > 0"):
        DPF(growth=0)
    with pytest.raises(ValueError, match="every=0; expected a finite number >= 1"):
        DPF(every=0)
    with pytest.raises(ValueError, match="DPF: criterion 'hrank' needs images"):
        DPF(criterion="hrank")

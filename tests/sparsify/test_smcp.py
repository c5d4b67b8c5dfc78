"""SMCP: masks on what reads channels, and the importance that chooses them."""

import pytest
import torch
from torch import Tensor

from sentei.graph import trace
from sentei.sparsify.base import SparseHook
from sentei.sparsify.smcp import SMCP
from tests.support.nets import PlainNet, example, fill
from tests.support.sparse import digits_net, planned_removal, setting_for, train_sparse

X = example(4, 3, 8, 8)


def step(model: PlainNet, hook: SparseHook, rate: float = 1e-4) -> None:
    model.zero_grad()
    model(X).square().sum().backward()
    hook.after_backward(model)
    torch.optim.SGD(model.parameters(), lr=rate).step()
    hook.after_step(model)


def started(method: SMCP) -> tuple[PlainNet, SparseHook]:
    model = fill(PlainNet())
    hook = method.start(setting_for(trace(model, example(1, 3, 8, 8))))
    hook.on_start(model)
    return model, hook


def column_products(model: PlainNet, weight: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return by input channel of conv2 the sum of w dL/d(m w), and that gradient."""
    argument = (weight * mask[:, None, None]).detach().requires_grad_()
    parameters = {**dict(model.named_parameters()), "conv2.weight": argument}
    loss = torch.func.functional_call(model, parameters, (X,)).square().sum()
    (gradient,) = torch.autograd.grad(loss, argument)
    return (weight * gradient).sum((0, 2, 3)).abs(), gradient


def test_importance_is_what_the_readers_of_a_channel_would_change_even_when_masked() -> None:
    model, hook = started(SMCP(growth=0.05, every=1))
    first, _ = column_products(model, model.conv2.weight.detach(), torch.ones(6))

    step(model, hook)
    masked = hook.kept["masked"][:6].clone()
    found_first = hook.kept["last"][:6].clone()
    dense = hook.kept["dense:conv2.weight"].clone()
    second, gradient = column_products(model, dense, (~masked).double())
    step(model, hook)

    assert 0 < int(masked.sum()) < 6
    torch.testing.assert_close(found_first, first, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(hook.kept["last"][:6], second, rtol=1e-10, atol=1e-12)
    # The dense weights step by the gradient of the masked network.
    moved = hook.kept["dense:conv2.weight"]
    torch.testing.assert_close(moved, dense - 1e-4 * gradient, rtol=1e-10, atol=1e-14)
    assert bool((moved - dense)[:, masked].abs().sum() > 0)


def test_the_mask_is_on_readers_and_leaves_filters_alone() -> None:
    model, hook = started(SMCP(growth=0.05, every=1))

    step(model, hook, rate=0.0)

    masked = hook.kept["masked"][:6]
    assert bool((model.conv2.weight[:, masked] == 0).all())
    assert bool((model.conv2.weight[:, ~masked] != 0).any())
    assert torch.equal(model.conv1.weight, fill(PlainNet()).conv1.weight)


def test_importance_adds_up_between_masks() -> None:
    model, hook = started(SMCP(every=3))
    expected = torch.zeros(6, dtype=torch.float64)

    for _ in range(3):
        expected += column_products(model, model.conv2.weight.detach(), torch.ones(6))[0]
        step(model, hook)

    torch.testing.assert_close(hook.kept["last"][:6], expected, rtol=1e-10, atol=1e-12)
    assert not bool(hook.kept["importance"].any())


def test_the_plan_removes_what_is_masked_in_the_end() -> None:
    method = SMCP(every=5)
    trained = train_sparse(method, digits_net())

    removed = torch.from_numpy(planned_removal("smcp", method, trained))

    masked = trained.hook.kept["masked"]
    assert int(masked.sum()) > 0
    # Channels that are masked score below the rest of their group, so they go first there.
    for group in trained.graph.groups:
        own = slice(group.first, group.first + group.width)
        least = min(int(masked[own].sum()), int(removed[own].sum()))
        assert int((masked[own] & removed[own]).sum()) == least


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"growth": 0.0}, "SMCP: growth=0.0; expected a finite number > 0"),
        ({"growth": 1.5}, r"SMCP: growth=1\.5; expected a share in \(0, 1\]"),
        ({"every": 0}, "SMCP: every=0; expected a finite number >= 1"),
    ],
)
def test_fields_out_of_range_are_refused(method: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SMCP(**method)  # type: ignore[arg-type]

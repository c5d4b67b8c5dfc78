"""Tick: what is trained, what rests, and what the scores add up."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sentei.criteria.base import FloatArray
from sentei.models.digits_cnn import DigitsCNN
from sentei.sparsify.tick import Tick
from sentei.train import TrainConfig
from tests.support.sparse import digit_batches, digits_net, train_sparse

NORMS = {"conv1": ["bn1"], "conv2": ["bn2", "bn4"], "conv3": ["bn3"]}


def settled_net() -> DigitsCNN:
    """Return a network with scales, shifts and statistics that are not those of a new one."""
    net = digits_net()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.uniform_(-0.5, 0.5, generator=generator)
            norm.running_mean.uniform_(-0.2, 0.2, generator=generator)  # type: ignore[union-attr]
    return net


def first_order_changes(net: nn.Module) -> dict[str, FloatArray]:
    """Return by group the absolute sum of what scales and shifts lose, added over the batches."""
    total: dict[str, FloatArray] = {name: np.zeros(1) for name in NORMS}
    for images, labels in digit_batches():
        net.eval().zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        for group, names in NORMS.items():
            change = torch.zeros(())
            for own in (p for name in names for p in net.get_submodule(name).parameters()):
                assert own.grad is not None
                change = change + (own * own.grad).detach()
            total[group] = total[group] + change.abs().numpy()
    return total


def test_scores_add_up_first_order_changes_of_the_loss_without_the_penalty() -> None:
    expected = first_order_changes(settled_net())
    net = settled_net()

    # So slow that the gates stay where they are.
    config = TrainConfig(epochs=1, learning_rate=1e-12, nesterov=False, label_smoothing=0.0)
    trained = train_sparse(Tick(strength=0.5), net, config=config)

    scores = trained.hook.scores(net)
    assert scores is not None
    for group in trained.graph.groups:
        own = scores[group.first : group.first + group.width]
        np.testing.assert_allclose(own, expected[group.name], rtol=1e-6)


def test_all_but_gates_and_the_last_layer_rest() -> None:
    net = settled_net()
    before = copy.deepcopy(net.state_dict())

    trained = train_sparse(Tick(), net)
    trained.hook.finish(net)

    found = net.state_dict()
    moved = {name for name in found if not torch.equal(found[name], before[name])}
    folded = {f"bn{k}.{own}" for k in (1, 2, 3, 4) for own in ("weight", "bias")}
    assert moved == folded | {"linear.weight", "linear.bias"}
    # One gate multiplies the scale and the shift, at both norms of a group.
    gates = [found[name] / before[name] for name in ("bn2.weight", "bn2.bias", "bn4.weight")]
    torch.testing.assert_close(gates[0], gates[1], rtol=1e-10, atol=0)
    torch.testing.assert_close(gates[0], gates[2], rtol=1e-10, atol=0)


def test_the_penalty_shrinks_gates() -> None:
    sizes = []
    for strength in (0.0, 0.5):
        net = settled_net()
        trained = train_sparse(Tick(strength=strength), net)
        before = net.get_parameter("bn1.parametrizations.weight.original").detach().clone()
        trained.hook.finish(net)
        sizes.append(float((net.bn1.weight.detach() / before).abs().sum()))

    assert sizes[1] < 0.8 * sizes[0]


def test_a_negative_strength_is_refused() -> None:
    with pytest.raises(ValueError, match="Tick: strength=-1; expected a finite number >= 0"):
        Tick(strength=-1)

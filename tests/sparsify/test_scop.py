"""SCOP: mixing by hand, only shares move, clean channels win over noise."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from sentei.errors import PruningError
from sentei.graph import trace
from sentei.seeding import make_generator
from sentei.sparsify.base import SparseHook
from sentei.sparsify.scop import SCOP
from sentei.train import TrainConfig, fit
from tests.support.nets import NormNet, PlainNet, example, fill
from tests.support.sparse import digit_batches, digits_net, setting_for, train_sparse


def started(model: nn.Module, inputs: Tensor) -> SparseHook:
    hook = SCOP().start(setting_for(trace(model, inputs), macs=0.9))
    hook.on_start(model)
    return hook


def test_features_behind_each_norm_are_mixed_with_those_of_the_knockoff() -> None:
    model, plain, x = fill(PlainNet()), fill(PlainNet()), example(4, 3, 8, 8)
    hook = started(model, x)
    shares = dict(model.named_parameters())["sentei_knockoff.values"]
    with torch.no_grad():
        shares.copy_(torch.linspace(0.1, 0.9, 14))

    found = model.train()(x)

    generator = make_generator(hook.setting.seed, "scop", "0")
    knockoff = x[torch.randperm(4, generator=generator)]
    own = x
    layers = [(plain.conv1, plain.bn1), (plain.conv2, plain.bn2)]
    for (conv, norm), (start, end) in zip(layers, pairwise([0, 6, 14]), strict=True):
        kappa = shares.detach()[start:end].reshape(-1, 1, 1)
        other = norm(conv(knockoff))
        own = nn.functional.relu(kappa * norm(conv(own)) + (1 - kappa) * other)
        knockoff = nn.functional.relu(other)
    torch.testing.assert_close(found, plain.linear(own.mean((2, 3))), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(model.eval()(x), plain(x), rtol=0, atol=0)


def test_scores_weigh_the_preference_with_the_scale() -> None:
    model = fill(PlainNet())
    hook = started(model, example(1, 3, 8, 8))
    with torch.no_grad():
        dict(model.named_parameters())["sentei_knockoff.values"].copy_(torch.linspace(0, 1, 14))

    scores = hook.scores(model)

    assert scores is not None
    preference = [2 * c / 13 - 1 for c in range(6)]
    expected = [p * abs(g) for p, g in zip(preference, model.bn1.weight.tolist(), strict=True)]
    assert scores[:6] == pytest.approx(expected)


def test_shares_of_digits_leave_one_half_and_stay_in_range() -> None:
    model = digits_net()
    fit(model, digit_batches(), config=TrainConfig(epochs=4, learning_rate=0.1))
    config = TrainConfig(epochs=4, optimizer="adamw", learning_rate=0.05)

    trained = train_sparse(SCOP(), model, config=config)

    shares = dict(trained.model.named_parameters())["sentei_knockoff.values"].detach()
    assert float(shares.min()) >= 0
    assert float(shares.max()) <= 1
    assert float(shares.mean()) > 0.55
    assert float(shares.std()) > 0.01


def test_other_norms_than_batch_norms_are_refused() -> None:
    model = fill(NormNet(lambda c: nn.GroupNorm(c, c)))

    with pytest.raises(PruningError, match=r"norm.weight: 'scop' needs batch norms .* GroupNorm"):
        started(model, example(1, 3, 5, 5))

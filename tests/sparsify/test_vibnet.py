"""VIBNet: the divergence, the noise, and that what carries nothing scores low."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from sentei.graph import trace
from sentei.sparsify.base import SparseHook
from sentei.sparsify.vibnet import VIBNet, divergence
from sentei.train import TrainConfig
from tests.support.nets import PlainNet, example, fill
from tests.support.sparse import BareNet, penalty_of, setting_for, train_sparse


def started(model: PlainNet, method: VIBNet) -> SparseHook:
    hook = method.start(setting_for(trace(model, example(1, 3, 8, 8))))
    hook.on_start(model)
    return hook


def test_the_divergence_is_zero_where_the_mean_is() -> None:
    found = divergence(torch.zeros(3), torch.tensor([-9.0, 0.0, 5.0]))

    assert found.tolist() == [0.0, 0.0, 0.0]


def test_the_divergence_is_that_from_the_best_centred_normal() -> None:
    mean, log_variance = example(5), example(5, seed=2)
    deviation = (0.5 * log_variance).exp()
    best = (mean.square() + deviation.square()).sqrt()

    expected = kl_divergence(Normal(mean, deviation), Normal(torch.zeros_like(mean), best))

    torch.testing.assert_close(divergence(mean, log_variance), expected, rtol=1e-10, atol=1e-12)


def test_the_divergence_passes_gradcheck() -> None:
    inputs = (example(5).requires_grad_(), example(5, seed=2).requires_grad_())

    assert torch.autograd.gradcheck(divergence, inputs)


def test_penalty_is_the_sum_of_divergences() -> None:
    model = fill(PlainNet())
    hook = started(model, VIBNet(strength=0.3))
    gates = hook.gates  # type: ignore[attr-defined]

    expected = sum(
        0.5 * torch.log(1 + m**2 / torch.exp(v))
        for m, v in zip(gates.mean, gates.log_variance, strict=True)
    )

    torch.testing.assert_close(penalty_of(hook, model), 0.3 * expected, rtol=1e-10, atol=0)


def test_gates_are_near_one_with_noise_of_their_variance_and_without_it_in_evaluation() -> None:
    model = fill(PlainNet(first=400, second=400))
    hook = started(model, VIBNet())
    gates = hook.gates  # type: ignore[attr-defined]
    with torch.no_grad():
        gates.log_variance.fill_(2 * torch.tensor(0.5).log())

    assert torch.equal(gates.eval()(), gates.mean)
    assert float((gates.mean - 1).detach().abs().max()) < 0.05
    noise = (gates.train()() - gates.mean).detach()
    assert abs(float(noise.mean())) < 0.05
    assert float(noise.std()) == pytest.approx(0.5, rel=0.1)


def test_the_noise_of_the_next_step_is_new() -> None:
    model = fill(PlainNet())
    hook = started(model, VIBNet())
    gates = hook.gates  # type: ignore[attr-defined]
    before = gates.noise.clone()

    hook.after_step(model)

    assert not torch.equal(gates.noise, before)


def test_the_score_falls_of_a_channel_that_the_network_does_not_read() -> None:
    model = BareNet()
    reader = model.linear2.weight
    with torch.no_grad():
        reader[:, 0] = 0
    reader.register_hook(lambda g: torch.cat([torch.zeros_like(g[:, :1]), g[:, 1:]], dim=1))
    config = TrainConfig(
        epochs=24, learning_rate=0.1, schedule="constant", weight_decay=0.0, nesterov=False
    )
    trained = train_sparse(VIBNet(strength=0.05), model, config=config)

    scores = trained.hook.scores(trained.model)

    assert scores is not None
    # At the beginning it was 1/2 log(1 + exp(9)) = 4.5, up to the noise of the gates.
    assert scores[trained.graph["linear1"].first] < 2.5


def test_negative_strength_is_refused() -> None:
    with pytest.raises(ValueError, match="VIBNet: strength=-1; expected a finite number >= 0"):
        VIBNet(strength=-1)

"""BAR: the gates' probabilities, the barrier by hand, its gradient, and the budget."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sentei.graph import trace
from sentei.sparsify.bar import BAR, _HardConcrete, _remaining, barrier
from sentei.train import TrainConfig
from tests.support.nets import PlainNet, example, fill
from tests.support.sparse import digits_net, penalty_of, setting_for, train_sparse


def test_gates_are_open_as_often_as_they_say() -> None:
    theta = torch.tensor([-2.0, 0.0, 1.0], dtype=torch.float64)
    gates = _HardConcrete(theta)
    uniform = torch.rand(20000, 3, generator=torch.Generator().manual_seed(0)).double()

    def sample(u: Tensor) -> Tensor:
        gates.noise.copy_(torch.log(u) - torch.log1p(-u))
        return gates().detach() > 0

    counts = torch.stack([sample(u) for u in uniform[:4000]]).double().mean(0)

    torch.testing.assert_close(counts, gates.probabilities().detach(), rtol=0, atol=0.03)


def test_gates_without_noise_are_stretched_sigmoids() -> None:
    gates = _HardConcrete(torch.tensor([-4.0, 0.0, 4.0], dtype=torch.float64)).eval()
    gates.noise.fill_(9.0)

    assert gates().tolist() == pytest.approx([0.0, 0.5, 1.0])


def test_barrier_is_zero_then_rises_then_goes_straight() -> None:
    def f(value: float) -> float:
        return float(barrier(torch.tensor(value, dtype=torch.float64), low=1.0, high=3.0))

    assert f(0.5) == 0
    assert f(1.0) == 0
    assert f(2.0) == pytest.approx(1.0)
    assert f(2.5) == pytest.approx(3.0)
    # The line starts at 2.98, where f is 99 and its slope 2 / 0.02**2.
    assert f(2.98) == pytest.approx(99.0)
    assert f(3.5) == pytest.approx(99.0 + 0.52 * 2 / 0.02**2)


def test_barrier_passes_gradcheck_on_all_its_pieces() -> None:
    values = torch.tensor([0.5, 1.5, 2.9, 3.4], dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda v: barrier(v, low=1.0, high=3.0), values)


def test_the_way_of_the_barrier_is_a_sigmoid_from_one_to_zero() -> None:
    assert [_remaining(t) for t in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.5, 0.0])
    assert _remaining(0.25) > 0.9


def test_penalty_is_that_of_the_expected_cost() -> None:
    model = fill(PlainNet())
    hook = BAR(strength=0.5, margin=0.5, initial=0.0).start(
        setting_for(trace(model, example(1, 3, 8, 8)))
    )
    hook.on_start(model)

    penalty = penalty_of(hook, model)

    share = 1 / (1 + math.exp(2 / 3 * math.log(0.1 / 1.1)))
    first, second = 6 * share, 8 * share
    load = (64 * first * 27 + 9 * second * first * 9 + second * 4) / (0.5 * 14288)
    assert float(penalty.detach()) == pytest.approx(0.5 * (1.5 / (2 - load) - 1) * load)


def test_the_best_gates_of_a_group_stay_open_when_all_are_pushed_shut() -> None:
    model = fill(PlainNet())
    graph = trace(model, example(1, 3, 8, 8))
    hook = BAR().start(replace(setting_for(graph), floor=0.3))  # 2 of 6 and 3 of 8 channels
    hook.on_start(model)
    (theta,) = (p for name, p in model.named_parameters() if name.endswith("theta"))
    shut = torch.linspace(-9, -4, 14, dtype=torch.float64)
    with torch.no_grad():
        theta.copy_(shut)

    hook.after_step(model)

    assert theta[[4, 5, 11, 12, 13]].tolist() == [0.0] * 5
    torch.testing.assert_close(theta.detach()[:4], shut[:4])
    torch.testing.assert_close(theta.detach()[6:11], shut[6:11])


def test_digits_end_near_the_budget() -> None:
    config = TrainConfig(epochs=12, optimizer="adamw", learning_rate=0.1, schedule="constant")

    trained = train_sparse(BAR(), digits_net(), config=config)

    scores = trained.hook.scores(trained.model)
    assert scores is not None
    theta = torch.from_numpy(scores)
    probabilities = (theta - 2 / 3 * math.log(0.1 / 1.1)).sigmoid()
    setting = trained.hook.setting
    widths = [float(probabilities[g.first : g.first + g.width].sum()) for g in trained.graph.groups]
    rounded = [max(1, round(w)) for w in widths]
    assert 0.3 < setting.costs.macs(torch.tensor(rounded).numpy()) / setting.dense["macs"] < 0.6


def test_fields_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"margin=1.0; expected a share in \(0, 1\)"):
        BAR(margin=1.0)
    with pytest.raises(ValueError, match="initial=inf; expected a finite number"):
        BAR(initial=math.inf)

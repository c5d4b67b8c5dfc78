"""Gate Decorator: what a Tick adds up, closes and leaves alone, and what a Tock trains."""

import copy
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentei.graph import Graph, trace
from sentei.models.digits_cnn import DigitsCNN
from sentei.sparsify.base import SparseHook
from sentei.sparsify.gate_decorator import GateDecorator
from sentei.train import TrainConfig
from tests.support.sparse import digit_batches, digits_net, penalty_of, setting_for, train_sparse

NORMS = {"conv1": ["bn1"], "conv2": ["bn2", "bn4"], "conv3": ["bn3"]}
TWENTY_STEPS = TrainConfig(epochs=4, learning_rate=0.05)
TWO_TURNS = GateDecorator(turns=2, tick=0.3)  # Ticks are the steps 0 to 2 and 10 to 12


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


class Run:
    """A network on its way through twenty steps, with momentum and weight decay."""

    def __init__(self, method: GateDecorator) -> None:
        self.net = settled_net()
        self.graph: Graph = trace(self.net.eval(), torch.zeros(2, 1, 8, 8, dtype=torch.float64))
        self.hook: SparseHook = method.start(setting_for(self.graph, config=TWENTY_STEPS))
        self.hook.on_start(self.net)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-2
        )

    def take(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take one step on each batch."""
        for images, labels in batches:
            loss = nn.functional.cross_entropy(self.net.train()(images), labels)
            penalty = self.hook.penalty(self.net)
            self.optimizer.zero_grad()
            (loss if penalty is None else loss + penalty).backward()
            self.hook.after_backward(self.net)
            self.optimizer.step()
            self.hook.after_step(self.net)

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of weights, statistics and momentum."""
        momentum = {
            f"momentum of {n}": self.optimizer.state[p]["momentum_buffer"]
            for n, p in self.net.named_parameters()
            if p in self.optimizer.state
        }
        return {k: t.detach().clone() for k, t in {**self.net.state_dict(), **momentum}.items()}

    def open_widths(self) -> dict[str, int]:
        closed = self.hook.kept["closed"] > 0
        groups = self.graph.groups
        return {g.name: int((~closed[g.first : g.first + g.width]).sum()) for g in groups}


def gate_changes(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return by channel the sum of |phi dL/dphi| over its norms, with gates built by hand."""
    net = copy.deepcopy(net).eval()
    for module in net.modules():
        module._forward_pre_hooks.clear()
    gates = {}
    for name in (n for names in NORMS.values() for n in names):
        norm = net.get_submodule(name)
        scale = norm.get_parameter("weight").detach()
        shift = norm.get_parameter("bias").detach()
        gates[name] = phi = scale.clone().requires_grad_()

        def gated(
            _m: nn.Module, _x: object, out: Tensor, *, phi: Tensor = phi, scale: Tensor = scale
        ) -> Tensor:
            return phi[:, None, None] * (out / scale[:, None, None])

        assert float((shift / scale).abs().max()) < 10
        norm.register_forward_hook(gated)
    nn.functional.cross_entropy(net(images), labels).backward()
    changes = {
        n: (phi * phi.grad).abs().detach() for n, phi in gates.items() if phi.grad is not None
    }
    return torch.cat([torch.stack([changes[n] for n in names]).sum(0) for names in NORMS.values()])


def test_scores_of_a_tick_add_up_what_gates_change() -> None:
    run = Run(TWO_TURNS)
    assert [g.name for g in run.graph.groups] == list(NORMS)

    expected = torch.zeros(16 + 32 + 32, dtype=torch.float64)
    for batch in digit_batches(2):
        expected += gate_changes(run.net, *batch)
        run.take([batch])

    torch.testing.assert_close(run.hook.kept["total"], expected, rtol=1e-10, atol=1e-14)


def test_a_tick_moves_gates_and_the_last_layer_and_nothing_else_by_a_bit() -> None:
    run = Run(TWO_TURNS)
    run.take(digit_batches(5) * 2)
    before = run.tensors()

    run.take(digit_batches(2))

    found = run.tensors()
    moved = {k for k in found if not torch.equal(found[k], before[k])}
    gates = {f"bn{k}.{own}" for k in (1, 2, 3, 4) for own in ("weight", "bias")}
    last = {"linear.weight", "linear.bias"}
    rolling = {f"momentum of {n}" for n in last} | {
        f"momentum of bn{k}.weight" for k in range(1, 5)
    }
    assert moved == gates | last | rolling


def test_shifts_follow_their_gates_through_a_tick() -> None:
    run = Run(TWO_TURNS)
    ratio = (run.net.bn3.bias / run.net.bn3.weight).detach()

    run.take(digit_batches(2))

    found = (run.net.bn3.bias / run.net.bn3.weight).detach()
    torch.testing.assert_close(found, ratio, rtol=1e-10, atol=1e-12)


def test_closed_gates_stay_zero_and_each_turn_closes_what_its_budget_asks_for() -> None:
    run = Run(TWO_TURNS)

    shares = []
    for _ in range(20):
        run.take(digit_batches(1))
        closed = run.hook.kept["closed"] > 0
        for group in run.graph.groups:
            gone = closed[group.first : group.first + group.width]
            for norm in NORMS[group.name]:
                own = run.net.get_submodule(norm)
                zero = [(own.get_parameter(n) == 0).tolist() for n in ("weight", "bias")]
                assert zero == [gone.tolist()] * 2
        first, second, third = run.open_widths().values()
        # Kernels of 9 weights on 8 x 8 and 4 x 4 pixels, and a linear layer.
        macs = 9 * (64 * first + 16 * (first * second + 2 * second * third)) + 10 * second
        shares.append(macs / 378176)

    half = 0.5**0.5  # the first of two turns to a budget of a half
    assert shares[:2] == [1.0] * 2
    assert len(set(shares[2:12])) == len(set(shares[12:])) == 1
    assert 0.9 * half <= shares[2] <= half
    assert 0.45 <= shares[12] <= 0.5


def test_scores_put_closed_channels_lowest_in_the_order_they_closed() -> None:
    run = Run(TWO_TURNS)

    run.take(digit_batches(5) * 4)

    scores, closed = run.hook.scores(run.net), run.hook.kept["closed"].numpy()
    assert scores is not None
    # Equal where the lowest of a turn had a score of 0.
    assert scores[closed == 1].max() <= scores[closed == 2].min()
    assert scores[closed == 2].max() <= scores[closed == 0].min()
    assert scores[closed == 1].mean() < scores[closed == 2].mean() < scores[closed == 0].mean()
    own = run.hook.kept["last"].numpy()
    for turn in (0, 1, 2):
        np.testing.assert_array_equal(
            np.argsort(scores[closed == turn]), np.argsort(own[closed == turn])
        )


def test_a_tock_alone_has_the_penalty_on_the_gates() -> None:
    run = Run(GateDecorator(turns=2, tick=0.3, strength=0.2))

    in_tick = run.hook.penalty(run.net)
    run.take(digit_batches(3))
    penalty = penalty_of(run.hook, run.net)
    scales = [m.weight for m in run.net.modules() if isinstance(m, nn.BatchNorm2d)]
    gradients = torch.autograd.grad(penalty, scales)

    assert in_tick is None
    expected = 0.2 * sum(float(s.detach().abs().sum()) for s in scales)
    assert float(penalty.detach()) == pytest.approx(expected)
    # An open gate is drawn to zero by 0.2, a closed one is left.
    for scale, gradient in zip(scales, gradients, strict=True):
        assert gradient.tolist() == (0.2 * scale.detach().sign()).tolist()
    assert any(bool((s == 0).any()) for s in scales)


@pytest.mark.parametrize(
    ("num_steps", "expected"),
    [
        (40, [range(3), range(10, 13), range(20, 23), range(30, 33)]),
        (5, [range(1), range(2, 3)]),
        (1, [range(1)]),
    ],
)
def test_turns_split_the_training_evenly_and_each_has_its_tick(
    num_steps: int, expected: list[range]
) -> None:
    assert GateDecorator(turns=4, tick=0.3).ticks(num_steps) == expected


def test_the_loop_ends_with_as_many_open_channels_as_the_budget_leaves() -> None:
    trained = train_sparse(GateDecorator(), digits_net())

    setting, closed = trained.hook.setting, trained.hook.kept["closed"].numpy()
    widths = [int((closed[g.first : g.first + g.width] == 0).sum()) for g in trained.graph.groups]
    share = setting.costs.macs(np.array(widths)) / setting.dense["macs"]
    assert 0.45 <= share <= 0.5
    assert set(closed.tolist()) == {0, 1, 2, 3, 4}


def test_fields_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="GateDecorator: turns=0; expected a finite number >= 1"):
        GateDecorator(turns=0)
    with pytest.raises(ValueError, match=r"GateDecorator: tick=1; expected a share in \(0, 1\)"):
        GateDecorator(tick=1)
    with pytest.raises(ValueError, match="GateDecorator: strength=-1; expected a finite number"):
        GateDecorator(strength=-1)

"""STR: the proximal map it is, its gradients, the floor, and zero channels that go unnoticed."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from sentei.graph import trace
from sentei.sparsify.base import SparseHook
from sentei.sparsify.soft_threshold import STR
from sentei.surgery import apply
from sentei.surgery.plan import plan_keep
from sentei.train import TrainConfig
from tests.support.nets import PlainNet, example, fill
from tests.support.sparse import (
    BareNet,
    digit_batches,
    digits_net,
    penalty_of,
    setting_for,
    train_sparse,
)


def started(model: PlainNet, method: STR) -> SparseHook:
    hook = method.start(setting_for(trace(model, example(1, 3, 8, 8))))
    hook.on_start(model)
    return hook


def at_gates(model: PlainNet) -> Tensor:
    """Return what channels of the first group have at their gate points, shape [6, 2]."""
    return torch.stack([model.bn1.weight, model.bn1.bias], dim=1)


def logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def test_what_the_network_runs_with_is_the_proximal_map_of_the_norm() -> None:
    before = at_gates(fill(PlainNet())).detach().numpy()
    model = fill(PlainNet())
    mean = float(np.linalg.norm(before, axis=1).mean())
    started(model, STR(initial=logit(0.6 / (2 * mean))))

    found = at_gates(model).detach().numpy()

    # By definition: argmin_z 1/2 |z - x|^2 + t |z|, found by search.
    for x, z in zip(before, found, strict=True):

        def objective(y: np.ndarray, x: np.ndarray = x) -> float:
            return float(0.5 * np.sum((y - x) ** 2) + 0.6 * np.linalg.norm(y))

        best = minimize(objective, x, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14})
        np.testing.assert_allclose(z, best.x, atol=1e-5)
    gone = np.linalg.norm(before, axis=1) <= 0.6
    assert 0 < gone.sum() < 6
    np.testing.assert_array_equal(found[gone], 0)


def test_gradients_reach_weights_and_thresholds() -> None:
    model = fill(PlainNet())
    hook = started(model, STR(initial=-3.0))
    s = hook.factors.s  # type: ignore[attr-defined]
    original = model.bn1.parametrizations.weight.original  # type: ignore[union-attr]

    assert isinstance(original, Tensor)
    assert torch.autograd.gradcheck(lambda *_: at_gates(model), (s, original))


def test_penalty_is_the_decay_of_s() -> None:
    model = fill(PlainNet())

    penalty = penalty_of(started(model, STR(decay=0.2, initial=-3.0)), model)

    assert float(penalty.detach()) == pytest.approx(0.5 * 0.2 * 2 * 9)


def test_thresholds_stay_below_the_channels_that_the_floor_keeps() -> None:
    model = fill(PlainNet())
    hook = started(model, STR(initial=10.0))  # thresholds of twice the mean norm
    assert not at_gates(model).any()

    hook.after_step(model)

    # floor = 0.1 of 6 and of 8 channels is one of each.
    alive = [int((bn.weight != 0).sum()) for bn in (model.bn1, model.bn2)]
    assert min(alive) >= 1
    assert sum(alive) < 14


@pytest.mark.parametrize("kind", [digits_net, BareNet])
def test_removing_zero_channels_after_training_changes_no_output(kind: type[nn.Module]) -> None:
    config = TrainConfig(epochs=4, learning_rate=0.05, schedule="constant", nesterov=False)
    model = kind()
    with torch.no_grad():
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.weight.copy_(torch.linspace(0.5, 1.5, len(norm.weight)))
    trained = train_sparse(STR(decay=1.0), model, config=config)
    scores = trained.hook.scores(trained.model)
    assert scores is not None
    assert 0 < np.mean(scores == 0) < 1
    trained.hook.finish(trained.model)
    x = digit_batches(1)[0][0]

    small = apply(plan_keep(trained.graph, scores > 0), trained.model.eval())

    torch.testing.assert_close(small(x), trained.model(x), rtol=1e-10, atol=1e-12)


def test_fields_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="decay=-1; expected a finite number >= 0"):
        STR(decay=-1)
    with pytest.raises(ValueError, match="initial=inf; expected a finite number"):
        STR(initial=float("inf"))

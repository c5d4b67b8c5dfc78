"""CHEX: leverage and residuals against projections, what is pruned, and what comes back."""

import numpy as np
import pytest
import torch

from sentei.graph import trace
from sentei.sparsify.base import SparseHook
from sentei.sparsify.chex import CHEX, leverage, residuals
from sentei.train import TrainConfig
from tests.support.nets import PlainNet, example, fill
from tests.support.sparse import digits_net, planned_removal, setting_for, train_sparse


def started(model: PlainNet, method: CHEX, *, epochs: int = 10) -> SparseHook:
    config = TrainConfig(epochs=epochs, learning_rate=0.1)
    hook = method.start(setting_for(trace(model, example(1, 3, 8, 8)), config=config))
    hook.on_start(model)
    return hook


def test_leverage_at_full_rank_is_the_diagonal_of_the_projection_on_columns() -> None:
    weights = example(7, 4)

    found = leverage(weights, 4)

    projection = weights @ torch.linalg.inv(weights.T @ weights) @ weights.T
    torch.testing.assert_close(found.square(), projection.diagonal(), rtol=1e-10, atol=1e-12)


def test_leverage_of_a_rank_is_that_of_the_best_approximation() -> None:
    weights = example(6, 5)

    found = leverage(weights, 2)

    _, vectors = torch.linalg.eigh(weights @ weights.T)  # ascending
    expected = vectors[:, -2:].square().sum(1).sqrt()
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def test_on_a_rank_deficient_matrix_only_its_own_directions_count() -> None:
    # Rows 0 and 1 are parallel, row 2 is alone, rows 3 and 4 are zero: rank 2, and 4 are asked for.
    weights = torch.tensor([[3.0, 0, 0], [4, 0, 0], [0, 2, 0], [0, 0, 0], [0, 0, 0]]).double()

    found = leverage(weights, 4)

    torch.testing.assert_close(found, torch.tensor([0.6, 0.8, 1, 0, 0]).double())
    assert float(found.square().sum()) == pytest.approx(2)


def test_residuals_are_distances_from_the_span_even_of_dependent_rows() -> None:
    onto = torch.tensor([[1.0, 0, 0], [2, 0, 0], [0, 1, 0]]).double()
    rows = torch.tensor([[5.0, 7, 0], [1, 1, 3], [0, 0, -2]]).double()

    found = residuals(rows, onto)

    torch.testing.assert_close(found, torch.tensor([0.0, 3, 2]).double(), rtol=0, atol=1e-12)


def test_residuals_are_those_of_least_squares() -> None:
    rows, onto = example(3, 6), example(4, 6, seed=2)

    solution = np.linalg.lstsq(onto.T.numpy(), rows.T.numpy(), rcond=None)[0]

    expected = np.linalg.norm(rows.T.numpy() - onto.T.numpy() @ solution, axis=0)
    np.testing.assert_allclose(residuals(rows, onto).numpy(), expected, rtol=1e-10)


def test_without_regrowth_the_lowest_leverage_goes_and_is_zero_in_all_that_makes_it() -> None:
    model = fill(PlainNet())
    hook = started(model, CHEX(regrowth=0.0))
    weights = model.conv1.weight.detach().flatten(1)

    hook.after_epoch(model, 1)

    pruned = hook.kept["pruned"][:6]
    number = int(pruned.sum())
    assert 0 < number < 6
    lowest = leverage(weights, 6 - number).argsort()[:number]
    assert set(torch.nonzero(pruned).flatten().tolist()) == set(lowest.tolist())
    for tensor in (model.conv1.weight, model.bn1.weight, model.bn1.bias):
        assert not tensor[pruned].any()
        assert bool(tensor[~pruned].all())


def test_pruned_channels_are_held_at_zero_while_training() -> None:
    model = fill(PlainNet())
    hook = started(model, CHEX())
    hook.after_epoch(model, 1)
    with torch.no_grad():
        model.conv1.weight.add_(1)

    hook.after_step(model)

    assert not model.conv1.weight[hook.kept["pruned"][:6]].any()


def test_regrown_channels_come_back_with_their_last_weights() -> None:
    model = fill(PlainNet(first=20, second=20))
    hook = started(model, CHEX(every=1, regrowth=0.3), epochs=20)
    seen = model.conv1.weight.detach().clone()
    returned = 0
    for epoch in range(10):
        before = hook.kept["pruned"][:20].clone()
        with torch.no_grad():
            model.conv1.weight.mul_(1.01)
        hook.after_step(model)
        live = model.conv1.weight.detach()
        seen = torch.where(before[:, None, None, None], seen, live).clone()
        hook.after_epoch(model, epoch)
        back = before & ~hook.kept["pruned"][:20]
        returned += int(back.sum())
        assert torch.equal(model.conv1.weight.detach()[back], seen[back])

    assert returned > 0


def test_regrowth_falls_by_a_cosine_and_ends_with_exploration() -> None:
    method = CHEX(regrowth=0.3, exploration=0.8)

    found = [method.regrown(done, 10) for done in (0, 4, 8)]

    assert found == pytest.approx([0.3, 0.15, 0.0])
    model = fill(PlainNet())
    hook = started(model, method)
    hook.after_epoch(model, 7)
    last = hook.kept["pruned"].clone()
    hook.after_epoch(model, 9)
    assert torch.equal(hook.kept["pruned"], last)
    widths = np.array([int((~last[:6]).sum()), int((~last[6:]).sum())])
    assert hook.setting.costs.macs(widths) <= hook.setting.targets["macs"]


def test_while_exploring_more_channels_live_than_the_budget_leaves() -> None:
    numbers = []
    for method in (CHEX(regrowth=0.3), CHEX(regrowth=0.0)):
        model = fill(PlainNet(first=20, second=20))
        hook = started(model, method)
        hook.after_epoch(model, 1)
        numbers.append(int(hook.kept["pruned"].sum()))

    assert numbers[0] < numbers[1]


def test_pruned_channels_of_digits_score_lowest() -> None:
    trained = train_sparse(CHEX(), digits_net())

    scores = trained.hook.scores(trained.model)

    assert scores is not None
    pruned = trained.hook.kept["pruned"].numpy()
    assert 0 < pruned.mean() < 1
    assert scores[pruned].max() == 0 < scores[~pruned].min()


def test_a_plan_over_all_groups_removes_nothing_but_what_training_chose() -> None:
    trained = train_sparse(CHEX(), digits_net())

    removed = planned_removal("chex", CHEX(), trained)

    assert removed.sum() > 0
    assert not (removed & ~trained.hook.kept["pruned"].numpy()).any()


def test_fields_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="every=0; expected a finite number >= 1"):
        CHEX(every=0)
    with pytest.raises(ValueError, match="exploration=0; expected a finite number > 0"):
        CHEX(exploration=0)
    with pytest.raises(ValueError, match="regrowth=-1; expected a finite number >= 0"):
        CHEX(regrowth=-1)
    with pytest.raises(ValueError, match="CHEX: regrowth=2; expected at most 1"):
        CHEX(regrowth=2)
    with pytest.raises(ValueError, match=r"CHEX: exploration=1\.5; expected at most 1"):
        CHEX(exploration=1.5)

"""Chance, equal shares, networks from nothing, and single weights."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sentei import Budget, measure
from sentei.cost.uses import weight_uses
from sentei.errors import BudgetError, ModelError, UnknownNameError
from sentei.methods import METHODS, Task
from sentei.methods.scratch import reset_parameters
from sentei.methods.unstructured import smallest_weights


def test_uses_of_weights_add_up_to_the_multiply_adds(task: Task) -> None:
    uses = weight_uses(task.model, task.inputs)

    total = sum(n * task.model.get_parameter(name).numel() for name, n in uses.items())
    assert total == measure(task.model, task.inputs).macs


def test_a_weight_counts_once_for_every_place_it_visits() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 3))

    # 8 x 8 pixels leave 6 x 6 places for a kernel of 3; a linear layer meets each weight once.
    assert weight_uses(model, torch.zeros(4, 1, 8, 8)) == {"0.weight": 36, "2.weight": 1}


def test_the_smallest_weights_go_until_the_cost_fits() -> None:
    a, b = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    model = nn.ModuleDict({"a": a, "b": b})
    with torch.no_grad():
        a.weight.copy_(torch.tensor([[1.0, -4.0]]))
        b.weight.copy_(torch.tensor([[2.0, 3.0]]))

    masks, left = smallest_weights(model, {"a.weight": 10, "b.weight": 1}, limit=11)

    # 22 in all: without the 1 of a 12 are left, without the 2 of b 11.
    assert left == 11
    assert {k: v.tolist() for k, v in masks.items()} == {
        "a.weight": [[False, True]],
        "b.weight": [[False, True]],
    }


def test_weight_magnitude_keeps_zeros_and_shapes_and_meets_the_sparse_budget(task: Task) -> None:
    outcome = METHODS["weight-magnitude"].run(task)

    dense = measure(task.model, task.inputs).macs
    uses = weight_uses(outcome.model, task.inputs)
    nonzero = {n: int(outcome.model.get_parameter(n).count_nonzero()) for n in uses}
    assert sum(uses[n] * nonzero[n] for n in uses) == outcome.sparse_macs
    assert outcome.sparse_macs == pytest.approx(dense / 2, rel=0.01)
    assert measure(outcome.model, task.inputs).macs == dense
    assert outcome.density == sum(nonzero.values()) / sum(
        outcome.model.get_parameter(n).numel() for n in uses
    )


def test_weight_magnitude_keeps_all_weights_of_what_is_protected(task: Task) -> None:
    model = METHODS["weight-magnitude"].run(replace(task, protect=("conv2", "linear.weight"))).model

    zeros = {n: int((p == 0).sum()) for n, p in model.named_parameters() if p.dim() > 1}
    assert [n for n, count in zeros.items() if count == 0] == ["conv2.weight", "linear.weight"]


def test_protected_weights_may_leave_too_little_to_remove(task: Task) -> None:
    with pytest.raises(BudgetError, match=r"cannot be met: \d+ are those of the protected weights"):
        METHODS["weight-magnitude"].run(replace(task, protect=("",)))


def test_what_is_protected_must_be_there(task: Task) -> None:
    with pytest.raises(UnknownNameError, match=r"cannot protect 'conv9'.*Did you mean 'conv"):
        METHODS["weight-magnitude"].run(replace(task, protect=("conv9",)))


def test_weight_magnitude_refuses_a_budget_it_cannot_count(task: Task) -> None:
    message = (
        r"macs alone, found one of num_parameters; give macs=0\.5, or choose a method that removes"
    )
    with pytest.raises(BudgetError, match=message):
        METHODS["weight-magnitude"].run(replace(task, budget=Budget(num_parameters=0.5)))


def test_weight_magnitude_refuses_a_second_limit(task: Task) -> None:
    with pytest.raises(BudgetError, match="found one of macs and num_parameters"):
        METHODS["weight-magnitude"].run(replace(task, budget=Budget(macs=0.5, num_parameters=0.5)))


def test_uniform_keeps_the_same_share_of_every_group(task: Task) -> None:
    widths = METHODS["uniform"].run(task).widths

    shares = np.array([widths["conv1"] / 16, widths["conv2"] / 32, widths["conv3"] / 32])
    assert np.ptp(shares) <= 1 / 16


def test_the_default_says_which_criterion_ranked(task: Task) -> None:
    notes = METHODS["default"].run(task).notes

    assert "channels are ranked by fisher, as criterion auto chose" in notes


def test_networks_from_scratch_forget_the_weights(task: Task) -> None:
    kept, new = METHODS["uniform"].run(task), METHODS["smaller-dense"].run(task)

    assert new.widths == kept.widths
    assert new.curve[0].train_loss > kept.curve[0].train_loss
    assert new.before_recovery.accuracy < 0.25 < kept.before_recovery.accuracy


def test_scratch_b_trains_for_as_many_multiply_adds(task: Task) -> None:
    assert len(METHODS["scratch-e"].run(task).curve) == 2
    assert len(METHODS["scratch-b"].run(task).curve) == 4


def test_new_weights_follow_the_seed_and_leave_torch_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    other = copy.deepcopy(model)
    state = torch.get_rng_state()

    reset_parameters(model, seed=1)
    reset_parameters(other, seed=1)

    assert torch.equal(model.get_parameter("0.weight"), other.get_parameter("0.weight"))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_parameter_without_a_layer_cannot_be_made_anew() -> None:
    model = nn.Linear(2, 2)
    model.register_module("odd", nn.ParameterList([nn.Parameter(torch.ones(1))]))

    with pytest.raises(ModelError, match=r"odd\.0 belongs to no layer.*reset_parameters"):
        reset_parameters(model, seed=0)

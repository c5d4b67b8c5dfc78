"""Settings, selections of slices, and what base refuses."""

import numpy as np
import pytest
import torch
from torch import nn

from sentei.criteria import Evidence, score
from sentei.errors import PruningError
from sentei.graph import trace
from sentei.sparsify import SPARSIFIERS, learned_scores
from sentei.sparsify.base import Setting, SparseHook, must_stay
from sentei.sparsify.channels import Selection, evidence_of, norm_scales, safe_sqrt
from sentei.train import TrainConfig
from tests.support.nets import GroupedNet, PlainNet, example, fill
from tests.support.sparse import BareNet, digits_net, setting_for, train_sparse


def plain_setting(*, config: TrainConfig | None = None, steps_per_epoch: int = 4) -> Setting:
    graph = trace(fill(PlainNet()), example(1, 3, 8, 8))
    config = config or TrainConfig(epochs=3, learning_rate=0.2, schedule="constant")
    return setting_for(graph, config=config, steps_per_epoch=steps_per_epoch)


def evidence(model: nn.Module, size: int = 8) -> Evidence:
    return evidence_of(trace(model, example(1, 3, size, size)), model)


def test_setting_counts_steps_targets_and_learning_rates() -> None:
    config = TrainConfig(epochs=3, learning_rate=0.2, schedule="constant", warmup_epochs=1)
    setting = plain_setting(config=config)

    # conv1 8x8 pixels, 6 filters of 27; conv2 3x3 pixels, 8 filters of 54; linear 8 x 4.
    macs = 64 * 6 * 27 + 9 * 8 * 54 + 32
    assert (setting.num_epochs, setting.num_steps) == (3, 12)
    assert setting.dense == {"macs": macs}
    assert setting.targets == {"macs": macs / 2}
    assert [setting.learning_rate(s) for s in (0, 3, 11)] == pytest.approx([0.05, 0.2, 0.2])


def test_a_hook_that_learns_nothing_of_its_own_leaves_the_ranking_to_a_criterion() -> None:
    setting = plain_setting()

    assert (
        learned_scores(
            "none", SPARSIFIERS["network-slimming"](), SparseHook(setting), nn.Identity()
        )
        is None
    )


def test_setting_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="steps_per_epoch=0; expected at least 1"):
        plain_setting(steps_per_epoch=0)
    setting = plain_setting()
    with pytest.raises(ValueError, match=r"floor=1.5; expected a share"):
        Setting(
            graph=setting.graph, costs=setting.costs, budget=setting.budget,
            config=setting.config, steps_per_epoch=1, floor=1.5,
        )  # fmt: skip


def test_the_floor_keeps_the_highest_of_each_row() -> None:
    graph = trace(fill(GroupedNet()), example(1, 3, 6, 6))
    setting = setting_for(graph)
    scores = np.arange(graph.num_channels, dtype=np.float64)

    stay = must_stay(setting, scores)

    # A tenth of 8 and of 12 channels, but at least one in each of the two rows.
    rows = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11, 12, 13], [14, 15, 16, 17, 18, 19]]
    assert np.flatnonzero(stay).tolist() == [row[-1] for row in rows]


def test_a_graph_without_groups_is_refused() -> None:
    linear = nn.Linear(3, 2)

    with pytest.raises(PruningError, match="the graph has no group"):
        setting_for(trace(linear, torch.zeros(1, 3)))


def test_norms_of_a_selection_are_those_written_out() -> None:
    model = fill(PlainNet())
    found = evidence(model)

    norms = Selection(found, found.weights).norms()

    squares = [
        model.conv1.weight[c].square().sum()
        + model.bn1.weight[c].square()
        + model.conv2.weight[:, c].square().sum()
        for c in range(6)
    ] + [
        model.conv2.weight[c].square().sum()
        + model.bn2.weight[c].square()
        + model.linear.weight[:, c].square().sum()
        for c in range(8)
    ]
    torch.testing.assert_close(norms, torch.stack(squares).sqrt(), rtol=1e-10, atol=0)


def test_grouped_convolutions_count_the_columns_of_their_own_group() -> None:
    model = fill(GroupedNet())
    found = evidence(model, 6)
    enter = found.graph["enter"]

    sums = Selection(found, found.weights).sums(torch.abs)[enter.first : enter.first + 8]

    # Input channels 0-3 are read by filters 0-5 of the grouped layer, 4-7 by filters 6-11.
    read = [model.grouped.weight[6 * (c // 4) : 6 * (c // 4) + 6, c % 4] for c in range(8)]
    expected = [model.enter.weight[c].abs().sum() + read[c].abs().sum() for c in range(8)]
    torch.testing.assert_close(sums, torch.stack(expected), rtol=1e-10, atol=0)


def test_scaling_channels_multiplies_every_slice() -> None:
    model, before = fill(PlainNet()), fill(PlainNet())
    assert before.conv2.bias is not None
    found = evidence(model)
    factors = torch.linspace(0.5, 2.0, 14, dtype=torch.float64)
    first, second = factors[:6], factors[6:]

    Selection(found, found.slices).scale_(factors)

    expected = {
        "conv1.weight": before.conv1.weight * first.reshape(6, 1, 1, 1),
        "bn1.weight": before.bn1.weight * first,
        "bn1.bias": before.bn1.bias * first,
        "conv2.weight": before.conv2.weight * second.reshape(8, 1, 1, 1) * first.reshape(6, 1, 1),
        "conv2.bias": before.conv2.bias * second,
        "bn2.weight": before.bn2.weight * second,
        "bn2.bias": before.bn2.bias * second,
        "linear.weight": before.linear.weight * second,
        "linear.bias": before.linear.bias,
    }
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, nn.Parameter(expected[name]), rtol=1e-12, atol=0)


def test_square_root_has_gradient_zero_at_zero() -> None:
    squares = torch.tensor([0.0, 4.0], dtype=torch.float64, requires_grad=True)

    (gradient,) = torch.autograd.grad(safe_sqrt(squares).sum(), squares)

    assert gradient.tolist() == [0.0, 0.25]


def test_a_group_without_norm_is_named_with_a_way_out() -> None:
    model = BareNet()
    graph = trace(model, torch.zeros(1, 1, 8, 8, dtype=torch.float64))

    found = evidence_of(graph, model)

    with pytest.raises(PruningError, match=r"group conv1 and 2 more: no norm .*'ssl'"):
        norm_scales(found)


def test_a_model_of_another_shape_is_refused() -> None:
    graph = trace(fill(PlainNet()), example(1, 3, 8, 8))

    with pytest.raises(PruningError, match="use the traced model, or trace this one"):
        evidence_of(graph, fill(PlainNet(first=5)))


def test_learned_scores_are_split_by_group_and_refused_if_not_finite() -> None:
    sparsifier = SPARSIFIERS["network-slimming"]()
    trained = train_sparse(sparsifier, digits_net())
    model = trained.model
    assert isinstance(model.bn1, nn.BatchNorm2d)

    scores = learned_scores("network-slimming", sparsifier, trained.hook, model)

    assert scores is not None
    assert scores.comparable
    expected = score(trained.graph, "bn-scale", model=model)
    for name, values in expected.by_group.items():
        np.testing.assert_allclose(scores.by_group[name], values, rtol=1e-12)
    with torch.no_grad():
        model.bn1.weight[2] = float("nan")
    with pytest.raises(
        PruningError, match="group conv1: criterion 'network-slimming' gives 1 of 16"
    ):
        learned_scores("network-slimming", sparsifier, trained.hook, model)

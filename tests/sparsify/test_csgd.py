"""C-SGD: clusters, the centripetal gradient by hand, and merging that changes no output."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from sentei.errors import PruningError
from sentei.graph import trace
from sentei.sparsify.base import SparseHook
from sentei.sparsify.channels import evidence_of
from sentei.sparsify.csgd import CSGD, find_clusters
from sentei.surgery import apply
from sentei.surgery.plan import plan_keep
from tests.support.nets import PlainNet, case, example, fill
from tests.support.sparse import (
    digit_batches,
    digits_net,
    planned_removal,
    setting_for,
    train_sparse,
)


def started(model: PlainNet, method: CSGD) -> SparseHook:
    hook = method.start(setting_for(trace(model, example(1, 3, 8, 8))))
    hook.on_start(model)
    return hook


def members(hook: SparseHook, width: int) -> list[list[int]]:
    """Return the clusters among the first channels."""
    first = hook.kept["first"][:width].tolist()
    return [[c for c in range(width) if first[c] == f] for f in sorted(set(first))]


@pytest.mark.parametrize("name", ["k-means", "even"])
def test_there_are_as_many_clusters_as_the_budget_leaves_channels(name: str) -> None:
    hook = started(fill(PlainNet()), CSGD(clusters=name))
    setting = hook.setting

    first = hook.kept["first"].numpy()
    widths = np.array([len(set(first[:6])), len(set(first[6:]))])

    assert widths[0] < 6
    assert widths[1] < 8
    assert setting.costs.macs(widths) <= setting.targets["macs"]
    assert setting.costs.macs(widths) > 0.8 * setting.targets["macs"]


def test_even_clusters_are_runs_of_neighbours() -> None:
    model = fill(PlainNet())
    graph = trace(model, example(1, 3, 8, 8))

    first = find_clusters(evidence_of(graph, model), np.array([3, 3]), kind="even", seed=0)

    assert first[:6].tolist() == [0, 0, 2, 2, 4, 4]
    assert first[6:].tolist() == [6, 6, 6, 9, 9, 9, 12, 12]


def test_k_means_puts_like_filters_together() -> None:
    model = fill(PlainNet())
    with torch.no_grad():
        for copied, original in ((3, 0), (5, 1), (4, 2)):
            model.conv1.weight[copied] = model.conv1.weight[original] * 1.001
    graph = trace(model, example(1, 3, 8, 8))

    first = find_clusters(evidence_of(graph, model), np.array([3, 8]), kind="k-means", seed=0)

    assert first[:6].tolist() == [0, 1, 2, 0, 2, 1]


def test_the_gradient_is_the_mean_of_the_cluster_plus_the_pull_to_its_centre() -> None:
    model = fill(PlainNet())
    hook = started(model, CSGD(strength=0.3, clusters="even"))
    model(example(4, 3, 8, 8)).square().sum().backward()
    parameters = (model.conv1.weight, model.bn1.weight, model.bn1.bias)
    expected = []
    for p in parameters:
        assert p.grad is not None
        new = torch.empty_like(p)
        for own in members(hook, 6):
            for j in own:
                pull = p.detach()[j] - p.detach()[own].mean(0)
                new[j] = p.grad[own].mean(0) + 0.3 * pull
        expected.append(new)

    hook.after_backward(model)

    for p, new in zip(parameters, expected, strict=True):
        torch.testing.assert_close(p.grad, new, rtol=1e-10, atol=1e-12)


def test_differences_decay_by_learning_rate_times_strength() -> None:
    model = fill(PlainNet())
    hook = started(model, CSGD(strength=2.0, clusters="even"))
    own = members(hook, 6)[0]
    before = (model.conv1.weight[own[0]] - model.conv1.weight[own[1]]).detach()

    model(example(4, 3, 8, 8)).square().sum().backward()
    hook.after_backward(model)
    torch.optim.SGD(model.parameters(), lr=0.1).step()

    after = (model.conv1.weight[own[0]] - model.conv1.weight[own[1]]).detach()
    torch.testing.assert_close(after, 0.8 * before, rtol=1e-8, atol=1e-10)


def test_after_training_on_digits_members_coincide_and_the_merge_changes_no_output() -> None:
    trained = train_sparse(CSGD(), digits_net())
    model, first = trained.model.eval(), trained.hook.kept["first"].numpy()
    x = digit_batches(1)[0][0]
    expected = model(x)
    scores = trained.hook.scores(model)
    assert scores is not None
    weight = next(p for n, p in model.named_parameters() if p.dim() == 4).detach()
    own = first[: len(weight)]
    assert trained.graph.groups[0].width == len(weight)
    assert torch.equal(weight, weight[own])

    trained.hook.finish(model)
    small = apply(plan_keep(trained.graph, scores > 0), model)

    assert 0 < np.mean(scores == 0) < 1
    torch.testing.assert_close(small(x), expected, rtol=1e-10, atol=1e-12)


def joined_and_merged(name: str, macs: float) -> tuple[Tensor, Tensor]:
    """Return outputs of a network with equal channels in pairs, whole and merged."""
    found = case(name)
    graph = trace(found.model, found.inputs)
    hook = CSGD(clusters="even").start(setting_for(graph, macs=macs))
    hook.on_start(found.model)
    hook.after_epoch(found.model, 2)
    args = found.inputs if isinstance(found.inputs, tuple) else (found.inputs,)
    expected = found.model(*args)
    scores = hook.scores(found.model)
    assert scores is not None
    assert np.mean(scores == 0) > 0
    hook.finish(found.model)
    return expected, apply(plan_keep(graph, scores > 0), found.model)(*args)


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("plain", 0.6),
        ("flatten", 0.6),
        ("depthwise", 0.7),
        ("grouped", 0.6),
        ("residual", 0.6),
        ("dense", 0.6),
        ("transposed 2d", 0.6),
        ("prelu", 0.7),
    ],
)
def test_merging_equal_channels_is_lossless_in_every_structure(name: str, macs: float) -> None:
    expected, found = joined_and_merged(name, macs)

    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_a_network_whose_layers_read_a_group_together_is_refused_unchanged() -> None:
    found = case("layer norm")
    before = copy.deepcopy(found.model.state_dict())
    hook = CSGD().start(setting_for(trace(found.model, found.inputs), macs=0.7))

    with pytest.raises(PruningError, match=r"'c-sgd' merges equal channels.*'ssl'"):
        hook.on_start(found.model)

    after = found.model.state_dict()
    assert all(torch.equal(t, after[k]) for k, t in before.items())


def test_a_plan_over_all_groups_removes_nothing_but_what_training_chose() -> None:
    trained = train_sparse(CSGD(), digits_net())
    first = trained.hook.kept["first"].numpy()

    removed = planned_removal("c-sgd", CSGD(), trained)

    assert removed.sum() > 0
    assert not (removed & ~(first != np.arange(len(first)))).any()


def test_fields_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="strength=0; expected a finite number > 0"):
        CSGD(strength=0)
    with pytest.raises(ValueError, match="clusters='odd'; expected 'k-means' or 'even'"):
        CSGD(clusters="odd")

"""What every criterion of the registry promises."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentei.criteria import CRITERIA, Scores, score
from sentei.criteria.base import FloatArray
from sentei.graph import trace
from tests.support.nets import PlainNet, ResidualNet, example, fill

EQUIVARIANT = [name for name in CRITERIA if CRITERIA[name]().equivariant]
every_criterion = pytest.mark.parametrize("name", list(CRITERIA))


def images_and_labels(count: int = 7) -> tuple[Tensor, Tensor]:
    return example(count, 3, 8, 8), torch.arange(count) % 4


def scores_of(model: nn.Module, name: str) -> dict[str, FloatArray]:
    graph = trace(model, example(1, 3, 8, 8))
    return dict(score(graph, name, batches=[images_and_labels()]).by_group)


def assert_equal(found: Scores, expected: Scores, *, rtol: float = 0.0) -> None:
    assert found.by_group.keys() == expected.by_group.keys()
    for name, values in expected.by_group.items():
        np.testing.assert_allclose(found.by_group[name], values, rtol=rtol, atol=rtol * 1e-3)


@every_criterion
def test_every_channel_gets_one_finite_float64(name: str) -> None:
    model = fill(ResidualNet())

    found = scores_of(model, name)

    widths = {g.name: g.width for g in trace(model, example(1, 3, 8, 8)).groups}
    assert {k: v.shape for k, v in found.items()} == {k: (w,) for k, w in widths.items()}
    assert all(v.dtype == np.float64 and np.isfinite(v).all() for v in found.values())


@pytest.mark.parametrize("name", EQUIVARIANT)
def test_permuting_channels_permutes_their_scores_and_no_others(name: str) -> None:
    model, permuted = fill(PlainNet()), fill(PlainNet())
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    with torch.no_grad():
        permuted.conv1.weight.copy_(model.conv1.weight[order])
        permuted.conv2.weight.copy_(model.conv2.weight[:, order])
        for key, value in permuted.bn1.state_dict().items():
            if value.dim():
                value.copy_(model.bn1.state_dict()[key][order])

    before, after = scores_of(model, name), scores_of(permuted, name)

    # Zero, too, is only what rounding leaves of the larger scores: processors differ in it.
    for group, expected in (("conv1", before["conv1"][order]), ("conv2", before["conv2"])):
        rounding = 1e-14 * np.abs(expected).max()
        np.testing.assert_allclose(after[group], expected, rtol=1e-9, atol=rounding)


@every_criterion
def test_same_input_same_scores(name: str) -> None:
    graph = trace(fill(ResidualNet()), example(1, 3, 8, 8))
    batches = [images_and_labels()]

    assert_equal(score(graph, name, batches=batches), score(graph, name, batches=batches))


@every_criterion
def test_model_and_random_state_stay_as_they_were(name: str) -> None:
    model = fill(ResidualNet()).train()
    model.bn1.eval()
    model.conv1.weight.requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random_state = torch.get_rng_state()

    score(trace(model, example(2, 3, 8, 8)), name, batches=[images_and_labels()])

    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is not None and bool((p.grad == 1).all()) for p in model.parameters())
    assert [k for k, m in model.named_modules() if not m.training] == ["bn1"]
    assert [k for k, p in model.named_parameters() if not p.requires_grad] == ["conv1.weight"]


@every_criterion
def test_split_into_batches_does_not_matter(name: str) -> None:
    graph = trace(fill(ResidualNet()), example(1, 3, 8, 8))
    images, labels = images_and_labels()
    cuts = pairwise([0, 1, 5, 7])

    whole = score(graph, name, batches=[(images, labels)])
    split = score(graph, name, batches=[(images[a:b], labels[a:b]) for a, b in cuts])

    assert_equal(split, whole, rtol=1e-9)


@every_criterion
def test_source_names_a_paper_or_the_baseline(name: str) -> None:
    source = CRITERIA[name]().source

    assert source.paper == "baseline" or (source.year and source.arxiv and source.section)

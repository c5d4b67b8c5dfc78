"""What every sparsifier of the registry promises."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentei.allocate import plan
from sentei.criteria import CRITERIA, score
from sentei.errors import PruningError
from sentei.graph import trace
from sentei.sparsify import SPARSIFIERS, learned_scores
from sentei.surgery import apply, verify
from tests.support.sparse import BareNet, digit_batches, digits_net, setting_for, train_sparse

every_sparsifier = pytest.mark.parametrize("name", list(SPARSIFIERS))

FREEZING = [name for name in SPARSIFIERS if SPARSIFIERS[name]().freezes]
NORMED = [name for name in SPARSIFIERS if SPARSIFIERS[name]().needs_norms]


def outputs(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(digit_batches(1)[0][0])


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


@every_sparsifier
def test_scores_are_one_finite_float64_a_channel_or_none(name: str) -> None:
    sparsifier = SPARSIFIERS[name]()
    trained = train_sparse(sparsifier, digits_net())

    scores = learned_scores(name, sparsifier, trained.hook, trained.model)

    assert sparsifier.criterion in CRITERIA
    if scores is not None:
        assert {k: v.shape for k, v in scores.by_group.items()} == {
            g.name: (g.width,) for g in trained.graph.groups
        }
        assert all(v.dtype == np.float64 for v in scores.by_group.values())


@every_sparsifier
def test_finish_leaves_the_ordinary_module_with_the_same_outputs(name: str) -> None:
    before = digits_net()
    names = list(before.state_dict())
    trained = train_sparse(SPARSIFIERS[name](), before)
    expected = outputs(trained.model)

    trained.hook.finish(trained.model)

    assert [type(m) for m in trained.model.modules()] == [type(m) for m in digits_net().modules()]
    assert list(trained.model.state_dict()) == names
    assert all(p.requires_grad and p.is_leaf for p in trained.model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in trained.model.modules())
    if name not in FREEZING:
        torch.testing.assert_close(outputs(trained.model), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", FREEZING)
def test_frozen_weights_come_back_bit_by_bit(name: str) -> None:
    expected = tensors(digits_net())
    trained = train_sparse(SPARSIFIERS[name](), digits_net())

    trained.hook.finish(trained.model)

    found = tensors(trained.model)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@every_sparsifier
def test_the_trained_network_is_planned_pruned_and_verified(name: str) -> None:
    sparsifier = SPARSIFIERS[name]()
    trained = train_sparse(sparsifier, digits_net())
    scores = learned_scores(name, sparsifier, trained.hook, trained.model)
    trained.hook.finish(trained.model)
    graph, setting = trained.graph, trained.hook.setting
    scores = scores or score(graph, sparsifier.criterion, model=trained.model)

    found = plan(
        graph,
        scores,
        budget=setting.budget,
        scope="global",
        costs=setting.costs,
        tolerance=0.1,
    )
    small = apply(found, trained.model)

    verify(trained.model, small, found, graph.inputs)
    assert setting.costs.macs(found.widths) <= setting.targets["macs"]


@every_sparsifier
def test_stopped_and_started_again_it_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    whole = train_sparse(SPARSIFIERS[name](), digits_net())
    with pytest.raises(KeyboardInterrupt):
        train_sparse(SPARSIFIERS[name](), digits_net(), checkpoint_dir=tmp_path, stop_after=8)

    resumed = train_sparse(SPARSIFIERS[name](), digits_net(), checkpoint_dir=tmp_path)

    assert whole.hook.kept.keys() == resumed.hook.kept.keys()
    assert all(torch.equal(t, resumed.hook.kept[k]) for k, t in whole.hook.kept.items())
    found = tensors(resumed.model)
    assert all(torch.equal(t, found[k]) for k, t in tensors(whole.model).items())
    first, second = whole.hook.scores(whole.model), resumed.hook.scores(resumed.model)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", sorted(set(SPARSIFIERS) - set(NORMED)))
def test_a_network_without_norms_stays_finite(name: str) -> None:
    trained = train_sparse(SPARSIFIERS[name](), BareNet())

    trained.hook.finish(trained.model)

    assert bool(outputs(trained.model).isfinite().all())


@pytest.mark.parametrize("name", NORMED)
def test_where_norms_are_needed_their_lack_is_an_error_with_a_way_out(name: str) -> None:
    with pytest.raises(PruningError, match=r"conv1.*'ssl'"):
        train_sparse(SPARSIFIERS[name](), BareNet())


@every_sparsifier
def test_steps_in_lower_precision_keep_weights_and_penalty_in_theirs(name: str) -> None:
    model = digits_net().float().eval()
    images, labels = digit_batches(1)[0]
    hook = SPARSIFIERS[name]().start(setting_for(trace(model, images[:2].float())))
    hook.on_start(model)

    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model.train()(images.float())
        loss = nn.functional.cross_entropy(logits.float(), labels)
        penalty = hook.penalty(model)
        loss = loss if penalty is None else loss + penalty
        loss.backward()
        hook.after_backward(model)
        hook.after_step(model)
        model.zero_grad()
        assert loss.dtype == torch.float32
    hook.finish(model)

    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())


@every_sparsifier
def test_source_names_paper_year_and_section(name: str) -> None:
    source = SPARSIFIERS[name]().source

    assert source.paper
    assert source.year
    assert source.section

"""SFP: what is zeroed and when, that it trains on, and the asymptotic share."""

import numpy as np
import pytest
import torch

from sentei.criteria import score
from sentei.errors import PruningError
from sentei.graph import trace
from sentei.sparsify.base import SparseHook
from sentei.sparsify.sfp import SFP
from sentei.train import TrainConfig
from tests.support.nets import PlainNet, case, example, fill
from tests.support.sparse import digits_net, planned_removal, setting_for, train_sparse


def started(model: PlainNet, method: SFP, *, epochs: int = 3) -> SparseHook:
    config = TrainConfig(epochs=epochs, learning_rate=0.1)
    hook = method.start(setting_for(trace(model, example(1, 3, 8, 8)), config=config))
    hook.on_start(model)
    return hook


@pytest.mark.parametrize("criterion", ["l2", "fpgm"])
def test_the_lowest_filters_of_each_group_become_zero_and_norms_stay(criterion: str) -> None:
    model = fill(PlainNet())
    hook = started(model, SFP(criterion=criterion))
    expected = score(hook.setting.graph, criterion, model=model).by_group
    norms = [p.detach().clone() for p in (model.bn1.weight, model.bn1.bias)]

    hook.after_epoch(model, 0)

    for name, weight in (("conv1", model.conv1.weight), ("conv2", model.conv2.weight)):
        gone = (weight.detach().abs().sum((1, 2, 3)) == 0).numpy()
        assert 0 < gone.sum() < len(gone)
        assert set(np.flatnonzero(gone)) == set(np.argsort(expected[name])[: gone.sum()])
    assert model.conv2.bias is not None
    assert torch.equal(model.conv2.bias.detach() == 0, hook.kept["zeroed"][6:])
    assert torch.equal(model.bn1.weight, norms[0])
    assert torch.equal(model.bn1.bias, norms[1])


def test_a_zeroed_channel_that_grows_in_the_next_epoch_comes_back() -> None:
    model = fill(PlainNet())
    hook = started(model, SFP())
    hook.after_epoch(model, 0)
    back = int(torch.nonzero(hook.kept["zeroed"])[0])
    with torch.no_grad():
        model.conv1.weight[back] = 10.0

    hook.after_epoch(model, 1)

    assert not hook.kept["zeroed"][back]
    assert bool((model.conv1.weight[back] == 10).all())


def test_the_asymptotic_share_goes_through_three_quarters_at_an_eighth_of_the_epochs() -> None:
    method = SFP(asymptotic=True)

    assert method.share(0, 8) == pytest.approx(0.75, rel=1e-12)
    assert method.share(7, 8) == pytest.approx(1.0, rel=1e-12)
    assert [SFP().share(e, 8) for e in (0, 7)] == [1.0, 1.0]


def test_asymptotically_fewer_channels_are_zero_after_the_first_epoch() -> None:
    zeroed = []
    for method in (SFP(asymptotic=True), SFP()):
        model = fill(PlainNet(first=40, second=40))
        hook = started(model, method, epochs=20)
        hook.after_epoch(model, 0)
        zeroed.append(int(hook.kept["zeroed"].sum()))

    assert 0 < zeroed[0] < zeroed[1]


def test_zeroed_channels_of_digits_score_lowest() -> None:
    trained = train_sparse(SFP(), digits_net())

    scores = trained.hook.scores(trained.model)

    assert scores is not None
    zeroed = trained.hook.kept["zeroed"].numpy()
    assert 0 < zeroed.mean() < 1
    assert scores[zeroed].max() <= scores[~zeroed].min()


def test_a_plan_over_all_groups_removes_nothing_but_what_training_chose() -> None:
    model = digits_net()
    with torch.no_grad():
        model.conv1.weight[0] *= 100  # against the mean of this group all others are low
    trained = train_sparse(SFP(), model)

    removed = planned_removal("sfp", SFP(), trained)

    assert removed.sum() > 0
    assert not (removed & ~trained.hook.kept["zeroed"].numpy()).any()


def test_a_criterion_that_needs_images_is_refused() -> None:
    with pytest.raises(ValueError, match="SFP: criterion 'taylor' needs images; expected one"):
        SFP(criterion="taylor")


def test_a_group_without_filters_is_refused() -> None:
    found = case("embedding")
    hook = SFP().start(setting_for(trace(found.model, found.inputs), macs=0.9))

    with pytest.raises(PruningError, match=r"group embed: no convolution or linear.*'ssl'"):
        hook.on_start(found.model)


def test_filters_under_weight_norm_are_refused_since_they_cannot_be_zero() -> None:
    found = case("weight norm")
    hook = SFP().start(setting_for(trace(found.model, found.inputs), macs=0.6))

    with pytest.raises(PruningError, match=r"parametrizations.*cannot be set to zero.*'ssl'"):
        hook.on_start(found.model)

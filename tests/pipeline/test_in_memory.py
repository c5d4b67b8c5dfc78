"""``sentei.prune``: the whole of it in one call."""

import copy

import pytest
import torch
from torch import nn

import sentei
from sentei.data import load_data
from sentei.models import load_model
from sentei.pipeline.batches import EpochBatches
from sentei.train import TrainConfig

IMAGES = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def digits_net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return load_model("digits_cnn", num_classes=10).model


def digits(batch_size: int = 64) -> EpochBatches:
    return EpochBatches(load_data("digits"), batch_size=batch_size, augment=False, seed=0)


def test_budget_is_met_within_half_a_percent() -> None:
    pruned = sentei.prune(digits_net(), IMAGES, budget="macs=0.5")

    # By hand: all four maps but the first have 4x4 positions; kernels are 3x3.
    a, b, c = (
        pruned.model.get_parameter(f"{n}.weight").shape[0] for n in ("conv1", "conv2", "conv3")
    )
    by_hand = 9 * (64 * a + 16 * (a * b + 2 * b * c)) + 10 * b
    assert pruned.after.macs == by_hand
    assert 0.495 < by_hand / pruned.before.macs <= 0.5


def test_model_itself_is_not_changed() -> None:
    model = digits_net()
    before = copy.deepcopy(model.state_dict())

    sentei.prune(model, IMAGES, budget="macs=0.5", data=digits())

    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_the_default_scores_by_data_if_there_are_any_and_says_so() -> None:
    removed = {
        name: sentei.prune(
            digits_net(), IMAGES, budget="macs=0.5", data=digits(), criterion=name
        ).plan.removed
        for name in ("l1", "fisher")
    }

    with_data = sentei.prune(digits_net(), IMAGES, budget="macs=0.5", data=digits())
    without = sentei.prune(digits_net(), IMAGES, budget="macs=0.5")

    assert with_data.plan.removed == removed["fisher"] != removed["l1"]
    assert without.plan.removed == removed["l1"]
    assert with_data.notes[0] == "channels are ranked by fisher, as criterion auto chose"
    assert without.notes[0] == "channels are ranked by l1, as criterion auto chose"


def test_recovery_trains_the_smaller_network() -> None:
    recipe = TrainConfig(epochs=3, learning_rate=0.05)

    pruned = sentei.prune(digits_net(), IMAGES, budget="macs=0.5", data=digits(), recover=recipe)

    losses = [epoch.train_loss for epoch in pruned.curve]
    assert len(losses) == 3
    assert losses[2] < losses[0]


def test_protected_layer_stays_whole() -> None:
    pruned = sentei.prune(digits_net(), IMAGES, budget="macs=0.5", protect=["conv1"])

    assert pruned.model.get_submodule("conv1").weight.shape == (16, 1, 3, 3)


def test_widths_are_rounded() -> None:
    pruned = sentei.prune(digits_net(), IMAGES, budget="params=0.6", round_to=4, tolerance=0.05)

    assert {width % 4 for width in pruned.plan.widths.tolist()} == {0}


def test_recovery_without_data_is_refused() -> None:
    with pytest.raises(ValueError, match="recover needs data"):
        sentei.prune(digits_net(), IMAGES, budget="macs=0.5", recover=TrainConfig(epochs=1))


def test_summary_names_costs_and_proof() -> None:
    text = str(sentei.prune(digits_net(), IMAGES, budget="macs=0.5"))

    assert "macs: 378,176 -> " in text
    assert "equal to the masked original within " in text

"""Cost of a study, and what pays for it."""

import math

import numpy as np
import pytest

from sentei.spaces.payback import CostModel, draws_to_reach, payback

COST = CostModel(
    macs=1e6,
    throughput=1e9,
    train_images=1000,
    recalibration_images=300,
    val_images=200,
    prune_seconds=0.5,
)


def test_seconds_by_hand() -> None:
    # 500 images of 2e6 operations at 1e9 a second, and half a second to prune.
    assert COST.one_shot_seconds == pytest.approx(1.5)
    # Three times 2e6 operations for 1000 images.
    assert COST.epoch_seconds == pytest.approx(6)
    assert COST.study_seconds(10, trained=4, epochs=2) == pytest.approx(15 + 48)


def test_recalibrating_and_scoring_is_an_eighth_of_an_epoch() -> None:
    cifar = CostModel(
        macs=20e6,
        throughput=5e10,
        train_images=45_000,
        recalibration_images=12_800,
        val_images=5000,
    )

    assert cifar.one_shot_seconds / cifar.epoch_seconds == pytest.approx(0.13, abs=0.005)
    assert cifar.epoch_seconds == pytest.approx(108)  # 5.4e12 operations


def test_draws_to_reach_by_hand() -> None:
    # Expected best of 1, 2, 3 of (1, 2, 4): 7/3, 4/3, 1.
    targets = (2.4, 7 / 3, 2, 4 / 3, 1.3, 1, 0.9)

    assert [draws_to_reach([4.0, 1.0, 2.0], q) for q in targets] == [1, 1, 2, 2, 3, 3, math.inf]


def test_draws_are_those_of_searching_at_random() -> None:
    rng = np.random.default_rng(0)
    drops = rng.normal(0, 1, 50)
    found = draws_to_reach(drops, -1.5)

    searches = np.argsort(rng.random((40_000, 50)), axis=1)
    before = drops[searches[:, : int(found) - 1]].min(1).mean()
    after = drops[searches[:, : int(found)]].min(1).mean()
    assert after <= -1.5 + 0.01  # Monte-Carlo error of 40 000 searches
    assert before > -1.5 - 0.01


def test_the_inequality_by_hand() -> None:
    base, refined = [1.0, 2.0, 4.0], [1.0, 1.0, 2.0]

    # 2 draws for 4/3 in the base space; 1 in the refined: its mean is 4/3.
    once = payback(base, refined, target=4 / 3, study_seconds=30, search_seconds=10)
    shared = payback(base, refined, target=4 / 3, study_seconds=30, search_seconds=10, searches=4)

    assert (once.base_draws, once.refined_draws, once.saved_seconds) == (2, 1, 10)
    assert not once.pays
    assert once.text == ("study 30 s >= (2 - 1) draws saved = 10 s: the refinement does not pay")
    assert shared.pays
    assert shared.study_seconds == 7.5


def test_a_target_that_only_the_refined_space_reaches_always_pays() -> None:
    found = payback([2.0, 3.0], [1.0, 2.0], target=1, study_seconds=1e9, search_seconds=1)

    assert found.pays
    assert math.isinf(found.saved_seconds)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="no recipe of either space reaches a drop of 0"):
        payback([1.0], [1.0], target=0, study_seconds=1, search_seconds=1)
    with pytest.raises(ValueError, match="search_seconds 0, searches 1"):
        payback([1.0], [1.0], target=1, study_seconds=1, search_seconds=0)
    with pytest.raises(ValueError, match="macs is 0; a positive"):
        CostModel(macs=0, throughput=1, train_images=1, recalibration_images=1, val_images=1)
    with pytest.raises(ValueError, match="val_images is -1; a number >= 0"):
        CostModel(macs=1, throughput=1, train_images=1, recalibration_images=1, val_images=-1)

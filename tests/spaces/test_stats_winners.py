"""Winners' bands and the null that guards them."""

import numpy as np
import pytest

from sentei.errors import UnknownNameError
from sentei.spaces.stats_base import Resampling
from sentei.spaces.stats_winners import (
    WINNERS,
    Best,
    BootstrapBest,
    TopShare,
    WinnerRule,
    WinnersBand,
    WithinEps,
    winners_band,
)
from tests.support.populations import KAPPA, population

DROP = np.array([3.0, 1.0, 2.0, 1.0, 5.0])


def bands(
    kappa: float, *, stratified: bool, rounds: int, optimum: float = 1.0
) -> list[WinnersBand]:
    found = []
    for seed in range(rounds):
        drawn = population(200, seed, kappa=kappa, stratified=stratified, optimum=optimum)
        settings = Resampling(draws=200, seed=seed)
        found.append(
            winners_band(drawn.ratio, drawn.drop, rule=BootstrapBest(), resampling=settings)
        )
    return found


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Best(), [0, 0.5, 0, 0.5, 0]),
        (TopShare(q=0.6), [0, 1 / 3, 1 / 3, 1 / 3, 0]),
        (TopShare(q=0.01), [0, 0.5, 0, 0.5, 0]),
        (WithinEps(eps=2), [0.25, 0.25, 0.25, 0.25, 0]),
    ],
)
def test_weights_of_a_rule_by_hand(rule: WinnerRule, expected: list[float]) -> None:
    np.testing.assert_allclose(rule.weights(DROP), expected)


def test_chances_of_the_bootstrap_best_are_those_of_resampling() -> None:
    rng = np.random.default_rng(0)
    drop = np.array([4.0, 2.0, 1.0, 3.0, 2.0, 7.0, 6.0, 9.0])
    draws = rng.integers(8, size=(200_000, 2))  # a quarter of 8

    best = draws[np.arange(len(draws)), np.argmin(drop[draws], axis=1)]

    counted = np.bincount(best, minlength=8) / len(draws)
    np.testing.assert_allclose(BootstrapBest().weights(drop), counted, atol=0.004)
    assert BootstrapBest().weights(drop).sum() == pytest.approx(1)


def test_band_holds_the_weighted_quantiles() -> None:
    ratio = np.arange(1.0, 101)

    found = winners_band(
        ratio, np.zeros(100), rule=Best(), resampling=Resampling(draws=9, level=0.9)
    )

    assert (found.low, found.median, found.high) == pytest.approx((5, 50, 95))


def test_a_natural_population_without_effect_has_a_tight_band_and_as_tight_a_null() -> None:
    found = bands(0, stratified=False, rounds=60)

    assert np.median([band.factor for band in found]) == pytest.approx(1.37, abs=0.05)
    assert np.median([np.median(b.null_factors) for b in found]) == pytest.approx(1.37, abs=0.05)


@pytest.mark.parametrize("stratified", [True, False])
def test_chance_is_seldom_called_an_effect(stratified: bool) -> None:
    found = bands(0, stratified=stratified, rounds=200)

    assert np.mean([band.narrower_than_chance() for band in found]) <= 0.07


def test_an_effect_shows_in_stratified_and_not_in_natural_populations() -> None:
    stratified = bands(KAPPA, stratified=True, rounds=40)
    natural = bands(KAPPA, stratified=False, rounds=40)

    assert np.mean([band.narrower_than_chance() for band in stratified]) >= 0.9
    assert np.mean([band.narrower_than_chance() for band in natural]) <= 0.4


def test_a_natural_band_often_misses_the_true_optimum() -> None:
    found = bands(KAPPA, stratified=False, rounds=100, optimum=0.85)

    assert 0.4 < np.mean([band.low <= 0.85 <= band.high for band in found]) < 0.8


def test_order_of_the_recipes_does_not_matter_to_the_band() -> None:
    drawn = population(50, 0, kappa=1)
    order = np.random.default_rng(0).permutation(50)

    first = winners_band(drawn.ratio, drawn.drop, rule=TopShare())
    second = winners_band(drawn.ratio[order], drawn.drop[order], rule=TopShare())

    assert (first.low, first.median, first.high) == (second.low, second.median, second.high)


def test_rules_are_found_by_name() -> None:
    assert list(WINNERS) == ["best1", "bootstrap_best", "top_q", "within_eps"]
    with pytest.raises(UnknownNameError, match="unknown winner rule 'best'"):
        WINNERS["best"]


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="q is 1"):
        TopShare(q=1)
    with pytest.raises(ValueError, match="eps is -1"):
        WithinEps(eps=-1)
    with pytest.raises(ValueError, match="share is 0"):
        BootstrapBest(share=0)
    with pytest.raises(ValueError, match="smallest value of ratio is 0"):
        winners_band([0.0], [1.0], rule=Best())

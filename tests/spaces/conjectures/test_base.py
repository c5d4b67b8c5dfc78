"""Thresholds, verdicts and how they are put."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from sentei.spaces.conjectures import Check, Setting, Thresholds, Verdict
from sentei.spaces.conjectures.base import band_note, band_numbers, judged
from sentei.spaces.stats_base import Interval
from sentei.spaces.stats_noise import noise
from sentei.spaces.stats_winners import TopShare, winners_band
from tests.support.populations import measured

MET, MISSED = Check(text="met", holds=True), Check(text="missed", holds=False)


@pytest.mark.parametrize(
    ("checks", "contradicted", "power", "expected"),
    [
        ((MET, MET), False, 0.1, "supported"),
        ((MET, MISSED), False, 0.79, "inconclusive"),
        ((MET, MISSED), False, 0.80, "not supported"),
        ((MET, MET), True, 0.1, "not supported"),
    ],
)
def test_a_weak_study_does_not_speak_against_a_conjecture(
    checks: tuple[Check, ...], contradicted: bool, power: float, expected: str
) -> None:
    found = judged(checks, contradicted=contradicted, power=power, thresholds=Thresholds())

    assert found == expected


def test_only_an_inconclusive_verdict_names_its_power() -> None:
    def text(verdict: str) -> str:
        return Verdict(
            conjecture="C1",
            claim="",
            estimate=None,
            interval=None,
            test="",
            p=None,
            verdict=verdict,
            power=0.314,
        ).text

    assert text("inconclusive") == "inconclusive (power 0.31)"
    assert text("supported") == "supported"


def test_a_verdict_is_plain_json() -> None:
    verdict = Verdict(
        conjecture="C1",
        claim="claim",
        estimate=0.9,
        interval=Interval(low=0.8, high=1.0, level=0.95, method="bootstrap"),
        test="test",
        p=0.01,
        verdict="supported",
        power=0.9,
        checks=(MET,),
        numbers={"loss": 0.2, "draws": math.inf},
    )

    read = json.loads(json.dumps(verdict.as_json()))

    assert read["interval"] == {"low": 0.8, "high": 1.0, "level": 0.95, "method": "bootstrap"}
    assert read["checks"] == [{"text": "met", "holds": True}]
    assert (read["text"], read["numbers"]) == ("supported", {"loss": 0.2, "draws": None})


def test_the_smallest_effect_is_a_tenth_of_a_point_or_the_noise() -> None:
    noisy = noise([1.0, 3.0, 5.0, 7.0], [0, 0, 1, 1])

    assert Setting(bounds=(0.5, 2)).smallest_effect == 0.1
    assert Setting(bounds=(0.5, 2), noise=noisy).smallest_effect == pytest.approx(math.sqrt(2))


def test_a_band_is_printed_beside_its_null() -> None:
    ratio = np.exp(np.linspace(-1, 1, 51))
    band = winners_band(ratio, np.abs(np.log(ratio)).round(6), rule=TopShare(q=0.1))

    assert "the winners' band is 0.89 to 1.13, that of permuted populations" in band_note(band)
    assert band_numbers(band)["band_null_low"] == band.null_low


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Thresholds(alpha=0), "alpha is 0; a number between 0 and 1"),
        (lambda: Thresholds(factor=1), "factor is 1; a number above 1"),
        (lambda: Thresholds(auc=0.5), r"auc is 0\.5; a number above 0\.5"),
        (lambda: Thresholds(networks=2), "networks is 2; at least 3"),
        (lambda: Thresholds(seeds=1), "seeds is 1; at least 2"),
    ],
)
def test_thresholds_out_of_range_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_bounds_are_checked() -> None:
    with pytest.raises(ValueError, match="attainable bounds"):
        Setting(bounds=(2, 1))
    with pytest.raises(ValueError, match="rounds is 0; at least 1"):
        Setting(bounds=(1, 2), rounds=0)


def test_replicated_recipes_weigh_more_by_the_share_of_noise() -> None:
    noisy = noise([1.0, 3.0, 5.0, 7.0], [0, 0, 1, 1])  # reliability 7 / 9
    recipes = measured(6, 0, kappa=0).where(np.array([0, 0, 1])).averaged()
    plain = Setting(bounds=(0.5, 2))

    equal = plain.observations(recipes).weights
    weighted = replace(plain, noise=noisy).observations(recipes, "test_drop", covariates=())

    np.testing.assert_array_equal(equal, [1, 1])
    assert weighted.weights is not None
    # Variance 7/9 + 2/9 / 2 = 8/9 of a single evaluation.
    np.testing.assert_allclose(weighted.weights, [9 / 8, 1])
    np.testing.assert_array_equal(weighted.drop, recipes.test_drop)
    assert not weighted.covariates

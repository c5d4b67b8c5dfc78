"""What a report shows of one regime, from rows whose drops are a formula."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sentei.methods.base_network import BaseConfig
from sentei.spaces.config import PopulationConfig, StudyConfig
from sentei.spaces.conjectures import optimal_ratio_exists
from sentei.spaces.protocol import Protocol
from sentei.spaces.regime_data import RegimeData
from sentei.spaces.result_edfs import space_results
from sentei.spaces.result_power import noise
from sentei.spaces.result_ratio import population
from sentei.spaces.space import Slab
from sentei.spaces.stats_base import Resampling
from sentei.spaces.verdicts import judge
from tests.support.populations import row

NUM, REPEATED, REPLICATES = 60, 12, 4
EPOCHS = 3


def rows() -> list[dict[str, Any]]:
    """Return recipes over m, 12 of them in four trainings that lose 1 to 4 points by chance."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(NUM):
        ratio = 0.6 * 4 ** (number / (NUM - 1))
        for replicate in range(REPLICATES if number < REPEATED else 1):
            drop = 3 * math.log(ratio / 1.1) ** 2 + rng.normal(0, 1)
            std = 0.01 + 0.39 * ((7 * number) % NUM) / NUM
            found.append(
                row(
                    number, space="stratified", ratio=ratio, drop=drop, std=std, replicate=replicate,
                    epochs=EPOCHS, supernet=False, zero_cost=None, seconds={"train": 1.0},
                )
            )  # fmt: skip
    uniform = row(NUM, space="uniform", std=0.0154, drop=-9.0, epochs=EPOCHS, supernet=False)
    return [*found, {**uniform, "zero_cost": None}]


@pytest.fixture(scope="module")
def data() -> RegimeData:
    config = StudyConfig(
        base=BaseConfig(model="net", data="none"),
        population=PopulationConfig(std_edges=(0.0, 0.1, 0.25)),
        protocol=Protocol(epochs=EPOCHS),
        resampling=Resampling(draws=50),
    )
    return RegimeData(
        config=config,
        network="net",
        level=0.5,
        bounds=(0.5, 2.6),
        dense={"a": 8, "b": 8},
        stages={"a": "one", "b": "two"},
        rows=rows(),
    )


def weighted_optimum(data: RegimeData) -> float:
    """Return m* of least squares in which the mean of r trainings weighs 1 / (1 - s + s / r)."""
    assert data.noise is not None
    own = [[r for r in rows() if r["subnet"] == f"s{number}"] for number in range(NUM)]
    ratio = np.array([one[0]["ratio"] for one in own])
    std = np.array([one[0]["std"] for one in own])
    drop = np.array([np.mean([r["drop"] for r in one]) for one in own])
    noisy = 1 - data.noise.reliability
    roots = np.array([1 / math.sqrt(1 - noisy + noisy / len(one)) for one in own])
    columns = np.column_stack([np.ones(NUM), np.log(ratio), np.log(ratio) ** 2, std])
    found = np.linalg.lstsq(columns * roots[:, None], drop * roots)[0]
    return math.exp(-found[1] / (2 * found[2]))


def test_one_population_has_one_optimum(data: RegimeData) -> None:
    expected = weighted_optimum(data)

    shown = population(data)

    assert shown.optimum is not None
    assert shown.fit is not None
    assert 0.6 < expected < 2
    assert shown.optimum.ratio == pytest.approx(expected, rel=1e-9)
    assert data.optimum.ratio == pytest.approx(expected, rel=1e-9)
    verdict = optimal_ratio_exists(data.stratified, data.setting)
    assert verdict.estimate == pytest.approx(expected, rel=1e-9)
    # The curve of the figure is read on a grid of 61 ratios.
    lowest = shown.fit.ratios[int(np.argmin(shown.fit.drops))]
    assert lowest == pytest.approx(expected, rel=math.log(2.6 / 0.5) / 60)


def test_spread_is_judged_by_the_bins_and_the_uniform_recipe_of_the_study(data: RegimeData) -> None:
    verdicts, _ = judge([data], {}, dense_mcb=100.0)

    (found,) = [verdict for verdict in verdicts if verdict.conjecture == "C0"]
    assert list(found.numbers) == [
        "ks_p 0-0.1 0.1-0.25",
        "ks_p 0-0.1 0.25-1",
        "ks_p 0.1-0.25 0.25-1",
    ]
    assert found.notes == ("the uniform recipe loses -9.00 points, less than 100% of the others",)


def test_every_space_says_what_it_keeps_to(data: RegimeData) -> None:
    """Four strata from 0.5 to 8 have edges 0.5, 1, 2, 4, 8; two bins of m have 0.5, 2, 8."""
    population = replace(
        data.config.population, strata=4, std_edges=(0.0, 0.1), cell_regimes=(0.5,), cell_bins=2
    )
    slab = Slab(quantity="group:a", low=0.0, high=0.5)
    space = replace(data.config.space, slabs=(slab,), bucket_edges=(0.45,))
    config = replace(data.config, population=population, space=space)
    own = [
        dict(one, stratum=number % 4, params_left=0.4 + number / 500)
        for number, one in enumerate(rows())
        if not one["replicate"]
    ]
    cells = [dict(one, space="cells") for one in own]

    found = space_results(replace(data, config=config, bounds=(0.5, 8.0), rows=[*own, *cells]))

    said: dict[str, list[str]] = {}
    for one in found:
        regime, base, *more = one.constraints.split("; ")
        assert (regime, base) == ("MACs 0.5 ± 0.005", "group:a in [0, 0.5]")
        said.setdefault(one.family, []).append("; ".join(more))
    assert said["population, trained"] == ["", ""]
    ends = ["0.5, 1", "1, 2", "2, 4", "4, 8"]
    assert said["strata of m"] == [f"ratio in [{span}]" for span in ends]
    assert said["bins of STD"] == ["std in [0, 0.1]", "std in [0.1, 1]"]
    assert said["cells of STD from 0.1"] == [
        "std in [0.1, 1]; ratio in [0.5, 2]",
        "std in [0.1, 1]; ratio in [2, 8]",
    ]
    assert said["parameter buckets"] == ["params in [0, 0.45]", "params in [0.45, 1]"]


def test_distributions_have_bootstrap_bands_of_the_width_of_their_error(data: RegimeData) -> None:
    """The share of weight below x is a ratio of sums, of variance sum w^2 (1 - F)^2 or w^2 F^2."""
    own = [dict(one, weight=1.0 + number % 4) for number, one in enumerate(rows())]
    config = replace(data.config, resampling=Resampling(draws=4000))

    found = {s.name: s for s in space_results(replace(data, config=config, rows=own))}

    for name in ("stratified", "weighted as the regime"):
        space = found[name]
        band, drops, weights = space.band, np.array(space.drops), np.array(space.weights)
        assert band is not None
        assert band.drops == tuple(sorted(space.drops))
        middle = NUM // 2
        below = drops <= band.drops[middle]
        share = weights[below].sum() / weights.sum()
        error = math.sqrt(weights**2 @ (below - share) ** 2) / weights.sum()
        assert band.low[middle] == pytest.approx(share - 1.96 * error, abs=0.03)
        assert band.high[middle] == pytest.approx(share + 1.96 * error, abs=0.03)
        assert (band.low[-1], band.high[-1]) == (1, 1)


def test_a_band_of_many_drops_is_read_at_200_of_them(data: RegimeData) -> None:
    natural = [
        row(1000 + number, space="natural", drop=float(number), epochs=0, supernet=False)
        for number in range(300)
    ]

    found = {s.name: s for s in space_results(replace(data, rows=[*rows(), *natural]))}

    band = found["natural"].band
    assert band is not None
    assert (len(band.drops), band.drops[0], band.drops[-1]) == (200, 0, 299)
    assert (band.low[-1], band.high[-1]) == (1, 1)


def test_spaces_are_compared_by_ranks_too(data: RegimeData) -> None:
    bins = [s for s in space_results(data) if s.family == "bins of STD"]
    first, *others = bins
    plain = []
    for one in others:
        pairs = [(a, b) for a in one.drops for b in first.drops]
        wins = sum(a < b for a, b in pairs) - sum(a > b for a, b in pairs)
        assert one.cliffs_delta == pytest.approx(wins / len(pairs))
        assert one.mean_difference == pytest.approx(np.mean(one.drops) - np.mean(first.drops))
        assert one.mean_interval is not None
        assert one.mean_difference is not None
        assert one.mean_interval[0] < one.mean_difference < one.mean_interval[1]
        assert one.quantile_difference == pytest.approx(
            np.quantile(one.drops, 0.05) - np.quantile(first.drops, 0.05)
        )
        plain.append(float(stats.mannwhitneyu(one.drops, first.drops).pvalue))
    # Holm, of two: the smaller doubled, the larger as it is, but no less than that.
    least = min(1, 2 * min(plain))
    expected = [least if p == min(plain) else max(p, least) for p in plain]
    assert [one.mann_whitney_p for one in others] == pytest.approx(expected)
    assert first.mann_whitney_p is None


def test_a_spline_checks_the_quadratic(data: RegimeData) -> None:
    once = [one for one in rows() if not one["replicate"]]
    exact = [dict(one, drop=3 * math.log(one["ratio"] / 1.1) ** 2) for one in once]

    shown = population(replace(data, rows=exact))
    few = population(replace(data, rows=[one for one in exact if int(one["subnet"][1:]) % 4 == 0]))

    assert shown.optimum is not None
    assert shown.spline is not None
    assert shown.optimum.ratio == pytest.approx(1.1, rel=1e-6)
    assert shown.spline.ratio == pytest.approx(1.1, rel=0.02)
    assert few.spline is None  # 15 recipes are too few


def test_the_least_effect_is_found_as_often_as_it_says(data: RegimeData) -> None:
    found = noise(data)

    assert found is not None
    assert found.least_effect is not None
    assert found.power_errors == pytest.approx(
        [math.sqrt(p * (1 - p) / 300) for p in found.powers], abs=1e-12
    )
    # Not only one of the losses that are drawn; between those of less and more power.
    assert found.least_effect not in found.effects
    assert np.interp(found.least_effect, found.effects, found.powers) == pytest.approx(0.8, abs=0.1)


def test_permutations_state_their_monte_carlo_error(data: RegimeData) -> None:
    shown = population(data).winners
    assert shown is not None
    # Of 50 permutations and the observed arrangement.
    assert shown.p_error == pytest.approx(math.sqrt(shown.p * (1 - shown.p) / 51))
    verdicts, _ = judge([data], {}, dense_mcb=100.0)
    numbers = {v.conjecture: v.numbers for v in verdicts}
    p = numbers["C1"]["band_p"]
    assert p is not None
    assert numbers["C1"]["band_p_error"] == pytest.approx(math.sqrt(p * (1 - p) / 51))
    assert {"power_error"} <= set(numbers["C1"])
    assert {"p_error", "band_p_error"} <= set(numbers["C3"])

"""What a report shows of one regime, from rows whose drops are a formula."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sentei.methods.base_network import BaseConfig
from sentei.spaces.config import PopulationConfig, StudyConfig
from sentei.spaces.conjectures import optimal_ratio_exists
from sentei.spaces.protocol import Protocol
from sentei.spaces.regime_data import RegimeData
from sentei.spaces.result_edfs import space_results
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

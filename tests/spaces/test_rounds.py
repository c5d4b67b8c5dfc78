"""Rounds of refinement on a simulated study: drops by formula, recipes of a real network."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from sentei.cost import CostModel
from sentei.graph import trace
from sentei.methods.base_network import BaseConfig
from sentei.spaces.config import PopulationConfig, SearchConfig, StudyConfig
from sentei.spaces.conjectures import Thresholds
from sentei.spaces.populate import first_wishes
from sentei.spaces.regime_data import RegimeData
from sentei.spaces.result_edfs import space_results
from sentei.spaces.results import regimes_of
from sentei.spaces.rounds import (
    held_out_losses,
    placebo_slabs,
    refine_rounds,
    refined_slabs,
)
from sentei.spaces.scene import Scene
from sentei.spaces.space import Slab
from sentei.spaces.stats_base import Resampling
from sentei.spaces.study import Session
from sentei.spaces.subnets import Row, Wish, choose, rows_of
from sentei.spaces.terrain import Terrain

DENSE = {"val_accuracy": 0.9, "accuracy": 0.9}
Drop = Callable[[Mapping[str, Any]], float]


def network() -> nn.Sequential:
    """Return a network of four groups, whose first has most multiply-adds and last most weights."""
    parts: list[nn.Module] = []
    for before, after in pairwise((3, 16, 32, 64, 64)):
        parts += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(64 * 4, 10))


def noise(facts: Mapping[str, Any]) -> float:
    """Return a number of the recipe's own in [-.05, .05]."""
    return int(facts["subnet"][:4], 16) / 0xFFFF / 10 - 0.05


def valley(facts: Mapping[str, Any]) -> float:
    """Return a drop that is least at m = 1 and at equal ratios."""
    return 3.0 * math.log(facts["ratio"]) ** 2 + 20.0 * facts["std"] ** 2 + noise(facts)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where populations are frozen: the tests draw the same ones, once."""
    return tmp_path_factory.mktemp("study")


def simulated(directory: Path, drop: Drop, **search: Any) -> tuple[Session, RegimeData]:  # noqa: ANN401
    """Return a study whose evaluations are a formula, and its regime with the trained population."""
    config = StudyConfig(
        base=BaseConfig(model="net", data="none"),
        regimes=(0.5,),
        window=0.02,
        population=PopulationConfig(strata=6, per_stratum=20, natural=0, replicates=1),
        thresholds=Thresholds(winners=0.15, diversity=0.01),
        resampling=Resampling(draws=200),
        search=SearchConfig(regimes=(0.5,), **search),
    )
    graph = trace(network().eval(), torch.zeros(2, 3, 32, 32))
    terrain = Terrain(graph=graph, costs=CostModel.of(graph), config=config.space)
    scene = Scene(config=config, graph=graph, terrain=terrain)

    def run(wishes: Sequence[Wish]) -> list[Row]:
        results = {
            wish.job.key: SimpleNamespace(value=evaluated(wish.member.facts)) for wish in wishes
        }
        return rows_of(wishes, SimpleNamespace(results=lambda: results), DENSE)  # type: ignore[arg-type]

    def evaluated(facts: Mapping[str, Any]) -> dict[str, Any]:
        accuracy = 0.9 - drop(facts) / 100
        return {
            "val_accuracy": accuracy,
            "test_accuracy": accuracy,
            "one_shot": {"val_accuracy": accuracy},
            "seconds": {"train": 1.0},
        }

    session = Session(
        config=config,
        directory=directory,
        dense=DENSE,
        scene=scene,
        store=None,  # type: ignore[arg-type]
        run=run,
    )
    rows = run(first_wishes(scene, directory, 0.5))
    return session, regimes_of(scene, rows)[0]


@pytest.mark.slow
def test_each_round_draws_from_a_smaller_space_inside_the_last(directory: Path) -> None:
    session, data = simulated(directory, valley, rounds=2, statistics=("ratio", "std"), fresh=80)

    rows, kept = refine_rounds(session, data)

    assert list(dict.fromkeys(row["space"] for row in rows)) == [
        *("fresh base", "refined", "placebo", "refined 2", "placebo 2")
    ]
    base, first, second = (choose(rows, space=n) for n in ("fresh base", "refined", "refined 2"))
    one = refined_slabs(data, 1)
    two = refined_slabs(replace(data, rows=[*data.rows, *rows]), 2, one)
    assert {slab.quantity for slab in two} == {"ratio", "std"}
    assert 0 < holding(base, one) < 0.5
    assert holding(first, one) == holding(second, two) == 1
    assert holding(second, one) == 1
    assert holding(first, two) < 1
    assert kept == two
    shares = [own[0]["log_share"] for own in (base, first, second)]
    assert shares[0] == 0.0
    assert shares[0] > shares[1] > shares[2]
    assert math.exp(shares[1]) == pytest.approx(holding(base, one), abs=0.2)


def holding(rows: Sequence[Row], slabs: Sequence[Slab]) -> float:
    """Return the share of recipes that all slabs hold."""
    held = [all(slab.low <= row[slab.quantity] <= slab.high for slab in slabs) for row in rows]
    return sum(held) / len(held)


@pytest.mark.slow
def test_a_round_that_loses_accuracy_is_not_kept(directory: Path) -> None:
    def second_is_bad(facts: Mapping[str, Any]) -> float:
        return valley(facts) + (2.0 if facts["space"] == "refined 2" else 0.0)

    session, data = simulated(
        directory, second_is_bad, rounds=3, statistics=("ratio", "std"), fresh=80
    )

    rows, kept = refine_rounds(session, data)

    assert kept == refined_slabs(data, 1)
    assert "refined 2" in {row["space"] for row in rows}
    assert "refined 3" not in {row["space"] for row in rows}


def test_the_other_half_says_whether_the_slabs_hold(directory: Path) -> None:
    session, data = simulated(directory, valley, fresh=0)

    rows, kept = refine_rounds(session, data)

    inside, outside = held_out_losses(data, kept)
    assert inside is not None
    assert outside is not None
    assert inside < outside
    assert (rows, kept) == ([], refined_slabs(data, 1))


def test_where_nothing_bends_nothing_is_refined(directory: Path) -> None:
    session, data = simulated(directory, lambda facts: -(math.log(facts["ratio"]) ** 2), fresh=4)

    assert refine_rounds(session, data) == ([], ())
    with pytest.raises(ValueError, match="no valley in the ratio"):
        refined_slabs(data, 1)


def test_the_report_says_what_refined_and_placebo_space_keep_to(directory: Path) -> None:
    session, data = simulated(directory, valley, fresh=5)
    rows, kept = refine_rounds(session, data)

    spaces = space_results(replace(data, rows=[*data.rows, *rows]))

    said = {space.name: space.constraints for space in spaces}
    assert said["fresh base"] == "MACs 0.5 ± 0.02"
    assert said["refined"] == f"MACs 0.5 ± 0.02; ratio in [{kept[0].low:g}, {kept[0].high:g}]"
    sham = placebo_slabs(data, 1, kept)[0]
    assert said["placebo"] == f"MACs 0.5 ± 0.02; ratio in [{sham.low:g}, {sham.high:g}]"


def test_a_round_that_was_frozen_by_half_keeps_that_half_under_other_thresholds(
    tmp_path: Path,
) -> None:
    session, data = simulated(tmp_path, valley, fresh=5)
    rows, kept = refine_rounds(session, data)
    (placebo,) = tmp_path.rglob("*placebo.json")
    placebo.unlink()
    config = replace(data.config, thresholds=Thresholds(winners=0.15, smallest_drop=0.5))
    other = replace(data, config=config)
    assert refined_slabs(other, 1) != kept

    again, slabs = refine_rounds(session, other)

    assert slabs == kept
    assert choose(again, space="refined") == choose(rows, space="refined")
    sham = placebo_slabs(data, 1, kept)
    assert holding(choose(again, space="placebo"), sham) == 1
    drawn = replace(data, rows=[*data.rows, *again])
    assert (drawn.slabs_of("refined"), drawn.slabs_of("placebo")) == (kept, sham)

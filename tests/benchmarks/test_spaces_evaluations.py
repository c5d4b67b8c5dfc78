"""The race of evaluations: all ways agree on a small network, and what misses the bar is said."""

import pytest
import torch

from benchmarks.spacelib.evaluations import (
    LITERAL,
    LITERAL_LOADER,
    LITERAL_VAL,
    POPULATION,
    POPULATION_VAL,
    POPULATIONS,
    SENTEI,
    SENTEI_VAL,
    Setting,
    draw_widths,
    misses,
    race,
    rows,
    timed_forwards,
)


def test_all_ways_find_the_same_losses_and_spend_time_in_forwards() -> None:
    pytest.importorskip("torch_pruning")
    setting = Setting(network="digits_cnn", val=200, recalibration=256)
    graph = setting.evaluator().graph
    recipes = draw_widths(graph, 5)

    measured = race(setting, graph, recipes, subnets=2, whole=POPULATIONS)
    found = {row["way"]: row for row in rows(measured)}

    assert all(list(recipe) == ["conv1", "conv3"] for recipe in recipes)
    assert recipes == sorted(recipes, key=lambda r: (r["conv1"], r["conv3"]))
    few = dict.fromkeys((LITERAL, LITERAL_LOADER, LITERAL_VAL, SENTEI, SENTEI_VAL), 2)
    all_ = dict.fromkeys((POPULATION, POPULATION_VAL), 5)
    assert {name: row["subnets"] for name, row in found.items()} == few | all_
    # What is shared is the same to the last bit.
    for whole, alone in ((POPULATION, SENTEI), (POPULATION_VAL, SENTEI_VAL)):
        assert found[whole]["largest_difference"] == found[alone]["largest_difference"]
    assert found[LITERAL_LOADER]["largest_difference"] == 0
    assert found[SENTEI]["largest_difference"] < 1e-5
    # Variances are biased here, unbiased there: 100 images of 2 x 2 positions are 400 values.
    assert 0 < found[SENTEI_VAL]["largest_difference"] < 5e-3
    assert found[SENTEI_VAL]["times_faster_than_literal"] > 0
    assert all(0 < row["forward_share"] < 1 for row in found.values())


def test_only_outermost_forwards_are_timed() -> None:
    inner = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())

    with timed_forwards() as seconds:
        torch.nn.Sequential(inner)(torch.zeros(1, 2))
        inner(torch.zeros(1, 2))

    assert len(seconds) == 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"times_faster": 1.5}, []),
        ({"forward_share": 0.5}, ["sentei, each by itself spends 50% of its time in forwards"]),
        (
            {"largest_difference": 5e-4},
            ["sentei, each by itself differs by 5.0e-04 from the literal"],
        ),
        ({"way": SENTEI_VAL, "largest_difference": 5e-4}, []),
        (
            {"way": POPULATION_VAL, "times_faster": 2.25, "times_faster_than_literal": 4.25},
            ["sentei, norms of val, a population is 2.25 times faster, not 3"],
        ),
    ],
)
def test_what_misses_a_bar_is_said(changes: dict[str, object], expected: list[str]) -> None:
    row = {
        "way": SENTEI,
        "times_faster": 4.0,
        "forward_share": 0.95,
        "largest_difference": 1e-7,
    }

    assert misses(row | changes) == expected

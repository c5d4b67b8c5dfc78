"""The race of evaluations: both ways agree on a small network, and what misses the bar is said."""

import pytest
import torch

from benchmarks.space_evaluations import (
    draw_widths,
    misses,
    race,
    random_images,
    rows,
    timed_forwards,
    ways,
)
from sentei.graph import trace
from sentei.models import load_model
from sentei.spaces.protocol import Protocol

pytest.importorskip("torch_pruning")


def test_both_ways_find_the_same_losses_and_spend_time_in_forwards() -> None:
    model = load_model("digits_cnn", num_classes=10).model.eval()
    data = random_images((1, 8, 8), train=64, val=32)
    recipes = draw_widths(trace(model, torch.zeros(2, 1, 8, 8)), 2)
    contenders = ways(model, data, Protocol(recalibration_images=64, recalibration_batch=32), 32)

    found = rows(contenders, race(contenders, recipes))

    assert set(recipes[0]) == {"conv1", "conv3"}
    assert [row["is_same"] for row in found] == [True, True, False, False, False]
    assert found[1]["largest_difference"] < 1e-5 < found[2]["largest_difference"]
    assert all(0 < row["forward_share"] < 1 for row in found)


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
        ({"times_faster": 1.5}, ["sentei is 1.50 times faster, not 3"]),
        ({"forward_share": 0.5}, ["sentei spends 50% of its time in forwards"]),
        ({"largest_difference": 1e-3}, ["sentei differs by 1.0e-03 from the literal"]),
        ({"times_faster": 1.5, "is_same": False}, []),
    ],
)
def test_what_misses_a_bar_is_said(changes: dict[str, object], expected: list[str]) -> None:
    row = {
        "way": "sentei",
        "is_same": True,
        "times_faster": 4.0,
        "forward_share": 0.95,
        "largest_difference": 1e-7,
    }

    assert misses([row, row | changes]) == expected

"""Means, ranks, areas and differences of a comparison, worked out by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from sentei.report.comparison import (
    against,
    area,
    cells,
    markdown_comparison,
    ranks,
    sheets,
    sign_flip,
)
from sentei.report.comparison_page import write_comparison


def row(method: str, target: float, seed: int, accuracy: float, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "method": method,
        "recipe": "short",
        "target": f"macs={target}",
        "seed": seed,
        "accuracy": accuracy,
        "before_recovery": 0.1,
        "macs_left": target,
        "params_left": 0.5,
        "base_accuracy": 0.9,
        "seconds": {"sparse": 0.0, "score": 1.0, "recover": 3.0},
        "epochs": {"recover": 2},
        **changes,
    }


ROWS = [
    row("a", 0.5, 0, 0.8), row("a", 0.5, 1, 0.6), row("a", 0.25, 0, 0.4), row("a", 0.25, 1, 0.4),
    row("random", 0.5, 0, 0.5), row("random", 0.5, 1, 0.7),
    row("random", 0.25, 0, 0.2), row("random", 0.25, 1, 0.3),
]  # fmt: skip


def test_cells_hold_mean_deviation_and_error_over_seeds() -> None:
    first = cells(ROWS)[0]

    assert (first.method, first.target, first.num_seeds) == ("a", "macs=0.5", 2)
    assert first.accuracy == pytest.approx(0.7)
    assert first.deviation == pytest.approx(math.sqrt(0.02))
    assert first.error == pytest.approx(0.1)


def test_one_seed_has_no_spread() -> None:
    only = cells(ROWS[:1])[0]

    assert (only.deviation, only.error) == (None, None)


def test_the_front_holds_what_nothing_beats() -> None:
    front = {(c.method, c.target) for c in cells(ROWS) if c.on_front}

    assert front == {("a", "macs=0.5"), ("a", "macs=0.25")}


def test_ranks_are_means_over_targets_and_seeds() -> None:
    found = {e.method: e for e in ranks(ROWS)}

    # a is first in three of four cells, random in one.
    assert found["a"].value == pytest.approx(1.25)
    assert found["random"].value == pytest.approx(1.75)
    # Seed 0 gives 1 and 1, seed 1 gives 2 and 1: resampled means lie between 1 and 1.5.
    assert (found["a"].low, found["a"].high) == pytest.approx((1.0, 1.5))


def test_equal_accuracies_share_a_rank() -> None:
    found = ranks([row("a", 0.5, 0, 0.5), row("b", 0.5, 0, 0.5), row("c", 0.5, 0, 0.1)])

    assert [(e.method, e.value) for e in found] == [("a", 1.5), ("b", 1.5), ("c", 3.0)]


def test_what_lacks_a_seed_is_not_ranked() -> None:
    assert {e.method for e in ranks([*ROWS, row("late", 0.5, 0, 0.9)])} == {"a", "random"}


def test_the_area_joins_targets_and_base_by_trapezoids() -> None:
    found = {e.method: e.value for e in area(ROWS)}

    # Means 0.4 at 0.25, 0.7 at 0.5, 0.9 at 1.
    expected = ((0.4 + 0.7) / 2 * 0.25 + (0.7 + 0.9) / 2 * 0.5) / 0.75
    assert found["a"] == pytest.approx(expected)


def test_targets_of_any_kind_lie_where_their_networks_do() -> None:
    rows = [
        row("a", 0.5, 0, 0.8) | {"target": "macs=2M"},
        row("a", 0.25, 0, 0.4) | {"target": "params=900K"},
        row("a", 0.3, 0, 0.6) | {"target": "macs=1.2M"},
    ]

    (found,) = area(rows)

    # 0.4 at 0.25, 0.6 at 0.3, 0.8 at 0.5, 0.9 at 1.
    expected = (0.5 * 0.05 + 0.7 * 0.2 + 0.85 * 0.5) / 0.75
    assert found.value == pytest.approx(expected)
    assert [c.target for c in cells(rows)] == ["macs=2M", "macs=1.2M", "params=900K"]


def test_networks_as_dear_as_the_base_have_no_area() -> None:
    assert area([row("a", 1.0, 0, 0.8)]) == []


def test_differences_pair_runs_of_one_target_and_seed() -> None:
    (found,) = against(ROWS, "random")

    # 0.3, -0.1, 0.2, 0.1
    assert found.mean == pytest.approx(0.125)
    assert (found.ahead, found.num_pairs) == (3, 4)
    deviation = math.sqrt(sum((x - 0.125) ** 2 for x in (0.3, -0.1, 0.2, 0.1)) / 3)
    assert found.error == pytest.approx(deviation / 2)


def test_a_missing_baseline_gives_no_differences() -> None:
    assert against(ROWS, "uniform") == []


def test_sign_flips_count_the_means_that_are_as_large() -> None:
    # Of the signs of (2, 1) only ++ and -- reach 1.5.
    assert sign_flip([2.0, 1.0]) == 0.5
    assert sign_flip([1.0] * 20) == pytest.approx(1 / 2001)


def test_recipes_are_crossed_with_methods() -> None:
    other = [{**r, "recipe": "long", "accuracy": 0.9} for r in ROWS]

    sheet = sheets([*ROWS, *other])[-1]

    assert sheet.headers == ("method", "short", "long")
    assert [[c if isinstance(c, str) else c[1] for c in line] for line in sheet.rows] == [
        ["a", "55.0%", "90.0%"],
        ["random", "42.5%", "90.0%"],
    ]


def test_notes_are_listed_once_a_method_with_the_number_of_their_jobs() -> None:
    noted = [row("a", 0.5, seed, 0.8, notes=["ranked by x", "odd"][: seed + 1]) for seed in (0, 1)]

    sheet = sheets([*noted, row("random", 0.5, 0, 0.5, notes=[])])[-1]

    assert (sheet.caption, sheet.headers) == ("Notes", ("method", "note", "jobs"))
    assert sheet.rows == [["a", "ranked by x", (2.0, "2")], ["a", "odd", (1.0, "1")]]


def test_markdown_has_every_table_and_no_broken_row() -> None:
    text = markdown_comparison([row("x|y", 0.5, 0, 0.5), row("random", 0.5, 0, 0.4)])

    assert "| macs=0.5 | x/y | short | 50.0% |" in text
    assert "## Less random" in text


def test_the_page_escapes_names_and_holds_every_number(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script>"
    path = tmp_path / "page.html"

    write_comparison(
        path,
        title=hostile,
        rows=[*ROWS, row(hostile, 0.5, 0, 0.3)],
        provenance={"command": "sentei compare <x>"},
        failures=[{"job": "a", "error": hostile}],
    )

    page = path.read_text()
    assert "<script>alert(1)" not in page
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert len(data["rows"]) == 9
    assert {c["method"] for c in data["cells"]} == {"a", "random", hostile}
    assert "70.0%" in page

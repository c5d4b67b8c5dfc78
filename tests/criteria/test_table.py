"""The table of criteria in the documentation."""

from pathlib import Path

from sentei.criteria import CRITERIA
from sentei.criteria.table import markdown_table, rows

PAGE = Path(__file__).parents[2] / "docs" / "criteria.md"


def test_documentation_holds_the_table_of_the_registry() -> None:
    # Stale? Replace the table in the page by what markdown_table() returns.
    assert markdown_table() in PAGE.read_text(encoding="utf-8")


def test_rows_are_all_criteria_in_order() -> None:
    assert [row.name for row in rows()] == sorted(CRITERIA)


def test_every_row_says_what_and_what_for() -> None:
    assert all(row.summary.endswith(".") and row.needs for row in rows())


def test_what_looks_at_activations_needs_images() -> None:
    needs = {row.name: row.needs for row in rows()}

    assert (needs["l1"], needs["thinet"]) == ("weights", "images")
    assert needs["sosp-h"] == needs["group-fisher"] == "images, labels, gradients"

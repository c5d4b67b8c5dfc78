"""The page as a whole: safety, completeness of its data, structure."""

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest

from sentei.records import Measurement, RunRecord
from sentei.report import render_report, write_report
from tests.report.samples import HOSTILE, Page, latency, numbers_in, poison, record, text_of


def page_of(*records: RunRecord) -> Page:
    return Page(render_report(records))


def three() -> tuple[RunRecord, ...]:
    return replace(record(), name="a"), replace(record(), name="b"), replace(record(), name="c")


def poisoned() -> RunRecord:
    return cast("RunRecord", poison(record()))


def unmeasured() -> RunRecord:
    bare = Measurement(macs=10, num_parameters=5, weight_bytes=20)
    return replace(
        record(), before=bare, after=bare, groups=(), curve=(), seconds={}, seeds={}, notes=()
    )


PAGES = {
    "none": (),
    "one": (record(),),
    "three": three(),
    "unmeasured": (unmeasured(),),
    "hostile": (poisoned(),),
    "hostile beside another": (poisoned(), record()),
}
every_page = pytest.mark.parametrize("records", PAGES.values(), ids=PAGES.keys())


# ---- strings of a record stay text -----------------------------------------------------------


@pytest.mark.parametrize("num_records", [1, 3])
def test_hostile_strings_make_no_element_and_no_attribute(num_records: int) -> None:
    page = page_of(*[poisoned()] * num_records)

    clean = page_of(*[record()] * num_records)
    tags = [element.tag for element in page.root.iter()]
    assert "img" not in tags
    assert tags.count("script") == 2
    assert set(tags) == {element.tag for element in clean.root.iter()}
    keys = {key for element in page.root.iter() for key in element.attrib}
    assert not [key for key in keys if key.startswith("on")]
    assert "<img" not in page.markup


def test_hostile_strings_are_shown_as_they_are() -> None:
    page = page_of(poisoned())

    assert text_of(page.root.find(".//h1")) == HOSTILE
    assert text_of(page.section("run-1-notes").find(".//li")) == HOSTILE
    assert [row[0] for row in page.rows("Width of each group")] == [HOSTILE] * 3
    assert page.rows("1 group of 3 could not be pruned")[0][2] == HOSTILE
    assert HOSTILE in text_of(page.chart("run-1-widths-chart"))
    assert HOSTILE in text_of(page.chart("run-1-loss-chart"))
    assert HOSTILE in text_of(page.chart("run-1-latency-chart"))


def test_hostile_strings_survive_in_the_data() -> None:
    page = page_of(poisoned())

    assert page.data["runs"][0]["record"]["groups"][0]["name"] == HOSTILE


@every_page
def test_embedded_data_holds_no_opening_bracket(records: tuple[RunRecord, ...]) -> None:
    (data,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', render_report(records), re.S
    )

    assert "<" not in data


def test_half_a_surrogate_pair_can_be_written(tmp_path: Path) -> None:
    path = write_report([replace(record(), name="half \ud800")], tmp_path / "report.html")

    assert "<h1>half ?</h1>" in path.read_text(encoding="utf-8")


# ---- the page asks for nothing ----------------------------------------------------------------


@every_page
def test_policy_stands_before_anything_it_governs(records: tuple[RunRecord, ...]) -> None:
    page = page_of(*records)

    head = page.root.find(".//head")
    assert head is not None
    charset, policy, *rest = head
    assert charset.get("charset") == "utf-8"
    assert policy.get("http-equiv") == "Content-Security-Policy"
    assert policy.get("content") == (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    )
    assert "style" in [element.tag for element in rest]


@every_page
def test_nothing_points_outside_the_page(records: tuple[RunRecord, ...]) -> None:
    page = page_of(*records)

    ids = {element.get("id") for element in page.root.iter()}
    links = [e.get("href") for e in page.root.iter() if e.get("href") is not None]
    assert all(link == "data:," or (link or " ")[1:] in ids for link in links)
    assert not [e for e in page.root.iter() if e.get("src") is not None]
    (style,) = page.root.iter("style")
    assert not re.search(r"url\(|@import", text_of(style))


# ---- every number is in the data --------------------------------------------------------------


@every_page
def test_every_number_shown_is_in_the_data(records: tuple[RunRecord, ...]) -> None:
    page = page_of(*records)

    known = set(numbers_in(page.data)) | {float(i) for i in range(1, len(records) + 1)}
    shown = [float(e.get("data-value", "")) for e in page.root.iter() if e.get("data-value")]
    assert [value for value in shown if value not in known] == []
    assert bool(shown) == bool(records)


def test_data_holds_the_records_as_they_are() -> None:
    records = three()

    kept = [run["record"] for run in page_of(*records).data["runs"]]
    assert kept == [json.loads(r.to_json()) for r in records]


def test_derived_numbers_by_hand() -> None:
    derived = page_of(record()).data["runs"][0]["derived"]

    assert derived["comparisons"]["macs"]["reduction"] == 2.0
    assert derived["comparisons"]["num_parameters"]["relative"] == -0.75
    assert derived["comparisons"]["accuracy"]["difference"] == pytest.approx(-0.025)
    assert derived["speedups"][0]["ratio"] == 1.6
    assert derived["num_channels_before"] == 30
    assert derived["num_channels_after"] == 21
    assert derived["total_seconds"] == 184.25


# ---- structure --------------------------------------------------------------------------------


@every_page
def test_ids_are_unique(records: tuple[RunRecord, ...]) -> None:
    ids = [e.get("id") for e in page_of(*records).root.iter() if e.get("id")]

    assert len(ids) == len(set(ids))


@every_page
def test_figures_have_a_title_and_a_description(records: tuple[RunRecord, ...]) -> None:
    page = page_of(*records)

    for svg in page.root.iter("svg"):
        if svg.get("class") != "chart":
            continue
        assert svg.get("role") == "img"
        assert text_of(page.by_id(svg.get("aria-labelledby", "")))
        assert text_of(page.by_id(svg.get("aria-describedby", "")))


@every_page
def test_tables_have_captions_and_scoped_headers(records: tuple[RunRecord, ...]) -> None:
    for table in page_of(*records).root.iter("table"):
        assert text_of(table[0])
        assert table[0].tag == "caption"
        assert all(cell.get("scope") in {"row", "col"} for cell in table.iter("th"))
        widths = {len(row) for row in table.iter("tr")}
        assert len(widths) == 1


@every_page
def test_headings_skip_no_level(records: tuple[RunRecord, ...]) -> None:
    tags = [e.tag for e in page_of(*records).root.iter() if re.fullmatch("h[1-6]", e.tag)]

    levels = [int(tag[1]) for tag in tags]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_no_record_is_said() -> None:
    assert "There is no run to report." in text_of(page_of().root.find(".//main"))


def test_one_record_fills_the_page() -> None:
    page = page_of(record())

    assert text_of(page.root.find(".//h1")) == "half"
    assert [text_of(h) for h in page.root.iter("h2")] == [
        "Result", "Notes", "Widths", "Scores", "Recovery", "Latency", "Frozen groups", "Provenance",
    ]  # fmt: skip
    assert not [d for d in page.root.iter("details") if d.get("class") == "run"]


def test_several_records_are_compared_then_folded() -> None:
    page = page_of(*three())

    folds = [d for d in page.root.iter("details") if d.get("class") == "run"]
    assert [d.get("id") for d in folds] == ["run-1", "run-2", "run-3"]
    assert not [d for d in folds if d.get("open") is not None]
    assert [row[0] for row in page.rows("All runs")] == ["a", "b", "c"]


def test_title_can_be_chosen() -> None:
    page = Page(render_report(three(), title="Criteria"))

    assert text_of(page.root.find(".//h1")) == "Criteria"
    assert text_of(page.root.find(".//title")).startswith("Criteria")


# ---- what was not measured --------------------------------------------------------------------


def test_what_was_not_measured_is_said() -> None:
    page = page_of(unmeasured())

    assert [
        text_of(page.section(f"run-1-{name}").find("p"))
        for name in ("widths", "scores", "recovery", "latency", "frozen")
    ] == [
        "The record names no group.",
        "The record holds no scores.",
        "The network was not trained in this run.",
        "No latency was measured.",
        "The record names no group.",
    ]
    assert text_of(page.root.find(".//dl")).count("not measured") == 2
    assert [row[0] for row in page.rows("Network before and after pruning")] == [
        "MACs per sample", "Parameters", "Weights in memory",
    ]  # fmt: skip


def test_missing_after_shows_a_dash_beside_what_is_known() -> None:
    after = replace(record().after, accuracy=None, size_on_disk_bytes=None)

    rows = page_of(replace(record(), after=after)).rows("Network before and after pruning")
    assert rows[0] == ["Top-1 accuracy", "90.00 %", "\u2013", "\u2013"]
    assert rows[-1] == ["Size on disk", "330 kB", "\u2013", "\u2013"]


def test_latency_of_one_network_only_has_no_speed_up() -> None:
    before = replace(record().before, latencies=(latency("openvino"),))

    rows = page_of(replace(record(), before=before)).rows("Latency of one batch")
    assert [(row[0], row[4], row[-1]) for row in rows] == [
        ("openvino 2.0", "before", "\u2013"),
        ("torch 2.0", "after", "\u2013"),
    ]


# ---- writing ----------------------------------------------------------------------------------


def test_write_returns_the_path_and_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.html"

    assert write_report([record()], path) == path
    assert path.read_text(encoding="utf-8") == render_report([record()])


def test_failed_write_leaves_the_old_report(tmp_path: Path) -> None:
    path = write_report([record()], tmp_path / "report.html")
    old = path.read_bytes()

    with pytest.raises(ValueError, match=r"record\.config\.strength is nan"):
        write_report([replace(record(), config={"strength": float("nan")})], path)

    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_same_records_give_the_same_page() -> None:
    assert render_report(three()) == render_report(three())

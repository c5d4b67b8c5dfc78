"""Each section of a run, and the comparison of runs: numbers and geometry."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest

from sentei.records import GroupRecord, RunRecord
from sentei.report import render_report
from tests.report.samples import Page, epoch, latency, record, text_of


def page_of(*records: RunRecord) -> Page:
    return Page(render_report(records))


def percent(element: ET.Element, attribute: str) -> float:
    value = element.get(attribute, "")
    assert value.endswith("%")
    return float(value[:-1])


def of_class(element: ET.Element, tag: str, class_: str) -> list[ET.Element]:
    return [e for e in element.iter(tag) if class_ in e.get("class", "").split()]


def timed(**medians: tuple[float, float]) -> RunRecord:
    """A run with dense and pruned medians for each runtime."""
    run = record()
    before = tuple(latency(name, dense) for name, (dense, _) in medians.items())
    after = tuple(latency(name, pruned) for name, (_, pruned) in medians.items())
    return replace(
        run,
        before=replace(run.before, latencies=before),
        after=replace(run.after, latencies=after),
    )


# ---- result -----------------------------------------------------------------------------------


def test_cards_show_the_headline_numbers() -> None:
    cards = of_class(page_of(record()).root, "div", "card")

    assert [[text_of(part) for part in card] for card in cards] == [
        ["Top-1 accuracy", "87.50 %", "from 90.00 %", "\u22122.50 points"],
        ["MACs", "2.00\u00d7 less", "4.00 M \u2192 2.00 M", "\u221250.0 %"],
        ["Parameters", "4.00\u00d7 less", "80.0 k \u2192 20.0 k", "\u221275.0 %"],
        ["Size on disk", "4.00\u00d7 less", "330 kB \u2192 82.5 kB", "\u221275.0 %"],
        ["Measured speed-up", "1.60\u00d7", "torch, cpu, 1 thread, batch 1"],
    ]


def test_a_network_that_grew_is_not_called_smaller() -> None:
    after = replace(record().after, macs=5_000_000)

    (_, macs, *_) = of_class(page_of(replace(record(), after=after)).root, "div", "card")
    assert text_of(macs) == "MACs+25.0 %4.00 M \u2192 5.00 M"


def test_speed_ups_of_all_runtimes_share_one_card() -> None:
    page = page_of(timed(torch=(8.0, 4.0), openvino=(3.0, 4.0)))

    (speeds,) = of_class(page.root, "ul", "speeds")
    assert [text_of(row) for row in speeds] == [
        "2.00\u00d7torch, cpu, 1 thread, batch 1",
        "0.750\u00d7openvino, cpu, 1 thread, batch 1",
    ]


def test_summary_gives_the_range_of_speed_ups_not_the_best() -> None:
    page = page_of(timed(torch=(8.0, 4.0), openvino=(3.0, 4.0)))

    (lead,) = of_class(page.root, "p", "lead")
    assert text_of(lead) == (
        "9 of 30 channels in 3 groups removed; 2.00\u00d7 fewer multiply-adds; measured speed-up "
        "0.750\u00d7 to 2.00\u00d7 in 2 settings; accuracy \u22122.50 points."
    )


# ---- widths and scores ------------------------------------------------------------------------


def test_bars_are_as_long_as_the_widths() -> None:
    chart = page_of(record()).chart("run-1-widths-chart")

    before, after = of_class(chart, "rect", "before"), of_class(chart, "rect", "after")
    # Widths before: 4, 16, 10; after: 3, 8, 10. The widest, 16, fills the plot.
    assert [percent(bar, "width") for bar in before] == [25.0, 100.0, 62.5]
    assert [percent(bar, "width") for bar in after] == [18.75, 50.0, 62.5]


def test_frozen_group_is_hatched_and_says_why() -> None:
    page = page_of(record())

    (row,) = of_class(page.chart("run-1-widths-chart"), "g", "frozen")
    assert text_of(row.find("title")) == ("head: 10 of 10 channels kept; frozen: it is the output")
    (hatched,) = of_class(row, "rect", "hatched")
    assert hatched.get("fill") == "url(#run-1-widths-chart-hatch)"
    assert page.by_id("run-1-widths-chart-hatch").tag == "pattern"


def test_widths_are_also_a_table() -> None:
    assert page_of(record()).rows("Width of each group") == [
        ["stem", "4", "3", "75 %", ""],
        ["body", "16", "8", "50 %", ""],
        ["head", "10", "10", "100 %", "it is the output"],
    ]


def test_all_widths_zero_draws_no_bar() -> None:
    groups = (GroupRecord(name="gone", width_before=0, width_after=0),)

    page = page_of(replace(record(), groups=groups))
    bars = of_class(page.chart("run-1-widths-chart"), "rect", "before")
    assert [percent(bar, "width") for bar in bars] == [0.0]
    assert page.rows("Width of each group") == [["gone", "0", "0", "\u2013", ""]]


def test_scores_are_placed_by_their_logarithm() -> None:
    scores = (0.001, 0.01, 0.1, 1.0, 10.0)
    groups = (GroupRecord(name="g", width_before=5, width_after=3, scores=scores),)

    chart = page_of(replace(record(), groups=groups)).chart("run-1-scores-chart")
    removed, kept = of_class(chart, "path", "removed"), of_class(chart, "path", "kept")
    columns = [
        [int(move.partition(" ")[0]) for move in path.get("d", "").split("M")[1:]]
        for path in (*removed, *kept)
    ]
    assert [len(part) for part in columns] == [2, 3]
    places = columns[0] + columns[1]
    steps = [b - a for a, b in pairwise(places)]
    assert max(steps) - min(steps) <= 1
    (median,) = of_class(chart, "circle", "median")
    assert float(median.get("data-value", "")) == 0.1
    assert percent(median, "cx") == pytest.approx(places[2] / 10, abs=0.05)


def test_scores_below_zero_stand_left_of_all_others_in_the_log_plot() -> None:
    chart = page_of(record()).chart("run-1-scores-chart")

    assert "\u2264\u20090" in [text_of(label) for label in chart.iter("text")]


def test_signed_scores_get_a_linear_scale() -> None:
    scores = (-4.0, -2.0, 0.0, 2.0)
    groups = (GroupRecord(name="g", width_before=4, width_after=4, scores=scores),)

    chart = page_of(replace(record(), groups=groups)).chart("run-1-scores-chart")
    (kept,) = of_class(chart, "path", "kept")
    columns = [int(move.partition(" ")[0]) for move in kept.get("d", "").split("M")[1:]]
    steps = [b - a for a, b in pairwise(columns)]
    assert len(steps) == 3
    assert max(steps) - min(steps) <= 1


def test_score_quantiles_of_the_table() -> None:
    (_, body) = page_of(record()).rows("Quantiles of the scores")

    # Sorted: 0, 0.25, 0.5, 2; p10 lies 0.3 of the way to the second.
    assert body == [
        "body", "4", "1", "0", "0.0750", "0.188", "0.375", "0.875", "1.55", "2.00",
    ]  # fmt: skip


# ---- recovery ---------------------------------------------------------------------------------


def test_each_epoch_is_a_point_with_its_value() -> None:
    chart = page_of(record()).chart("run-1-accuracy-chart")

    points = of_class(chart, "circle", "dot")
    assert [float(p.get("data-value", "")) for p in points] == [0.5, 0.625, 0.75]
    assert [percent(p, "cx") for p in points] == pytest.approx([100 / 6, 50, 500 / 6], abs=1e-2)
    heights = [float(p.get("cy", "")) for p in points]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.1)
    assert heights[0] > heights[2]
    assert text_of(points[1]) == "finetune, epoch 1: validation accuracy 62.50 %"


def test_line_breaks_between_phases() -> None:
    curve = (epoch("sparsify", 0), epoch("sparsify", 1), epoch("finetune", 0), epoch("finetune", 1))

    chart = page_of(replace(record(), curve=curve)).chart("run-1-loss-chart")
    (line,) = of_class(chart, "path", "train")
    assert line.get("d", "").count("M") == 2
    assert line.get("d", "").count("L") == 2
    assert [text_of(t) for t in of_class(chart, "text", "phase")] == ["sparsify", "finetune"]


def test_epochs_without_validation_leave_no_point() -> None:
    curve = tuple(
        replace(epoch("finetune", i), val_loss=None, val_accuracy=0.5 if i == 1 else None)
        for i in range(3)
    )

    page = page_of(replace(record(), curve=curve))
    assert len(of_class(page.chart("run-1-accuracy-chart"), "circle", "dot")) == 1
    loss = page.chart("run-1-loss-chart")
    assert len(of_class(loss, "circle", "train")) == 3
    assert not of_class(loss, "circle", "validation")
    assert page.rows("Training, epoch by epoch")[0][3:5] == ["\u2013", "\u2013"]


def test_run_without_any_validation_shows_only_the_loss() -> None:
    curve = (replace(epoch("finetune", 0), val_loss=None, val_accuracy=None),)

    page = page_of(replace(record(), curve=curve))
    assert len(page.section("run-1-recovery").findall(".//figure")) == 1


# ---- latency ----------------------------------------------------------------------------------


def test_whiskers_run_from_p10_to_p90() -> None:
    chart = page_of(record()).chart("run-1-latency-chart")

    bars = of_class(chart, "rect", "before") + of_class(chart, "rect", "after")
    spreads = [s for s in of_class(chart, "line", "spread") if s.get("y1") == s.get("y2")]
    ends = [(percent(s, "x1"), percent(s, "x2")) for s in spreads]
    # Dense 8 ms (6 to 12), pruned 5 ms (3.75 to 7.5), one scale from 0: lengths go by these.
    dense = percent(bars[0], "width")
    assert percent(bars[1], "width") == pytest.approx(dense * 5 / 8, rel=1e-3)
    assert ends[0] == pytest.approx((dense * 6 / 8, dense * 12 / 8), rel=1e-3)
    assert ends[1] == pytest.approx((dense * 3.75 / 8, dense * 7.5 / 8), rel=1e-3)


def test_overlapping_spreads_are_said() -> None:
    verdicts = {
        pruned: text_of(
            of_class(
                page_of(timed(torch=(8.0, pruned))).chart("run-1-latency-chart"), "text", "verdict"
            )[0]
        )
        for pruned in (2.0, 5.0, 16.0)
    }

    # A median m spreads from 0.75 m to 1.5 m: 6 to 12 against 1.5 to 3, 3.75 to 7.5, 12 to 24.
    assert verdicts == {
        2.0: "4.00\u00d7 faster",
        5.0: "1.60\u00d7 faster, spreads overlap",
        16.0: "2.00\u00d7 slower, spreads overlap",
    }


def test_times_far_apart_get_scales_of_their_own() -> None:
    page = page_of(timed(torch=(800.0, 400.0), openvino=(8.0, 4.0)))

    bars = of_class(page.chart("run-1-latency-chart"), "rect", "before")
    assert percent(bars[0], "width") == percent(bars[1], "width")
    assert "a scale of its own" in text_of(page.section("run-1-latency"))


def test_time_of_zero_gives_no_speed_up() -> None:
    rows = page_of(timed(torch=(8.0, 0.0))).rows("Latency of one batch")

    assert [row[-1] for row in rows] == ["\u2013", "\u2013"]


def test_other_version_of_a_runtime_is_another_setting() -> None:
    run = record()
    newer = replace(run.after, latencies=(latency(library_version="3.0"),))

    assert len(page_of(replace(record(), after=newer)).data["runs"][0]["derived"]["speedups"]) == 2


# ---- frozen, provenance -----------------------------------------------------------------------


def test_frozen_groups_are_listed_with_their_reason() -> None:
    rows = page_of(record()).rows("1 group of 3 could not be pruned")

    assert rows == [["head", "10", "it is the output"]]


def test_provenance_names_what_a_repetition_needs() -> None:
    page = page_of(record())

    origin = dict(page.rows("Origin"))
    assert origin["Code"] == "0.1.0"
    assert origin["Checkpoint"] == "c1"
    assert origin["Data digest"] == "d1"
    assert origin["Seed, run"] == "7"
    assert origin["Samples"] == "60 train, 20 validation, 10 test"
    machine = dict(page.rows("Machine and libraries"))
    assert machine["Memory"] == "16.0 GB"
    assert machine["torch"] == "2.0"
    assert page.rows("Wall time") == [
        ["trace", "1.25 s"],
        ["finetune", "3 min 3 s"],
        ["All", "3 min 4 s"],
    ]
    assert '"strength": 0.375' in text_of(page.root.find(".//pre"))


# ---- several runs -----------------------------------------------------------------------------


def runs_at(*points: tuple[int, float | None]) -> list[RunRecord]:
    return [
        replace(
            record(), name=f"run {i}", after=replace(record().after, macs=macs, accuracy=accuracy)
        )
        for i, (macs, accuracy) in enumerate(points)
    ]


def test_scatter_places_cost_to_the_right_and_accuracy_up() -> None:
    chart = page_of(*runs_at((1_000_000, 0.7), (3_000_000, 0.8))).chart("pareto-chart")

    cheap, good = of_class(chart, "circle", "after")
    assert percent(cheap, "cx") < percent(good, "cx")
    assert float(cheap.get("cy", "")) > float(good.get("cy", ""))
    assert len(of_class(chart, "circle", "before")) == 1


def test_front_leaves_out_a_run_that_another_beats() -> None:
    points = ((1_000_000, 0.7), (2_000_000, 0.6), (3_000_000, 0.8))

    chart = page_of(*runs_at(*points)).chart("pareto-chart")
    (front,) = of_class(chart, "path", "front")
    assert front.get("d", "").count("H") == 1
    assert "2 on the front" in text_of(chart.find("desc"))


def test_runs_without_accuracy_stay_in_the_table_only() -> None:
    page = page_of(*runs_at((1_000_000, 0.7), (2_000_000, None)))

    assert len(of_class(page.chart("pareto-chart"), "circle", "after")) == 1
    assert [row[3] for row in page.rows("All runs")] == ["70.00 %", "\u2013"]


def test_comparison_without_any_accuracy_has_no_scatter() -> None:
    page = page_of(*runs_at((1_000_000, None), (2_000_000, None)))

    assert "No run has a measured accuracy." in text_of(page.section("comparison"))


def test_comparison_rows_link_to_the_runs() -> None:
    page = page_of(*runs_at((1_000_000, 0.7), (3_000_000, 0.8)))

    links = [a.get("href") for a in page.section("comparison").iter("a")]
    assert links == ["#run-1", "#run-2"]

"""The page of a space study as a whole: its numbers, its gaps, its safety."""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest

from sentei.errors import CheckpointError
from sentei.report.space_evidence import KINDS, VERDICT_WORDS
from sentei.report.space_page import read_analysis, render_space_report, write_space_report
from sentei.report.space_schema import SOURCES, Analysis
from tests.report.samples import HOSTILE, Page, numbers_in, poison, text_of
from tests.report.space_samples import (
    CONTENDERS,
    analysis,
    bare,
    found,
    noise,
    population,
    profile,
    proxy,
    regime,
    search,
    space,
    verdict,
)


def page_of(study: Analysis) -> Page:
    return Page(render_space_report(study))


KEPT = frozenset((*VERDICT_WORDS, *KINDS, *SOURCES))
STUDIES = {
    "full": analysis(),
    "bare": bare(),
    "hostile": cast("Analysis", poison(analysis(), kept=KEPT)),
}
every_study = pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES.keys())


# ---- numbers ----------------------------------------------------------------------------------


NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?: %| [kMG]\b)?(?!\w)")


def strings_in(value: object) -> Iterator[str]:
    """All strings of a JSON value, keys too."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)
    elif isinstance(value, str):
        yield value


def visible_texts(element: ET.Element) -> Iterator[str]:
    """Texts of the page that are neither ticks of an axis nor the embedded data."""
    # A tick is marked by its class alone; labels on a plot are "strong" besides.
    classes = (element.get("class") or "").split()
    tick = element.tag == "text" and "tick" in classes and "strong" not in classes
    if tick or element.tag in {"script", "style", "head", "time"}:
        return
    yield element.text or ""
    for child in element:
        yield from visible_texts(child)
        yield child.tail or ""


def numbers_of(text: str) -> list[str]:
    return NUMBER.findall(text.replace("\u00a0", " ").replace("\u2212", "-"))


def stands_for(token: str, known: set[float]) -> bool:
    """Whether a shown number is a known one, rounded as shown and in the unit shown."""
    number, _, unit = token.replace(",", "").partition(" ")
    factor = {"%": 1e2, "k": 1e-3, "M": 1e-6, "G": 1e-9}.get(unit, 1)
    half = 0.5000001 * 10 ** -len(number.partition(".")[2])
    return any(abs(factor * value - float(number)) <= half for value in known)


@every_study
def test_every_value_of_a_mark_or_cell_is_in_the_data(study: Analysis) -> None:
    page = page_of(study)

    known = set(numbers_in(page.data))
    shown = [float(e.get("data-value", "")) for e in page.root.iter() if e.get("data-value")]
    assert [value for value in shown if value not in known] == []


def test_every_number_in_words_is_in_the_data_or_in_its_texts() -> None:
    page = page_of(analysis())

    known = set(numbers_in(page.data))
    own = {number for text in strings_in(page.data) for number in numbers_of(text)}
    own |= {"95 %", "5 %", "1", "0.8", "2304.09453"}  # of the page's own sentences
    shown = {number for text in visible_texts(page.root) for number in numbers_of(text)}
    assert len(shown) > 80
    assert {number for number in shown - own if not stands_for(number, known)} == set()


def test_json_beside_the_page_is_the_data_of_the_page(tmp_path: Path) -> None:
    path = write_space_report(tmp_path / "deep" / "report.html", analysis())

    assert path == tmp_path / "deep" / "report.html"
    assert path.read_text(encoding="utf-8") == render_space_report(analysis())
    beside = json.loads((tmp_path / "deep" / "analysis.json").read_text(encoding="utf-8"))
    assert beside == page_of(analysis()).data
    assert beside["derived"]["regimes"][0]["sizes"] == {"low": 4, "high": 2, "narrow": 2}


def test_analysis_is_read_back_as_it_was(tmp_path: Path) -> None:
    for study in (analysis(), bare()):
        write_space_report(tmp_path / "report.html", study)

        assert read_analysis(tmp_path / "analysis.json") == study


def test_reading_what_is_no_analysis_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "analysis.json"
    with pytest.raises(CheckpointError, match="cannot be read as the numbers of a space report"):
        read_analysis(path)
    path.write_text("[]")
    with pytest.raises(CheckpointError, match="analysis is None, expected dict"):
        read_analysis(path)


def test_a_number_that_json_has_not_is_refused_and_nothing_written(tmp_path: Path) -> None:
    broken = analysis(verdicts=(verdict(estimate=float("nan")),))

    with pytest.raises(ValueError, match=r"analysis\.verdicts\[0\]\.estimate is nan"):
        write_space_report(tmp_path / "report.html", broken)

    assert list(tmp_path.iterdir()) == []


# ---- tables -----------------------------------------------------------------------------------


def test_spaces_table_by_hand() -> None:
    rows = page_of(analysis()).rows("T1. Spaces, resnet20 at 50 %")

    slabs = "0.495 <= macs <= 0.505"
    assert rows[1] == [
        *("high", slabs, "hit-and-run", "\u22122.50", "2", "2.00", "3.00", "2.00", "0.040"),
        *("0.120", "\u22120.25", "0.50 (\u22121.50 to 2.50)", "1.00", "low"),
    ]
    assert [rows[0][i] for i in (3, 8, 9, 10, 11, 12, 13)] == ["\u2013"] * 6 + [""]


def test_cells_are_crossed_and_empty_ones_say_so() -> None:
    rows = page_of(analysis()).rows(
        "Mean drop by STD and m, points (subnetworks), resnet20 at 50 %"
    )

    assert rows == [
        ["STD 0 to 0.1", "no recipe", "1.25 (3)"],
        ["STD from 0.1", "2.50 (2)", "3.75 (4)"],
    ]


def test_verdicts_use_three_words_and_show_the_power() -> None:
    rows = page_of(analysis()).rows("T2. Conjectures and what this study says about them")

    assert [row[3] for row in rows] == ["supported", "inconclusive (power 0.25)"]
    assert rows[0][4:] == [
        *("0.800", "0.625 to 1.00", "95 %", "Lind-Mehlum; m*", "0.013", "0.75"),
    ]


def test_conditions_and_notes_of_a_verdict_are_folded_under_the_table() -> None:
    page = page_of(analysis(verdicts=(verdict(), verdict(checks=(), notes=(), numbers={}))))

    (fold,) = page.section("verdicts").findall("details")
    assert text_of(fold[0]) == "C1 on resnet20 at 50 %: conditions and notes"
    assert [text_of(item) for item in fold.iter("li")] == [
        "m* 0.8 lies inside 0.5 to 2: holds",
        "extra drop 0.17 is lost: does not hold",
        "the size is 0.05",
    ]
    assert page.rows("Numbers of C1 on resnet20 at 50 %") == [
        ["curvature", "3.12"],
        ["p two lines", "\u2013"],
    ]


def test_quoted_numbers_carry_a_dagger_and_own_ones_do_not() -> None:
    own, quoted = page_of(analysis()).rows("T3. Comparison at equal MACs")

    assert own == [
        *("uniform l1", "own run", "resnet20, CIFAR-10", "92.00 %", "90.50 %", "0.20 %", "1.50"),
        *("20.3 M", "50.00 %", "140 k", "0.965", "20", "3 seeds, 20 epochs"),
    ]
    assert quoted == [
        *("EagleEye", "quoted\u2020", "resnet50, ImageNet", "\u2013", "76.40 %\u2020", "\u2013"),
        *("0.25\u2020", "2.06 G\u2020", "\u2013", "\u2013", "\u2013", "\u2013"),
        "arXiv:2007.02491",
    ]


def test_found_architecture_shows_costs_and_widths() -> None:
    page = page_of(analysis())

    assert page.rows("T4. Found architectures and their rivals") == [
        [
            *("best of 100", "resnet20 at 50 %", "20.2 M", "150 k", "0.900", "91.00 %", "1.25 ms"),
            *("1.60", "1.50 to 1.75", "cpu, 1 thread"),
        ]
    ]
    assert page.rows("Width of each group of best of 100") == [
        ["stem", "16", "4", "25 %", ""],
        ["body", "32", "24", "75 %", ""],
    ]


def test_noise_says_whether_the_population_is_resolved() -> None:
    clear, noisy = regime("a"), regime("b", noise=noise(reliability=0.45, effects=(), powers=()))

    rows = page_of(analysis(regimes=(clear, noisy))).rows("F8. Noise of each regime")
    assert rows[0] == [
        "a",
        "0.80",
        "0.600 to 0.900",
        "0.30",
        "0.15",
        "12",
        "0.17",
        "0.70",
        "resolved",
    ]
    assert (rows[1][1], rows[1][-1]) == ("0.45", "population not resolved")


def test_verdict_of_another_word_is_refused() -> None:
    with pytest.raises(ValueError, match="the verdict on C1 is 'confirmed'; expected one of"):
        verdict(verdict="confirmed")


@pytest.mark.parametrize("study", [analysis(), bare()], ids=["full", "bare"])
def test_choices_and_the_sentence_on_the_paper_are_always_there(study: Analysis) -> None:
    page = page_of(study)

    assert page.rows("Choices of this study") == [
        ["ratio", "(F/F0)/(P/P0)", "F/P, removed F per removed P", "unknown"],
        ["winner", "best 5 %", "best 1", "unknown"],
    ]
    assert "is a reproduction of one of the paper" in text_of(page.section("choices").find("p"))
    assert "No figure, table or number" in text_of(page.root.find(".//main/p"))


# ---- what is missing ---------------------------------------------------------------------------


def test_missing_parts_are_left_out_with_a_reason() -> None:
    page = page_of(bare())

    assert not [e for e in page.root.iter("svg") if e.get("class") == "chart"]
    reasons = [text_of(e) for e in page.root.iter("p") if e.get("class") == "none"]
    assert "F1 is left out: No space was measured in this regime." in reasons
    assert "F2 is left out: No subnetwork was measured in this regime." in reasons
    assert "T2 is left out: No conjecture was tested." in reasons
    left_out = [reason.partition(" ")[0] for reason in reasons]
    assert left_out == ["T2", "F1", "F2", "F3", "F5", "F6", "F4", "F7", "F8", "T3", "T4"]


def test_parts_of_parts_may_be_missing() -> None:
    alone = regime(search=replace(search(), payoff=None))
    page = page_of(analysis(regimes=(alone,), verdicts=(verdict(interval=None, level=None),)))

    assert "Refining pays" not in text_of(page.section("regime-1"))
    row = page.rows("T2. Conjectures and what this study says about them")[0]
    assert row[5:7] == ["\u2013", "\u2013"]


def test_the_study_can_say_why_a_part_is_missing() -> None:
    page = page_of(replace(bare(), missing={"T2": "the study was stopped."}))

    assert "T2 is left out: the study was stopped." in text_of(page.section("verdicts"))


# ---- safety and structure ----------------------------------------------------------------------


def test_hostile_strings_make_no_element() -> None:
    page = page_of(STUDIES["hostile"])

    tags = [e.tag for e in page.root.iter()]
    assert "img" not in tags
    assert tags.count("script") == 2
    assert "<img" not in page.markup
    assert text_of(page.root.find(".//h1")) == HOSTILE


@every_study
def test_nothing_points_outside_the_page(study: Analysis) -> None:
    page = page_of(study)

    ids = [e.get("id") for e in page.root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    links = [e.get("href") or "" for e in page.root.iter() if e.get("href") is not None]
    assert all(link == "data:," or link[1:] in ids for link in links)
    assert not [e for e in page.root.iter() if e.get("src") is not None]
    policies = [e.get("content") or "" for e in page.root.iter("meta") if e.get("http-equiv")]
    assert policies[0].startswith("default-src 'none'")


@every_study
def test_figures_tables_and_headings_are_accessible(study: Analysis) -> None:
    page = page_of(study)

    for svg in (e for e in page.root.iter("svg") if e.get("class") == "chart"):
        assert svg.get("role") == "img"
        assert text_of(page.by_id(svg.get("aria-labelledby", "")))
        assert text_of(page.by_id(svg.get("aria-describedby", "")))
    for table in page.root.iter("table"):
        assert text_of(table.find("caption"))
        assert len({len(row) for row in table.iter("tr")}) == 1
        assert all(cell.get("scope") for cell in table.iter("th"))
    assert all(e.get("tabindex") == "0" for e in page.root.iter("div") if e.get("role") == "region")
    levels = [int(e.tag[1]) for e in page.root.iter() if re.fullmatch("h[1-6]", e.tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


# ---- what the schema refuses -------------------------------------------------------------------


def test_schema_refuses_what_does_not_fit_together() -> None:
    with pytest.raises(ValueError, match=r"space a: lengths differ \(drops 1, weights 2\)"):
        space("a", 1.0, weights=(1.0, 2.0))
    with pytest.raises(ValueError, match="space a: 1 drops with weights of sum 0; expected a drop"):
        space("a", 1.0, weights=(0.0,))
    with pytest.raises(ValueError, match=r"attainable range of m is \(2.0, 1.0\); expected \(low"):
        replace(population(), attainable=(2.0, 1.0))
    with pytest.raises(ValueError, match="a population has no points; give None"):
        replace(population(), points=())
    with pytest.raises(ValueError, match="two regimes share a name among a, a; name them apart"):
        analysis(regimes=(regime("a"), regime("a")))
    with pytest.raises(ValueError, match="the analysis names no choice"):
        analysis(choices=())


def test_schema_refuses_other_words_and_lengths() -> None:
    own, quoted = CONTENDERS
    with pytest.raises(ValueError, match="source of uniform l1 is 'theirs'; expected one of: own"):
        replace(own, source="theirs")
    with pytest.raises(ValueError, match="EagleEye is quoted without a citation; say where"):
        replace(quoted, citation="")
    first = search().curves[0]
    with pytest.raises(ValueError, match="the kind of base space is 'best'; expected one of: base"):
        replace(first, kind="best")
    with pytest.raises(ValueError, match=r"base space: lengths differ \(counts 1, best 3"):
        replace(first, counts=(1,))
    with pytest.raises(ValueError, match="a search has no curves; give None"):
        replace(search(), curves=())
    with pytest.raises(ValueError, match="the profile: lengths differ"):
        replace(profile(), uniform=(0.5,))
    with pytest.raises(ValueError, match="needs at least one winner and one loser"):
        replace(profile(), losers=())
    with pytest.raises(ValueError, match=r"the noise: lengths differ \(effects 1, powers 3\)"):
        noise(effects=(0.1,))
    with pytest.raises(ValueError, match=r"interval of the reliability is \(0.9, 0.1\)"):
        noise(interval=(0.9, 0.1))
    with pytest.raises(ValueError, match="proxy one shot has no values; leave it out"):
        proxy(values=(), drops=())
    with pytest.raises(ValueError, match="best of 100: lengths differ"):
        replace(found(), widths=(4,))
    with pytest.raises(ValueError, match=r"the fit: lengths differ \(ratios 3, drops 3, low 1"):
        replace(population().fit, low=(1.0,))  # type: ignore[type-var]

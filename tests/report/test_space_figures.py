"""Figures of a space study: coordinates and texts by hand."""

import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from sentei.report.space_evidence import Payoff
from sentei.report.space_facts import derive
from sentei.report.space_figures_edf import edf_figures, steps
from sentei.report.space_figures_points import fifths, proxy_figures, spread_figures
from sentei.report.space_figures_profile import profile_figures
from sentei.report.space_figures_ratio import ratio_figure, trend_figure
from sentei.report.space_figures_search import payoff_words, power_figure, search_figure
from sentei.report.space_population import Band
from tests.report.samples import text_of
from tests.report.space_samples import (
    analysis,
    noise,
    point,
    population,
    profile,
    proxy,
    regime,
    search,
    space,
)

GUTTER = 0.06


def places(path: str) -> list[tuple[float, float]]:
    """The corners of a path as fractions from the left and from the bottom."""
    pairs = [p.split() for p in path.removesuffix("Z").replace("M", "").split("L")]
    return [(float(x) / 1000, 1 - float(y) / 1000) for x, y in pairs]


def paths(figure: ET.Element, class_: str) -> list[list[tuple[float, float]]]:
    found = [e for e in figure.iter("path") if e.get("class") == class_]
    return [places(e.get("d", "")) for e in found]


def of_class(figure: ET.Element, class_: str) -> list[ET.Element]:
    return [e for e in figure.iter() if e.get("class") == class_]


def share(element: ET.Element, name: str) -> float:
    return float(element.get(name, "").removesuffix("%")) / 100


def on_log(value: float, low: float, high: float) -> float:
    return GUTTER + (1 - GUTTER) * math.log(value / low) / math.log(high / low)


# ---- F1 ----------------------------------------------------------------------------------------


def test_edf_steps_up_at_each_drop_by_its_weight() -> None:
    xs, ys = steps([3.0, 1.0, 2.0], [1.0, 1.0, 2.0])

    assert xs == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    assert ys == [0.0, 0.25, 0.25, 0.75, 0.75, 1.0]


def test_edf_curve_and_band_lie_where_they_should() -> None:
    (figure,) = edf_figures("k", [space("a", 1.0, 2.0, 3.0, 4.0)])

    # Across: 4 % of the range on each side, 0.88 to 4.12, behind a gutter of 6 %. Up: 1.05 is 1.
    x = [GUTTER + (1 - GUTTER) * (drop - 0.88) / 3.24 for drop in (1.0, 2.0, 3.0, 4.0)]
    heights = [0.0, 0.25, 0.5, 0.75, 1.0]
    expected = []
    for i, place in enumerate(x):
        expected += [(place, heights[i]), (place, heights[i + 1])]
    (curve,) = paths(figure, "trace s1")
    assert curve == [pytest.approx((x, y / 1.05), abs=1e-4) for x, y in expected]

    (band,) = paths(figure, "band s1")
    upper, lower = band[: len(expected)], band[len(expected) :][::-1]
    assert [y for _, y in upper] == pytest.approx(
        [min(y + 0.25, 1) / 1.05 for _, y in expected], abs=1e-4
    )
    assert [y for _, y in lower] == pytest.approx(
        [max(y - 0.25, 0) / 1.05 for _, y in expected], abs=1e-4
    )


def test_edf_legend_says_n_min_mean_and_unequal_weights_have_no_band() -> None:
    first, second = edf_figures("k", regime().spaces)

    entries = [text_of(e).strip() for e in first.iter("span")]
    assert entries == ["low 4|1.00|2.50", "high 2|2.00|3.00"]
    assert [e.get("class") for e in first.iter("path")] == [
        "band s1", "band s2", "trace s1", "trace s2",
    ]  # fmt: skip
    assert not of_class(second, "band s1")
    assert "bootstrap" not in text_of(second)


def test_unequal_weights_have_a_bootstrap_band() -> None:
    band = Band(level=0.9, drops=(1.5, 2.5, 3.5), low=(0.0, 0.5, 0.75), high=(0.25, 1.0, 1.0))
    weighted = space("a", 2.5, 1.5, 3.5, weights=(3.0, 1.0, 4.0), epsilon=None, band=band)

    (figure,) = edf_figures("k", [weighted])

    (drawn,) = paths(figure, "band s1")
    # At each drop the edges step from what they are below it to what they are from it on.
    upper, lower = drawn[:6], drawn[6:][::-1]
    assert [y for _, y in upper] == pytest.approx(
        [y / 1.05 for y in (0, 0.25, 0.25, 1, 1, 1)], abs=1e-4
    )
    assert [y for _, y in lower] == pytest.approx(
        [y / 1.05 for y in (0, 0, 0, 0.5, 0.5, 0.75)], abs=1e-4
    )
    assert "elsewhere the bootstrap band, 90 % at each drop by itself" in text_of(figure)


# ---- F2 ----------------------------------------------------------------------------------------


def test_ratio_axis_is_logarithmic_over_the_attainable_range() -> None:
    figure = ratio_figure("k", "r", population())

    # log_scale leaves a factor 1.1 beyond 0.5 and 2.
    low, high = 0.5 / 1.1, 2.0 * 1.1
    dots = of_class(figure, "point s1")
    ratios = (0.5, 0.8, 1.0, 1.25, 2.0)
    assert [share(d, "cx") for d in dots] == pytest.approx(
        [on_log(ratio, low, high) for ratio in ratios], abs=1e-4
    )
    # Drops from 1 to 4 leave 10 % on each side: 0.7 to 4.3 over 320 pixels.
    drops = (2.0, 1.0, 1.5, 2.5, 4.0)
    expected = [320 * (1 - (drop - 0.7) / 3.6) for drop in drops]
    assert [float(d.get("cy", "")) for d in dots] == pytest.approx(expected, abs=0.01)
    assert [float(d.get("data-value", "")) for d in dots] == list(drops)


def test_attainable_range_and_interval_of_the_optimum_are_shaded() -> None:
    figure = ratio_figure("k", "r", population())

    low, high = 0.5 / 1.1, 2.0 * 1.1
    for class_, (left, right) in {"attainable": (0.5, 2.0), "interval": (0.625, 1.0)}.items():
        (area,) = of_class(figure, class_)
        start, width = share(area, "x"), share(area, "width")
        ends = (on_log(left, low, high), on_log(right, low, high))
        assert (start, start + width) == pytest.approx(ends, abs=1e-4)


def test_dense_ratio_optimum_and_uniform_recipe_are_marked() -> None:
    figure = ratio_figure("k", "r", population())

    low, high = 0.5 / 1.1, 2.0 * 1.1
    (dense,) = [e for e in of_class(figure, "reference") if e.tag == "line"]
    assert share(dense, "x1") == pytest.approx(on_log(1.0, low, high), abs=1e-4)
    optimum = next(e for e in of_class(figure, "optimum") if (e.get("x1") or "").endswith("%"))
    assert share(optimum, "x1") == pytest.approx(on_log(0.8, low, high), abs=1e-4)
    (uniform,) = [e for e in of_class(figure, "uniform") if e.tag == "circle"]
    assert text_of(uniform.find("title")) == ("uniform recipe, base: m 0.960, drop 1.25 points")
    words = text_of(figure)
    assert "dense, m = 1" in words
    assert "m* 0.800, 95 % interval 0.625 to 1.00 (pairs bootstrap; 2 % of the resamples" in words


def test_fit_has_its_band() -> None:
    figure = ratio_figure("k", "r", population())

    low, high = 0.5 / 1.1, 2.0 * 1.1
    # With the band's edges the drops reach from 1 to 4.3; the axis holds the curve, clamps the rest.
    (curve,) = paths(figure, "trace s2")
    expected = [
        (on_log(x, low, high), (y - 0.7) / 3.6) for x, y in ((0.5, 1.9), (0.8, 1.1), (2.0, 3.9))
    ]
    assert curve == [pytest.approx(corner, abs=1e-4) for corner in expected]
    assert len(paths(figure, "band s2")[0]) == 6


def test_winners_band_stands_above_its_permutation_null() -> None:
    figure = ratio_figure("k", "r", population())

    low, high = 0.5 / 1.1, 2.0 * 1.1
    bars = {
        class_: next(e for e in of_class(figure, class_) if e.get("y1") == e.get("y2"))
        for class_ in ("trace s3", "trace s8")
    }
    for class_, (left, right) in {"trace s3": (0.64, 1.0), "trace s8": (0.55, 1.8)}.items():
        bar = bars[class_]
        assert (share(bar, "x1"), share(bar, "x2")) == pytest.approx(
            (on_log(left, low, high), on_log(right, low, high)), abs=1e-4
        )
    assert float(bars["trace s3"].get("y1", "")) < float(bars["trace s8"].get("y1", ""))
    words = text_of(figure)
    assert "Winners (best 5 %): 0.640 to 1.00" in words
    assert "Permuted, what chance gives: 0.550 to 1.80" in words
    assert "narrower than its permutation null: p 0.030; median 0.850" in words


def test_a_spline_and_a_monte_carlo_error_stand_beside_what_they_check() -> None:
    base = population()
    assert base.optimum is not None
    assert base.winners is not None
    more = replace(
        base,
        spline=replace(base.optimum, ratio=0.75, interval=(0.7, 1.25), method="spline"),
        winners=replace(base.winners, p_error=0.0038),
    )

    words = text_of(ratio_figure("k", "r", more))

    assert "A curve of no given shape puts m* at 0.750, 0.700 to 1.25 (spline)." in words
    assert "p 0.030 (Monte-Carlo error 0.004)" in words


def test_powers_state_their_monte_carlo_error() -> None:
    known = [("a", noise(power_errors=(0.01, 0.03, 0.02))), ("b", noise())]

    assert "; Monte-Carlo error at most 0.03)" in text_of(power_figure("k", known))


def test_ratio_figure_without_estimates_says_so() -> None:
    alone = replace(population(), uniform=None, fit=None, optimum=None, winners=None)

    words = text_of(ratio_figure("k", "r", alone))

    assert "The uniform recipe was not measured." in words
    assert "No optimum was estimated." in words
    assert "The winners' band was not computed." in words


# ---- F4 ----------------------------------------------------------------------------------------


def test_trend_has_a_series_a_network_on_a_log_axis() -> None:
    other = replace(population(), points=(point(1.0, 1.0),))
    regimes = [regime("a"), regime("b", level=0.25), regime("c", network="vgg16", population=other)]

    figure = trend_figure("k", regimes)

    dots = list(figure.iter("circle"))
    assert [d.get("class") for d in dots] == ["point s1", "point s1", "point s2"]
    # Ratios 0.5 to 2, a factor 1.1 beyond each: m* 0.8 at ln(0.8 / 0.4545) of ln(4.84).
    height = 320 * (1 - math.log(0.8 * 1.1 / 0.5) / math.log(4 * 1.21))
    assert [float(d.get("cy", "")) for d in dots] == pytest.approx([height] * 3, abs=0.01)
    # Levels 0.25 and 0.5 leave 20 % beyond: 0.2 to 0.55.
    marks = [e for e in figure.iter("svg") if e.get("y") == "0" and e.get("width") is None]
    x = [GUTTER + (1 - GUTTER) * (level - 0.2) / 0.35 for level in (0.25, 0.5, 0.5)]
    assert [share(e, "x") for e in marks] == pytest.approx(x, abs=1e-4)
    # Two networks stand 10 pixels apart.
    moves = [e.get("transform") for e in figure.iter("g") if e.get("transform")]
    assert moves == ["translate(-5)", "translate(-5)", "translate(5)"]
    assert [text_of(e).strip() for e in figure.iter("span")] == ["resnet20", "vgg16"]


# ---- F3 ----------------------------------------------------------------------------------------


def test_fifths_go_by_rank_and_equal_values_share_one() -> None:
    assert fifths([10.0, 30.0, 20.0, 50.0, 40.0]) == [0, 2, 1, 4, 3]
    assert fifths([1.0, 1.0, 1.0, 1.0, 2.0]) == [0, 0, 0, 0, 4]


def test_each_plane_is_coloured_by_the_other_variable() -> None:
    panels = spread_figures("k", "r", population().points)

    by_std, by_params = panels.findall("figure")
    # STD 0.05 to 0.25 leaves 8 % on each side, behind a gutter of 12 %.
    x = [0.12 + 0.88 * (std - 0.034) / 0.232 for std in (0.05, 0.1, 0.2, 0.15, 0.25)]
    dots = list(by_std.iter("circle"))
    assert [share(d, "cx") for d in dots] == pytest.approx(x, abs=1e-4)
    # Parameters left 90, 60, 50, 40, 25 %: the fifth fifth first.
    assert [d.get("class") for d in dots] == [f"point q{rank}" for rank in (5, 4, 3, 2, 1)]
    # STD 0.05, 0.1, 0.2, 0.15, 0.25.
    dots = list(by_params.iter("circle"))
    assert [d.get("class") for d in dots] == [f"point q{rank}" for rank in (1, 2, 4, 3, 5)]
    legend = [text_of(e) for e in by_params.iter("span")]
    assert legend[0] == "0.0500 to 0.0500"
    assert len(legend) == 5


# ---- F5 ----------------------------------------------------------------------------------------


def test_profile_shows_winners_losers_and_the_uniform_recipe_by_depth() -> None:
    facts = derive(analysis()).regimes[0].profile
    assert facts is not None

    lines, _, _ = profile_figures("k", "r", profile(), facts)

    # Groups at 1, 2, 3 of 0.5 to 3.5; shares of 1.05.
    x = [GUTTER + (1 - GUTTER) * (depth - 0.5) / 3 for depth in (1, 2, 3)]
    means = {
        "trace s1": (0.5, 0.5, 0.625),
        "trace s2": (0.9, 0.7, 0.1),
        "trace s8": (0.7, 0.7, 0.7),
    }
    for class_, kept in means.items():
        (curve,) = paths(lines, class_)
        expected = [pytest.approx((a, b / 1.05), abs=1e-4) for a, b in zip(x, kept, strict=True)]
        assert curve == expected
    # Of 0.4 and 0.6, and of 0.75 and 0.5: deviations sqrt(0.02) and sqrt(0.03125).
    (band,) = paths(lines, "band s1")
    upper = [0.5 + math.sqrt(0.02), 0.5, 0.625 + math.sqrt(0.03125)]
    assert [y for _, y in band[:3]] == pytest.approx([y / 1.05 for y in upper], abs=1e-4)
    assert len(paths(lines, "faint s1")) == 2
    stages = [text_of(e) for e in of_class(lines, "tick on-plot strong")]
    assert stages == ["early", "late"]


def test_stage_bars_are_means_over_the_groups_of_a_stage() -> None:
    facts = derive(analysis()).regimes[0].profile
    assert facts is not None

    _, bars, table = profile_figures("k", "r", profile(), facts)

    # Early: winners 0.45 and 0.55, losers 0.8; late: 0.625, 0.1; uniform 0.7.
    lengths = [share(e, "width") for e in bars.iter("rect")]
    assert lengths == pytest.approx([0.5, 0.8, 0.7, 0.625, 0.1, 0.7], abs=1e-4)
    classes = [e.get("class") for e in bars.iter("rect")]
    assert classes == ["bar s1", "bar s2", "bar s8"] * 2
    assert "early, winners: 50 % \u00b1 7 %" in text_of(bars)
    row = [text_of(cell) for cell in table.findall(".//tr")[1]]
    assert row == ["stem", "early", "50.00 %", "14.14 %", "90.00 %", "0.00 %", "70.00 %"]


# ---- F6 ----------------------------------------------------------------------------------------


def test_search_curves_fall_over_a_log_axis_with_its_cost() -> None:
    figure = search_figure("k", "r", search())

    # k from 1 to 100 with a factor 1.1 beyond; drops 0.75 to 4.5 with 5 % beyond.
    (curve,) = paths(figure, "trace s2")
    expected = [
        (on_log(k, 1 / 1.1, 110), (best - 0.5625) / 4.125)
        for k, best in ((1, 2.0), (10, 1.5), (100, 1.0))
    ]
    assert curve == [pytest.approx(corner, abs=1e-4) for corner in expected]
    assert [e.get("class") for e in figure.iter("path")] == [
        f"{kind} {class_}" for kind in ("band", "trace") for class_ in ("s1", "s2", "s8")
    ]
    words = text_of(figure)
    # 1, 10 and 100 subnetworks of 30 s.
    for cost in ("30.0 s", "5 min 0 s", "50 min 0 s"):
        assert cost in words
    names = [text_of(e).strip() for e in figure.iter("span")]
    assert names == ["base, base space", "refined, refined space", "placebo, placebo space"]


def payoff(**changes: float | None) -> Payoff:
    made = search().payoff
    assert made is not None
    return replace(made, **changes)  # type: ignore[arg-type]


def test_payoff_prints_the_inequality() -> None:
    assert text_of(payoff_words(payoff())).endswith(
        "Here 3000 s against (20 - 5) * 120 s = 1800 s: it does not pay in one search."
    )
    assert "1800 s: it pays" in text_of(payoff_words(payoff(study_seconds=1700.0)))


@pytest.mark.parametrize("name", ["base", "refined"])
def test_payoff_is_open_where_a_space_never_got_there(name: str) -> None:
    never = payoff(**{f"{name}_count": None, "saved_seconds": None})

    assert f"the {name} space did not reach that drop, so it is open" in text_of(
        payoff_words(never)
    )


def test_payoff_saves_something_only_where_both_spaces_got_there() -> None:
    with pytest.raises(
        ValueError, match=r"saved_seconds is 1800\.0 with counts None and 5.0; give"
    ):
        payoff(base_count=None)


# ---- F7 ----------------------------------------------------------------------------------------


def test_proxy_plane_shows_tau_recall_and_the_gate() -> None:
    (panel,) = proxy_figures("k", [proxy()]).findall("figure")

    dots = list(panel.iter("circle"))
    x = [0.12 + 0.88 * (value - 0.84) / 2.32 for value in (1.0, 2.0, 3.0)]
    assert [share(d, "cx") for d in dots] == pytest.approx(x, abs=1e-4)
    assert [float(d.get("data-value", "")) for d in dots] == [1.5, 1.25, 2.75]
    assert text_of(panel.find("figcaption")) == (
        "F7. one shot, resnet20 at 50 %, n 3: Kendall \u03c4 0.33 (95 % interval \u22120.10 to "
        "0.65); given log m and STD \u22120.20; within strata 0.15; recall of the best tenth 50 %; "
        "m* by it over m* in full 0.875 (0.750 to 1.10). Below 0.5: no screening by it."
    )


def test_proxy_leaves_out_what_was_not_computed() -> None:
    words = text_of(
        proxy_figures("k", [proxy(partial_tau=None, within_tau=None, recall=None, shift=None)])
    )

    assert "given log m" not in words
    assert "within strata" not in words
    assert "recall" not in words
    assert "m*" not in words


# ---- F8 ----------------------------------------------------------------------------------------


def test_power_rises_to_its_line() -> None:
    figure = power_figure("k", [("a", noise()), ("b", noise(least_effect=None))])

    # Effects 0 to 1 with 4 % beyond; powers of 1.05.
    first, second = paths(figure, "trace s1"), paths(figure, "trace s2")
    expected = [
        (GUTTER + (1 - GUTTER) * (effect + 0.04) / 1.08, power / 1.05)
        for effect, power in ((0.0, 0.05), (0.5, 0.6), (1.0, 0.95))
    ]
    assert first == second == [[pytest.approx(corner, abs=1e-4) for corner in expected]]
    (line,) = [e for e in of_class(figure, "reference") if e.tag == "line"]
    assert float(line.get("y1", "")) == pytest.approx(320 * (1 - 0.8 / 1.05), abs=0.01)
    words = text_of(figure)
    assert "a, Lind-Mehlum: 0.70 points are found with power 0.8" in words
    assert "b, Lind-Mehlum: no effect is found with power 0.8" in words

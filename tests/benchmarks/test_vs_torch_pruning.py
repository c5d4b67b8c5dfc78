"""The bars of the race against Torch-Pruning."""

from typing import Any

import pytest

from benchmarks.vs_torch_pruning import Row, missed_bars, page


def row(seconds: dict[str, float], *, peak: int = 10**6, ok: bool = True) -> Row:
    own = {"ok": ok, "peak_bytes": peak, "silent": not ok, "stage": "numbers", "reason": "differ"}
    own["commit"] = "abc1234"
    rival: dict[str, Any] = {"ok": False, "silent": False, "stage": "prune", "reason": "KeyError"}
    rival["commit"] = "abc1234"
    return Row("net", {"sentei": own, "torch-pruning": rival}, seconds)


def times(own: float, rival: float) -> dict[str, float]:
    return {"sentei whole": own, "torch-pruning whole": rival}


@pytest.mark.parametrize(
    ("own", "rival", "missed"),
    [(0.19, 0.1, 0), (0.21, 0.1, 1), (1.9, 2.0, 0), (2.1, 2.0, 1), (15.1, 99.0, 1)],
)
def test_tracing_included_the_bar_depends_on_what_the_rival_needs(
    own: float, rival: float, missed: int
) -> None:
    assert len(missed_bars([row(times(own, rival))])) == missed


def test_without_a_rival_only_the_absolute_limits_hold() -> None:
    assert missed_bars([row({"sentei whole": 14.0})]) == []
    assert missed_bars([row({"sentei whole": 1.0}, peak=5 * 10**9)]) == [
        "net: 5.0 GB beyond the model"
    ]


def test_the_median_of_plan_and_apply_must_be_ten_times_faster() -> None:
    own = {"sentei whole": 1.0, "sentei plan + apply": 1.0}
    rows = [row({**own, "torch-pruning plan + apply": float(ratio)}) for ratio in (2, 9, 50)]
    assert missed_bars(rows) == [
        "plan + apply on a traced graph is 9.0 times faster in the median, not 10"
    ]


def test_a_wrong_result_misses_the_bar() -> None:
    assert missed_bars([row({"sentei whole": 1.0}, ok=False)]) == ["net: numbers: differ"]


def test_the_page_says_why_the_rival_failed() -> None:
    text = page([row({"sentei whole": 1.0})])

    assert "no: prune: KeyError" in text
    assert "- commit: abc1234\n" in text

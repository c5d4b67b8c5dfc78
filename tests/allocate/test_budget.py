"""Budgets: what is accepted, what is refused, and how they are written."""

import pytest

from sentei.allocate import Budget
from sentei.errors import BudgetError


def test_shares_and_absolute_limits_become_targets() -> None:
    budget = Budget(macs=0.25, weight_bytes=3000, activation_bytes=1.0)

    found = budget.targets({"macs": 400, "weight_bytes": 8000, "activation_bytes": 70})

    assert found == {"macs": 100, "weight_bytes": 3000, "activation_bytes": 70}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("macs=0.5", Budget(macs=0.5)),
        ("macs=0.5,params=0.6", Budget(macs=0.5, num_parameters=0.6)),
        (" num_parameters = 10M ", Budget(num_parameters=10e6)),
        ("macs=2.0G", Budget(macs=2e9)),
        ("weight_bytes=1.5k", Budget(weight_bytes=1500)),
    ],
)
def test_text_is_parsed(text: str, expected: Budget) -> None:
    assert Budget.parse(text) == expected


@pytest.mark.parametrize("value", [0, -0.5, float("nan"), float("inf"), True])
def test_limit_must_be_a_positive_number(value: float) -> None:
    with pytest.raises(BudgetError, match=f"macs={value} is no limit"):
        Budget(macs=value)


def test_budget_must_limit_something() -> None:
    with pytest.raises(BudgetError, match="limits nothing"):
        Budget()


def test_latency_is_refused_for_now() -> None:
    with pytest.raises(BudgetError, match=r"latency_ms=5.* needs a latency table"):
        Budget.parse("latency_ms=5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("macs", "'macs' is no cost=limit"),
        ("mac=0.5", r"unknown cost 'mac'\. Did you mean 'macs'"),
        ("macs=half", "macs='half' is no number"),
        ("macs=", "macs='' is no number"),
        ("macs=0.5,macs=0.6", "limits macs twice"),
    ],
)
def test_text_that_is_no_budget_is_refused(text: str, message: str) -> None:
    with pytest.raises(BudgetError, match=message):
        Budget.parse(text)

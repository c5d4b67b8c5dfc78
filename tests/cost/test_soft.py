"""Costs at real widths: those of the cost model at integers, and their gradients."""

import numpy as np
import pytest
import torch

from sentei.cost import COSTS, CostModel
from sentei.cost.soft import SoftCosts
from sentei.errors import UnknownNameError
from sentei.graph import trace
from tests.support.nets import case


@pytest.mark.parametrize("name", ["plain", "residual", "grouped", "dense", "flatten", "pad"])
def test_at_integer_widths_soft_costs_are_the_costs(name: str) -> None:
    found = case(name)
    graph = trace(found.model, found.inputs)
    costs, rng = CostModel.of(graph), np.random.default_rng(0)
    soft = SoftCosts(costs, COSTS)
    rows = np.array([g.num_rows for g in graph.groups])

    for _ in range(5):
        widths = rows * rng.integers(1, graph.widths // rows + 1)
        expected = costs.costs(widths)

        values = soft(torch.from_numpy(widths))

        assert {k: float(v) for k, v in values.items()} == pytest.approx(expected, rel=1e-12)


def test_gradients_pass_gradcheck() -> None:
    found = case("residual")
    graph = trace(found.model, found.inputs)
    soft = SoftCosts(CostModel.of(graph), ("macs", "num_parameters"))
    widths = torch.tensor([4.3, 2.6], dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda w: tuple(soft(w).values()), widths)


def test_an_unknown_cost_is_refused() -> None:
    found = case("plain")
    costs = CostModel.of(trace(found.model, found.inputs))

    with pytest.raises(UnknownNameError, match=r"unknown cost 'mac'. Did you mean 'macs'"):
        SoftCosts(costs, ("mac",))

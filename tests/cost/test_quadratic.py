"""Costs as quadratic forms; their agreement with the cost model is tested with the spaces."""

import numpy as np
import pytest

from sentei.cost.quadratic import affine, quadratic_forms
from sentei.cost.terms import terms_of
from sentei.errors import SpaceError
from tests.support.terrains import graph_of


def test_a_form_of_a_product_of_three_widths_is_refused() -> None:
    graph, _ = graph_of("resnet20")
    weight = next(
        i for i, v in enumerate(graph.recording.values) if v.name == "layer1.0.conv1.weight"
    )
    cube = [(1, ((weight, 0), (weight, 1), (weight, 0)))]

    with pytest.raises(SpaceError, match="volume: a term multiplies 3 widths, expected at most 2"):
        quadratic_forms(graph, {"volume": cube})


def test_a_gradient_is_the_slope_of_the_value() -> None:
    graph, _ = graph_of("resnet20")
    form = quadratic_forms(graph, {"macs": terms_of(graph.recording).sums["macs"]})["macs"]
    widths_G1 = graph.widths[:, None].astype(np.float64)

    for index, slope in enumerate(form.gradient(widths_G1)[:, 0]):
        move_G1 = np.eye(len(graph.groups))[:, [index]]
        rise = form.value(widths_G1 + move_G1) - form.value(widths_G1 - move_G1)
        assert slope == pytest.approx(rise[0] / 2, rel=1e-9)


def test_forms_add_and_scale() -> None:
    one, other = affine(np.array([1.0, 2.0]), 3.0), affine(np.array([0.0, 1.0]))

    found = one.times(2.0).plus(other, factor=-1.0).value(np.array([[1.0], [1.0]]))

    assert found.tolist() == [2 * 6.0 - 1.0]

"""Comparing outputs, with numbers small enough to check by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from sentei.deploy.check import Runner, Tolerance, max_difference, torch_runner
from sentei.errors import ExportError

BATCHES = [(torch.zeros(2, 1),)]


def giving(*outputs: ArrayLike) -> Runner:
    arrays: list[NDArray[Any]] = [np.asarray(output) for output in outputs]
    return lambda _: arrays


def test_the_largest_difference_of_all_outputs_is_returned() -> None:
    expected, actual = giving([1.0, 100.0], [50.0]), giving([1.001, 100.0], [50.02])

    assert max_difference(expected, actual, BATCHES, Tolerance()) == pytest.approx(0.02, rel=1e-9)


def test_the_absolute_part_is_a_share_of_the_largest_number() -> None:
    # Allowed at 0: 1e-4 * 100 = 0.01.
    assert max_difference(giving([0.0, 100.0]), giving([0.009, 100.0]), BATCHES, Tolerance())
    with pytest.raises(ExportError, match=r"output 0 at batch size 2 differs by up to 0\.011"):
        max_difference(giving([0.0, 100.0]), giving([0.011, 100.0]), BATCHES, Tolerance())


def test_the_relative_part_is_a_share_of_the_number_itself() -> None:
    # Allowed at 100: 1e-3 * 100 + 1e-4 * 100 = 0.11.
    assert max_difference(giving([100.0]), giving([100.1]), BATCHES, Tolerance())
    with pytest.raises(ExportError, match=r"differs by up to 0\.12"):
        max_difference(giving([100.0]), giving([100.12]), BATCHES, Tolerance())


def test_equal_infinities_and_nans_agree() -> None:
    same = giving([math.inf, -math.inf, math.nan, 1.0])

    assert max_difference(same, same, BATCHES, Tolerance()) == 0


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_number_that_stops_being_finite_is_refused(wrong: float) -> None:
    with pytest.raises(ExportError, match="differs by up to inf"):
        max_difference(giving([1.0]), giving([wrong]), BATCHES, Tolerance())


def test_integers_must_be_equal() -> None:
    with pytest.raises(ExportError, match="differs by up to 1"):
        max_difference(giving([100000]), giving([100001]), BATCHES, Tolerance())


def test_another_shape_is_refused() -> None:
    with pytest.raises(ExportError, match=r"shapes \[\(1, 1\)\], expected \[\(1,\)\]"):
        max_difference(giving([1.0]), giving([[1.0]]), BATCHES, Tolerance())


def test_a_missing_output_is_refused() -> None:
    with pytest.raises(ExportError, match=r"shapes \[\(1,\)\], expected \[\(1,\), \(1,\)\]"):
        max_difference(giving([1.0], [2.0]), giving([1.0]), BATCHES, Tolerance())


def test_an_empty_output_agrees_with_itself() -> None:
    empty = giving(np.zeros((0, 4), dtype=np.float32))

    assert max_difference(empty, empty, BATCHES, Tolerance()) == 0


def test_a_file_that_does_not_run_is_an_export_error() -> None:
    def fail(_: object) -> list[NDArray[Any]]:
        raise IndexError("no such row")

    with pytest.raises(ExportError, match="does not run at batch size 2: IndexError: no such row"):
        max_difference(giving([1.0]), fail, BATCHES, Tolerance())


def test_bfloat16_is_refused_with_what_to_do() -> None:
    with pytest.raises(ExportError, match=r"bfloat16.*model\.float\(\)"):
        torch_runner(nn.Identity())((torch.ones(1, dtype=torch.bfloat16),))

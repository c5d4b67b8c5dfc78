"""The examples of the documentation run."""

import doctest
from pathlib import Path

import pytest

DOCUMENTS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["channel-algebra.md"])
def test_examples_run(name: str) -> None:
    result = doctest.testfile(str(DOCUMENTS / name), module_relative=False)

    assert result.attempted > 0
    assert result.failed == 0

"""The examples of the documentation run."""

import doctest
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "engine.md"


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    result = doctest.testfile(str(DOCUMENT), module_relative=False)

    assert result.attempted > 0
    assert result.failed == 0

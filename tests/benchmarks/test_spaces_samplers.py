"""The race of samplers measures what it says, and says where a sampler finds nothing."""

import pytest

from benchmarks.spacelib.samplers import rate, rows, terrain_of
from benchmarks.spaces import main
from sentei.spaces.sampling import SAMPLERS


def test_a_row_for_each_network_target_and_sampler() -> None:
    found = rows(["resnet20"], [0.6, 0.5], num=10, num_runs=1)

    names = list(SAMPLERS)
    assert [row[:3] for row in found] == [["resnet20", m, n] for m in ("0.6", "0.5") for n in names]
    assert all(float(row[3].replace(",", "")) > 0 for row in found)


def test_spread_and_parameters_are_those_of_the_recipes() -> None:
    found = rate(
        SAMPLERS["bisection"](alpha=1000.0), terrain_of("resnet20"), 0.5, num=20, num_runs=1
    )

    assert found.spread < 0.03
    assert found.params == pytest.approx(0.5, abs=0.02)


def test_a_sampler_that_finds_nothing_says_so() -> None:
    found = rows(["resnet56"], [0.15], num=1, num_runs=1)

    assert next(row for row in found if row[2] == "rejection")[3].startswith(
        "space 'benchmark': 1 of 1"
    )


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["samplers", "--networks", "resnet20", "--macs", "0.6", "--num", "5", "--runs", "1"])
        == 0
    )

    assert "hit-and-run" in capsys.readouterr().out

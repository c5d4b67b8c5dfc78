"""What a comparison is told, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from sentei.compare import CompareConfig, parse_targets, read_config, select_methods
from sentei.compare.config import BASELINES, jobs_of, left_out
from sentei.errors import BudgetError, CheckpointError, ConfigError, UnknownNameError
from sentei.methods import METHODS


def config(**changes: Any) -> CompareConfig:  # noqa: ANN401 - of any field
    values: dict[str, Any] = {
        "model": "digits_cnn",
        "data": "digits",
        "output": "runs/x",
        "methods": ("random", "l1"),
        "targets": ("macs=0.5",),
        "recipes": ("short",),
        **changes,
    }
    return CompareConfig(**values)


def test_a_number_alone_belongs_to_the_cost_before_it() -> None:
    assert parse_targets("macs=0.5, 0.25,params=0.3") == ("macs=0.5", "macs=0.25", "params=0.3")


def test_targets_must_begin_with_a_cost() -> None:
    with pytest.raises(ConfigError, match=r"'0\.5' names no cost; write macs=0\.5,0\.25"):
        parse_targets("0.5,macs=0.3")


def test_a_section_stands_for_its_methods_and_baselines_come_first() -> None:
    found = select_methods("2.1.1,taylor")

    assert found[: len(BASELINES)] == BASELINES
    inside = [n for n in METHODS if METHODS[n].card.section == "2.1.1"]
    assert found[len(BASELINES) :] == (*inside, "taylor")


def test_all_stands_for_all_methods_once() -> None:
    found = select_methods("all")

    assert sorted(found) == sorted(METHODS)


def test_an_unknown_method_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'hrank'"):
        select_methods("hrnk")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"seeds": 0}, ConfigError, "seeds is 0; give at least 1"),
        ({"methods": ()}, ConfigError, "methods is empty"),
        ({"methods": ("l0",)}, UnknownNameError, "unknown method 'l0'"),
        ({"targets": ("macs=x",)}, BudgetError, "is no number"),
        ({"recipes": ("shrt",)}, UnknownNameError, "Did you mean 'short'"),
        ({"floor": 0.0}, ConfigError, r"floor is 0\.0; give a share of each group in \(0, 1\]"),
        (
            {"methods": ("weight-magnitude",), "targets": ("params=0.5",)},
            ConfigError,
            "nothing to compare: weight-magnitude is left out at params=0.5: .* a limit of macs alone",
        ),
        ({"train": {"epochs": 0}}, ConfigError, "epochs=0 is not allowed"),
        ({"train": {"epoch": 1}}, ConfigError, "epoch"),
    ],
)
def test_what_cannot_be_compared_is_named(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        config(**changes)


def test_a_configuration_survives_json() -> None:
    given = config(train={"epochs": 3}, protect=("conv1",))

    assert CompareConfig.from_json(json.loads(json.dumps(given.as_json()))) == given


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown field colour of a comparison"):
        CompareConfig.from_json({**config().as_json(), "colour": 1})


def test_a_directory_without_comparison_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no comparison"):
        read_config(tmp_path)


def test_a_method_has_no_jobs_at_targets_it_cannot_count() -> None:
    targets = ("macs=0.5", "params=0.5", "macs=0.5,params=0.5")
    given = config(methods=("l1", "weight-magnitude"), targets=targets, seeds=1)

    found = [(job["method"], job["target"]) for job in jobs_of(given)]

    assert found == [("l1", "macs=0.5"), ("weight-magnitude", "macs=0.5")] + [
        ("l1", target) for target in targets[1:]
    ]
    assert left_out(given) == [
        f"weight-magnitude is left out at {target}: it can meet a limit of macs alone"
        for target in targets[1:]
    ]


def test_jobs_come_seed_by_seed() -> None:
    jobs = jobs_of(config(seeds=2))

    assert [(job["seed"], job["method"]) for job in jobs] == [
        (0, "random"),
        (0, "l1"),
        (1, "random"),
        (1, "l1"),
    ]

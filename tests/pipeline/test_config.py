"""Configurations: what is refused, and what budgets the rounds have."""

import json
from pathlib import Path

import pytest

from sentei import Budget, PruningError, RunConfig
from sentei.errors import CheckpointError, UnknownNameError
from sentei.pipeline import config_from_mapping, read_toml

LEAST = {"model": "digits_cnn", "data": "digits", "budget": "macs=0.5", "output": "runs/x"}


def test_budget_may_be_text_or_table() -> None:
    text = config_from_mapping({**LEAST, "budget": "macs=0.5,params=2M"}, origin="a")
    table = config_from_mapping(
        {**LEAST, "budget": {"macs": 0.5, "num_parameters": 2_000_000}}, origin="a"
    )

    assert text.budget == table.budget == Budget(macs=0.5, num_parameters=2e6)


def test_recipe_keeps_the_defaults_of_the_run_where_nothing_is_said() -> None:
    config = config_from_mapping({**LEAST, "recover": {"epochs": 3}}, origin="a")

    default = RunConfig(model="m", data="d", budget=Budget(macs=0.5), output="o").recover
    assert config.recover.epochs == 3
    assert config.recover.distill_weight == default.distill_weight > 0


def test_json_of_a_configuration_reads_back_as_the_same() -> None:
    config = config_from_mapping({**LEAST, "protect": ["conv1"], "weights": "w.pth"}, origin="a")

    assert config_from_mapping(json.loads(json.dumps(config.as_json())), origin="b") == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"critreion": "l1"}, r"run.toml: unknown key critreion. Did you mean 'criterion'\?"),
        (
            {"recover": {"epoch": 1}},
            r"unknown key recover.epoch. Did you mean 'recover.epochs'|epochs",
        ),
        ({"seed": "1"}, "run.toml: seed is '1', expected int"),
        ({"seed": True}, "seed is True, expected int"),
        ({"floor": 0}, r"floor is 0.0; give a share of each group in \(0, 1\]"),
        ({"steps": 0}, "steps is 0; give at least 1"),
        ({"recover": {"epochs": 0}}, "epochs=0 is not allowed; give at least 1"),
        ({"recover": 3}, "recover is 3, expected a table"),
        ({"fine_tune_when": "alwayz"}, r"fine_tune_when is 'alwayz', no choice. .*'always'"),
        ({"protect": "conv1"}, "protect is 'conv1', expected a list"),
        ({"budget": "mac=0.5"}, r"unknown cost 'mac'. Did you mean .*'macs'"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(PruningError, match=message):
        config_from_mapping({**LEAST, **values}, origin="run.toml")


def test_missing_fields_are_named() -> None:
    with pytest.raises(PruningError, match="command line: data, budget is missing"):
        config_from_mapping({"model": "m", "output": "o"}, origin="command line")


def test_unknown_key_has_a_class_of_its_own() -> None:
    with pytest.raises(UnknownNameError):
        config_from_mapping({**LEAST, "x": 1}, origin="a")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"seed = \n", "is no TOML"), (b"\xff\xfe", "is no TOML"), (None, "cannot be read")],
)
def test_unreadable_file_is_a_clear_error(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "run.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(CheckpointError, match=f"run.toml: {message}"):
        read_toml(path)


def test_budgets_of_the_rounds_fall_by_the_same_factor() -> None:
    config = RunConfig(model="m", data="d", budget=Budget(macs=0.25), output="o", steps=2)

    budgets = [config.budget_of_step(step, {"macs": 1000.0}).macs for step in (1, 2)]

    assert budgets == pytest.approx([500.0, 250.0])

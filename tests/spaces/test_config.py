"""Study files: what they may say, and what is refused by name."""

import dataclasses
import json
import re
import tomllib
import typing
from pathlib import Path
from typing import Any

import pytest

import sentei.cli
from sentei.errors import ConfigError, UnknownNameError
from sentei.methods.base_network import BaseConfig
from sentei.spaces.config import SHARED, Screen, SearchConfig, StudyConfig, study_from_mapping
from sentei.spaces.zero_cost import PROXIES

BASE = {"model": "digits_cnn", "data": "digits", "train_images": 300}


def study(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - of any table
    return {"base": BASE, "protocol": {"epochs": 1}, **changes}


def test_what_the_base_says_of_images_holds_for_the_protocol() -> None:
    found = study_from_mapping(study(), origin="test")

    assert found.protocol.train_images == 300
    assert found.protocol.epochs == 1


def test_a_study_reads_what_it_wrote() -> None:
    slabs = [{"quantity": "std", "low": 0.0, "high": 0.2}]
    found = study_from_mapping(study(space={"slabs": slabs}, regimes=[0.5]), origin="test")

    again = study_from_mapping(json.loads(json.dumps(found.as_json())), origin="test")

    assert again == found
    assert again.space.slabs[0].high == 0.2


def keys_of(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    """Return field -> type of a dataclass."""
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def test_the_example_explains_every_key() -> None:
    text = Path(sentei.cli.__file__).with_name("study.toml").read_text(encoding="utf-8")
    tables: dict[str, set[str]] = {"": set()}
    name = ""
    for line in text.splitlines():
        if found := re.match(r"\[(\w+)\]", line):
            name = found[1]
            tables[name] = set()
        elif found := re.match(r"(?:# )?(\w+) = \S+.*  ?# \S", line):
            tables[name].add(found[1])

    whole = keys_of(StudyConfig)
    known = {key: keys_of(kind) for key, kind in whole.items() if dataclasses.is_dataclass(kind)}

    assert tables.pop("") == whole.keys() - known.keys()
    assert tables.keys() == known.keys()
    for table, keys in known.items():
        wanted = keys.keys() - (set(SHARED) if table == "protocol" else set())
        assert tables[table] == wanted - {"name"}, table


def test_the_example_is_a_study_of_defaults() -> None:
    path = Path(sentei.cli.__file__).with_name("study.toml")
    text = path.read_text(encoding="utf-8")
    all_on = re.sub(r"(?m)^# (?=\w+ = )", "", text).replace('"FILE"', '"weights.pth"')

    found = study_from_mapping(tomllib.loads(text), origin="example")
    filled = study_from_mapping(tomllib.loads(all_on), origin="example")

    usual = StudyConfig(base=BaseConfig(model="resnet20", data="cifar10:DIR"))
    assert found.population == usual.population
    assert filled.population == usual.population
    assert filled.thresholds == usual.thresholds
    assert filled.resampling == usual.resampling
    assert filled.supernet == usual.supernet


def test_a_search_may_screen_by_every_zero_cost_score() -> None:
    assert typing.get_args(Screen) == ("val_loss", *PROXIES)
    assert SearchConfig().zero_cost is None
    assert SearchConfig(screen="snip").zero_cost == "snip"


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"regime": [0.5]}, UnknownNameError, "unknown key regime"),
        ({"protocol": {"lr": 1.0}}, UnknownNameError, "unknown key protocol.lr"),
        ({"protocol": {"train_images": 5}}, ConfigError, "protocol.train_images belongs into"),
        ({"regimes": [1.5]}, ConfigError, "regime 1.5 is no share"),
        ({"regimes": [0.5, 0.5]}, ConfigError, "each once"),
        ({"window": 0.5}, ConfigError, "window is 0.5"),
        ({"protocol": {"epochs": 0}}, ConfigError, "the study trains"),
        ({"search": {"regimes": [0.4]}}, ConfigError, "0.4, which is not among"),
        ({"search": {"candidates": 2}}, ConfigError, "each must be at most the next"),
        (
            {"population": {"cell_regimes": [0.4]}},
            ConfigError,
            "cell_regimes names 0.4, which is not",
        ),
        ({"population": {"per_cell": 0}}, ConfigError, "per_cell is 0"),
        ({"population": {"cell_bins": 0}}, ConfigError, "cell_bins is 0"),
        ({"population": {"replicated": 2.0}}, ConfigError, "replicated is 2.0"),
        ({"population": {"strata": 0}}, ConfigError, "strata is 0"),
        ({"population": {"std_edges": [0.2, 0.1]}}, ConfigError, r"at least one in \[0, 1\), asc"),
        ({"population": {"std_edges": []}}, ConfigError, r"std_edges is \(\); give at least one"),
        ({"regimes": [0.05], "window": 0.1}, ConfigError, "too wide around regime 0.05"),
        (
            {"population": {"natural_options": {"alpa": 3.0}}},
            UnknownNameError,
            "sampler 'bisection' has no option 'alpa'. Did you mean 'alpha'",
        ),
        (
            {"population": {"natural_options": {"attempts": 2.5}}},
            ConfigError,
            "option attempts of sampler 'bisection' is 2.5; give a value like 100",
        ),
        (
            {"population": {"natural_options": {"alpha": "x"}}},
            ConfigError,
            "option alpha of sampler 'bisection' is 'x'; give a value like 2.0",
        ),
        (
            {"population": {"controls": 4}, "protocol": {"epochs": 1, "weights": "new"}},
            ConfigError,
            "controls is 4, but the protocol itself has weights='new'",
        ),
        ({"population": {"natural_sampler": "exakt"}}, UnknownNameError, "unknown sampler 'exakt'"),
        ({"population": {"natural_options": {"alpha": -1.0}}}, ConfigError, "alpha=-1.0; expected"),
        (
            {"space": {"slabs": [{"quantity": "latency", "low": 0.0, "high": 0.5}]}},
            ConfigError,
            "a slab of latency needs latency.recipes",
        ),
        ({"latency": {"recipes": 3}}, ConfigError, "recipes is 3; give 0, or at least 12"),
        ({"fidelity": {"recipes": 3}}, ConfigError, "recipes is 3; give 0, or at least 10"),
        ({"fidelity": {"recipes": 10, "epochs": 1}}, ConfigError, "more than protocol.epochs, 1"),
        ({"search": {"rounds": 4}}, ConfigError, "rounds is 4; give 1 to 3"),
        ({"search": {"screen": "zen"}}, ConfigError, "search.screen is 'zen'"),
        ({"search": {"statistics": []}}, ConfigError, "statistics is empty"),
        ({"regime_by": "latency"}, ConfigError, "regime_by is 'latency'"),
        ({"space": {"unit": "filter"}}, ConfigError, "space.unit is 'filter'"),
        ({"thresholds": {"alpha": 2.0}}, ConfigError, "alpha is 2.0"),
    ],
)
def test_wrong_values_are_refused_by_name(
    values: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        study_from_mapping(study(**values), origin="test")

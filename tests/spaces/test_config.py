"""Study files: what they may say, and what is refused by name."""

import json
from typing import Any

import pytest

from sentei.errors import ConfigError, UnknownNameError
from sentei.spaces.config import study_from_mapping

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
        ({"population": {"replicated": 2.0}}, ConfigError, "replicated is 2.0"),
        ({"population": {"strata": 0}}, ConfigError, "strata is 0"),
        ({"population": {"std_edges": [0.2, 0.1]}}, ConfigError, "give them ascending"),
        ({"space": {"unit": "filter"}}, ConfigError, "space.unit is 'filter'"),
        ({"thresholds": {"alpha": 2.0}}, ConfigError, "alpha is 2.0"),
    ],
)
def test_wrong_values_are_refused_by_name(
    values: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        study_from_mapping(study(**values), origin="test")

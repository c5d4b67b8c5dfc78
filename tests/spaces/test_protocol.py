"""Protocols and jobs: what they refuse, and that they survive JSON."""

import json
from typing import Any

import pytest

from sentei.errors import ConfigError, UnknownNameError
from sentei.spaces.protocol import Protocol, SubnetJob


def test_a_protocol_survives_json() -> None:
    protocol = Protocol(epochs=3, train={"distill_weight": 0.5}, val_images=100)

    assert Protocol.from_json(json.loads(json.dumps(protocol.as_json()))) == protocol


def test_the_recipe_has_the_fields_of_the_protocol_and_those_set_otherwise() -> None:
    recipe = Protocol(learning_rate=0.3, train={"momentum": 0.5}).recipe(4)

    assert (recipe.epochs, recipe.learning_rate, recipe.momentum) == (4, 0.3, 0.5)


def test_a_job_takes_from_the_protocol_what_it_does_not_say() -> None:
    protocol = Protocol(epochs=3, ranking="random", weights="new")

    job = SubnetJob.parse({"widths": {"a": 3}, "weights": "kept"}, protocol)

    assert (job.epochs, job.ranking, job.weights, job.tests) == (3, "random", "kept", True)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("val_images", 0, "val_images is 0; give at least 1"),
        ("epochs", -1, "epochs is -1; give at least 0"),
        ("weights", "old", "weights is 'old'; give one of 'kept', 'new'"),
        ("train", {"speed": 1}, "training of subnetworks: .*'speed'; correct the field"),
        ("learning_rate", 0.0, "learning_rate=0.0 is not allowed"),
    ],
)
def test_a_protocol_refuses_what_is_out_of_range(field: str, value: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(ConfigError, match=message):
        Protocol(**{field: value})


def test_unknown_fields_and_criteria_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown field 'epoch' of a protocol; expected some of"):
        Protocol.from_json({"epoch": 3})
    with pytest.raises(UnknownNameError, match="l7"):
        Protocol(criterion="l7")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "this job has no widths; give a mapping"),
        ({"widths": {}, "epoch": 1}, "unknown field 'epoch' of a job"),
        ({"widths": {}, "replicate": -1}, "replicate of a job is -1; give at least 0"),
        ({"widths": {}, "ranking": "l1"}, "ranking of a job is 'l1'; give one of 'criterion'"),
    ],
)
def test_a_job_refuses_what_it_cannot_be(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SubnetJob.parse(spec, Protocol())

"""The base network of a study: what is known of it, and what a damaged one is answered with."""

import json
from pathlib import Path
from typing import Any

import pytest

from sentei.errors import CheckpointError
from sentei.methods.base_network import base_facts
from sentei.surgery.checkpoint import WEIGHTS_NAME

FACTS: dict[str, Any] = {
    "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",  # of b"abc"
    "data_digest": "d",
    "accuracy": 0.5,
    "test_images": 2,
    "val_accuracy": 0.5,
    "val_images": 2,
    "trained_here": True,
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return the folder of a base network whose weights are three bytes."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / WEIGHTS_NAME).write_bytes(b"abc")
    (folder / "facts.json").write_text(json.dumps(FACTS))
    return folder


def test_facts_that_fit_the_weights_are_returned(base: Path) -> None:
    assert base_facts(base.parent) == FACTS


def test_a_directory_without_base_network_has_no_facts(tmp_path: Path) -> None:
    assert base_facts(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (json.dumps(FACTS)[:60], "cannot be read"),
        ('{"sha256": "a\n', "cannot be read"),
        ("{}", "lacks sha256, data_digest, accuracy"),
        ("[]", "lacks sha256, data_digest, accuracy"),
        (json.dumps({k: v for k, v in FACTS.items() if k != "accuracy"}), "lacks accuracy:"),
    ],
)
def test_damaged_facts_are_named_with_what_to_do(base: Path, text: str, problem: str) -> None:
    (base / "facts.json").write_text(text)

    message = rf"facts\.json {problem}.*; restore it, or start in another directory \(-o\)"
    with pytest.raises(CheckpointError, match=message):
        base_facts(base.parent)


def test_missing_weights_are_named_with_what_to_do(base: Path) -> None:
    (base / WEIGHTS_NAME).unlink()

    with pytest.raises(
        CheckpointError, match=rf"{WEIGHTS_NAME} is missing.*; restore it, or start"
    ):
        base_facts(base.parent)


def test_other_weights_are_refused(base: Path) -> None:
    (base / WEIGHTS_NAME).write_bytes(b"xyz")

    with pytest.raises(CheckpointError, match="not the one this study began with; restore it"):
        base_facts(base.parent)

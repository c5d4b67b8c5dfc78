"""The Hugging Face mixin, offline."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sentei.errors import CheckpointError
from sentei.graph import trace
from sentei.models import load_model
from sentei.surgery import apply, plan_removal
from sentei.surgery.checkpoint import load_pretrained, save_pretrained
from sentei.surgery.hub import PrunedModel
from tests.support import nets


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - whatever is asked for
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("socket.socket.connect", fail)


@pytest.fixture
def small() -> nn.Module:
    model = nets.fill(load_model("digits_cnn").model)
    graph = trace(model, nets.example(2, 1, 8, 8))
    return apply(plan_removal(graph, {"conv1": [0, 7], "conv3": [2]}), model)


def test_round_trip_computes_the_same(small: nn.Module, tmp_path: Path) -> None:
    PrunedModel(small, "digits_cnn", {"macs": 12}).save_pretrained(tmp_path)

    loaded = PrunedModel.from_pretrained(tmp_path)

    images = nets.example(2, 1, 8, 8)
    assert torch.equal(loaded(images), small(images))
    assert loaded.source == {"spec": "digits_cnn", "kwargs": {}}
    assert loaded.metadata == {"macs": 12}
    assert not loaded.training


def test_loaded_network_can_be_saved_again(small: nn.Module, tmp_path: Path) -> None:
    PrunedModel(small, "digits_cnn", {"macs": 12}).save_pretrained(tmp_path / "a")

    PrunedModel.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")

    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()


def test_directory_is_the_one_of_load_pretrained(small: nn.Module, tmp_path: Path) -> None:
    PrunedModel(small, "digits_cnn").save_pretrained(tmp_path)

    loaded = load_pretrained(tmp_path)

    images = nets.example(2, 1, 8, 8)
    assert torch.equal(loaded(images), small(images))


def test_directory_of_save_pretrained_is_read(small: nn.Module, tmp_path: Path) -> None:
    save_pretrained(small, tmp_path, source=None)

    loaded = PrunedModel.from_pretrained(tmp_path, factory=lambda: load_model("digits_cnn").model)

    images = nets.example(2, 1, 8, 8)
    assert torch.equal(loaded(images), small(images))


def test_model_card_names_the_library(small: nn.Module, tmp_path: Path) -> None:
    PrunedModel(small, "digits_cnn").save_pretrained(tmp_path)

    card = (tmp_path / "README.md").read_text()

    assert "library_name: sentei" in card
    assert "- pruning" in card


def test_users_code_is_not_run_unasked(small: nn.Module, tmp_path: Path) -> None:
    PrunedModel(small, "somewhere.py:build").save_pretrained(tmp_path)

    with pytest.raises(CheckpointError, match="not run unasked"):
        PrunedModel.from_pretrained(tmp_path)

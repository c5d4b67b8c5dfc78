"""A state on disk is whole, unaltered and of the same run, or refused."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from sentei.errors import CheckpointError
from sentei.train import checkpoint
from sentei.train.checkpoint import check_same_run, check_same_tensors, read_state, write_state

TENSORS = {
    "model:weight": torch.arange(6.0).view(2, 3).t(),
    "model:half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "model:empty": torch.zeros(0, 3),
    "model:flags": torch.tensor([True, False]),
    "random:cpu": torch.arange(5, dtype=torch.uint8),
    "step": torch.tensor(3.0),
}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_state(tmp_path / "new" / "run", TENSORS, {"curve": [1.5, None], "scaler": {}})
    found = read_state(tmp_path / "new" / "run")
    assert found is not None
    tensors, document = found
    assert document == {"version": 1, "curve": [1.5, None], "scaler": {}}
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_a_directory_without_state_has_none(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None


def test_the_header_is_json(tmp_path: Path) -> None:
    write_state(tmp_path, TENSORS, {"curve": [0.25]})
    content = (tmp_path / "state.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert json.loads(header["__metadata__"]["document"])["curve"] == [0.25]


def test_a_failed_write_leaves_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError("no space left on device")

    write_state(tmp_path, TENSORS, {"epoch": 1})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_state(tmp_path, TENSORS, {"epoch": 2})
    found = read_state(tmp_path)
    assert found is not None
    assert found[1]["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_torn_file_is_refused(tmp_path: Path, length: int) -> None:
    write_state(tmp_path, TENSORS, {})
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"state.safetensors is torn .*delete the file to"):
        read_state(tmp_path)


def test_every_flipped_bit_of_the_content_is_refused(tmp_path: Path) -> None:
    write_state(tmp_path, TENSORS, {"epoch": 1})
    path = tmp_path / "state.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    for position in (8 + length, len(content) - 1, content.index(b'epoch\\": 1') + 9):
        altered = bytearray(content)
        altered[position] ^= 1
        path.write_bytes(bytes(altered))
        with pytest.raises(CheckpointError, match=r"was altered: its content does not match"):
            read_state(tmp_path)


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "state.safetensors")
    with pytest.raises(CheckpointError, match=r"was altered"):
        read_state(tmp_path)


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "VERSION", 2)
    write_state(tmp_path, TENSORS, {})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"has version 2, this sentei reads version 1"):
        read_state(tmp_path)


def test_tensors_that_share_memory_are_written_each(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    write_state(tmp_path, {"a": shared, "b": shared[1:]}, {})
    with safe_open(tmp_path / "state.safetensors", framework="pt") as file:
        assert torch.equal(file.get_tensor("b"), torch.tensor([1.0, 2.0, 3.0]))


def test_another_run_is_refused_by_setting(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"belongs to another run: epochs is 3 there and 5 now; seed is None there and 1 now; use",
    ):
        check_same_run(tmp_path, {"epochs": 3, "lr": 0.1}, {"epochs": 5, "lr": 0.1, "seed": 1})


def test_another_model_is_refused_by_tensor(tmp_path: Path) -> None:
    stored: dict[str, Tensor] = {"fc": torch.ones(2, 3), "bias": torch.ones(2)}
    current: dict[str, Tensor] = {"fc": torch.ones(2, 4), "scale": torch.ones(2)}
    with pytest.raises(
        CheckpointError,
        match=r"another model: bias is \[2\] float32 there and missing now; "
        r"fc is \[2, 3\] float32 there and \[2, 4\] float32 now; scale is missing there",
    ):
        check_same_tensors(tmp_path, stored, current)

"""Files that appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from sentei.deploy.staging import staged
from sentei.errors import ExportError


def write(destination: Path, *, fail: bool = False) -> None:
    with staged(destination) as file:
        file.write_text("graph")
        file.with_suffix(".bin").write_text("weights")
        if fail:
            raise KeyError


def test_file_and_companions_appear_beside_each_other(tmp_path: Path) -> None:
    write(tmp_path / "new" / "net.xml")

    contents = {file.name: file.read_text() for file in (tmp_path / "new").iterdir()}
    assert contents == {"net.xml": "graph", "net.bin": "weights"}


def test_nothing_appears_before_the_block_ends(tmp_path: Path) -> None:
    with staged(tmp_path / "net.onnx") as file:
        file.write_text("half")
        assert not (tmp_path / "net.onnx").exists()


def test_an_error_in_the_block_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_text("old")

    with pytest.raises(KeyError):
        write(tmp_path / "net.onnx", fail=True)

    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"net.onnx": "old"}


def test_a_full_disk_leaves_no_companion_without_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, calls = os.replace, []

    def full_at_the_second_file(*args: Path) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(*args)

    monkeypatch.setattr(os, "replace", full_at_the_second_file)
    with pytest.raises(ExportError, match=r"could not be written .*No space left on device"):
        write(tmp_path / "net.xml")

    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")

    with pytest.raises(ExportError, match="choose another place"):
        write(tmp_path / "file" / "net.onnx")

    assert (tmp_path / "file").read_text() == "text"

"""The state of a training run on disk: written whole or not at all, read only if unaltered.

One file, ``state.safetensors``: the tensors, and in its header a JSON document and a SHA-256 digest
of both. Nothing in it is code.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sentei.errors import CheckpointError

FILE_NAME = "state.safetensors"
VERSION = 1
ADVICE = "delete the file to start over, or choose another checkpoint_dir"


def write_state(directory: Path, tensors: Mapping[str, Tensor], document: dict[str, Any]) -> None:
    """Replace the state in ``directory``; a kill at any moment leaves the old or the new one.

    Args:
        directory: Made if missing.
        tensors: Any tensors; they are copied to the CPU.
        document: Anything JSON can hold.
    """
    on_cpu = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    text = json.dumps({"version": VERSION, **document}, sort_keys=True)
    content = save(on_cpu, metadata={"document": text, "sha256": _digest(on_cpu, text)})
    directory.mkdir(parents=True, exist_ok=True)
    # One name, so that processes that were killed here do not fill the disk with large files.
    temporary = directory / f"{FILE_NAME}.tmp"
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(directory / FILE_NAME)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(directory)


def read_state(directory: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the tensors (on the CPU) and the document of a directory; None if it has no state.

    Raises:
        CheckpointError: the file is torn, altered, or of another version.
    """
    path = directory / FILE_NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is torn or no safetensors file ({error}); {ADVICE}"
        ) from error
    text = header.get("document", "")
    if header.get("sha256") != _digest(tensors, text):
        raise CheckpointError(
            f"{path} was altered: its content does not match its SHA-256 digest; {ADVICE}"
        )
    document = json.loads(text)
    if document["version"] != VERSION:
        raise CheckpointError(
            f"{path} has version {document['version']}, this sentei reads version {VERSION}; {ADVICE}"
        )
    return tensors, document


def check_same_run(directory: Path, stored: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Check that a stored run is the one being started.

    Args:
        directory: Where the state lies, for the message.
        stored: Settings in the checkpoint.
        current: Settings of the run being started.

    Raises:
        CheckpointError: a setting differs; the message names each.
    """
    differences = [
        f"{name} is {stored.get(name)!r} there and {current.get(name)!r} now"
        for name in sorted({*stored, *current})
        if stored.get(name) != current.get(name)
    ]
    if differences:
        raise CheckpointError(
            f"{directory / FILE_NAME} belongs to another run: {'; '.join(differences)}; "
            f"use the settings of that run, or {ADVICE}"
        )


def check_same_tensors(
    directory: Path, stored: Mapping[str, Tensor], current: Mapping[str, Tensor]
) -> None:
    """Check that stored tensors have the names, shapes and types of the model's.

    Raises:
        CheckpointError: they differ; the message shows the first differences.
    """
    there = {name: _describe(tensor) for name, tensor in stored.items()}
    here = {name: _describe(tensor) for name, tensor in current.items()}
    differences = [
        f"{name} is {there.get(name, 'missing')} there and {here.get(name, 'missing')} now"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    ]
    if differences:
        raise CheckpointError(
            f"{directory / FILE_NAME} holds another model: {'; '.join(differences[:3])} "
            f"({len(differences)} differences); train the model it was made for, or {ADVICE}"
        )


def _describe(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    sha = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        sha.update(f"{name} {_describe(tensors[name])}".encode())
        sha.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _sync_directory(directory: Path) -> None:
    """Make a rename last through a power cut; only POSIX systems open directories."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

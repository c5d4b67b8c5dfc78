"""Pruned networks on disk: saved as tensors and JSON, loaded without replaying what was removed.

Two files: ``model.safetensors`` holds every tensor once, ``config.json`` says how to build the
class, which tensors are one and the same, and which integer attributes changed. Reading them
executes nothing except the source that ``config.json`` names, and code outside sentei, timm and
torchvision only on request.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from sentei.errors import CheckpointError, ModelError, UnknownNameError
from sentei.graph.capture import Kind, named_tensors
from sentei.models import build_from_source
from sentei.surgery.sizes import state_sizes

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """A tensor as ``config.json`` describes it; several names mean that they share it."""

    names: list[str]
    shape: list[int]
    dtype: str
    kind: Kind
    trainable: bool


@dataclass(frozen=True, kw_only=True)
class _Config:
    """Everything ``config.json`` holds."""

    format_version: int
    sentei: str
    torch: str
    source: dict[str, Any] | None
    sha256: str
    tensors: list[_Stored]
    edits: dict[str, int]
    history: list[dict[str, list[int]]]
    metadata: dict[str, Any]


def save_pretrained(
    model: nn.Module,
    directory: Path | str,
    *,
    source: Mapping[str, Any] | str | None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``config.json`` and ``model.safetensors``; return the directory.

    Every parameter and buffer is saved, also buffers that are not persistent. The two files are
    written aside and renamed into place, the configuration last; :func:`load_pretrained` refuses
    a pair that does not belong together.

    Args:
        model: A network, usually the result of :func:`~sentei.surgery.apply`.
        directory: Made if missing; these two files in it are replaced.
        source: How to build the unpruned class: :attr:`sentei.models.LoadedModel.source`, its
            ``spec`` alone, or None (loading then needs a factory).
        metadata: Anything JSON can hold, kept as it is.

    Raises:
        CheckpointError: The files cannot be written, or the model holds what they cannot hold.
        ValueError: ``source`` or ``metadata`` is not JSON.
    """
    directory = Path(directory)
    _refuse_extra_state(model)
    stored = _describe_tensors(model)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # In the same folder, because only a rename within one file system is atomic.
        with tempfile.TemporaryDirectory(prefix=".sentei-", dir=directory) as folder:
            weights, config = Path(folder) / WEIGHTS_NAME, Path(folder) / CONFIG_NAME
            safetensors.torch.save_file(_own_storages(model, stored), weights, {"format": "pt"})
            text = _configuration(model, stored, source, metadata, sha256=_digest(weights))
            config.write_text(text, encoding="utf-8")
            _sync(weights)
            _sync(config)
            weights.replace(directory / WEIGHTS_NAME)
            config.replace(directory / CONFIG_NAME)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{directory} cannot be written: {error}") from error
    return directory


def load_pretrained(
    directory: Path | str,
    *,
    factory: Callable[[], nn.Module] | None = None,
    device: torch.device | str = "cpu",
    trust_code: bool = False,
) -> nn.Module:
    """Return a saved network in eval mode, of the class it was saved from.

    The class is built from its source (with random weights, torch's global random state is left
    alone), its tensors are replaced by the saved ones, and the attributes that state sizes follow.

    Args:
        directory: Where :func:`save_pretrained` wrote.
        factory: Builds the unpruned network; used instead of the saved source. What it returns
            is changed.
        device: Where the tensors go.
        trust_code: Allow importing and calling the user's code that the saved source names.
            Without it only networks of sentei, timm and torchvision are built.

    Raises:
        CheckpointError: A file is missing, torn, altered or of another version; or the network
            that the source builds is not the one that was saved.
    """
    directory = Path(directory)
    config = _read_config(directory / CONFIG_NAME)
    tensors = _read_tensors(directory / WEIGHTS_NAME, config, device)
    model = _build(directory, config, factory, trust_code=trust_code)
    _check_fit(directory, model, config)
    _set_edits(directory, model, config.edits)
    taken: set[int] = set()
    for stored in config.tensors:
        _set_tensor(model, stored, tensors[stored.names[0]], taken)
    state_sizes(model.modules())
    vars(model)["_sentei_edits"] = dict(config.edits)
    vars(model)["_sentei_history"] = config.history
    return model.eval()


def read_metadata(directory: Path | str) -> dict[str, Any]:
    """Return the metadata that was given to :func:`save_pretrained`.

    Raises:
        CheckpointError: The configuration is missing, torn or of another version.
    """
    return _read_config(Path(directory) / CONFIG_NAME).metadata


def read_source(directory: Path | str) -> dict[str, Any] | None:
    """Return the source that was given to :func:`save_pretrained`; nothing is built or run.

    Raises:
        CheckpointError: The configuration is missing, torn or of another version.
    """
    return _read_config(Path(directory) / CONFIG_NAME).source


# Writing ---------------------------------------------------------------------------------------


def _refuse_extra_state(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            raise CheckpointError(
                f"{path or 'the model'}: {type(module).__name__} keeps extra state, which need not "
                "be a tensor and is not saved; register what it holds as buffers"
            )


def _describe_tensors(model: nn.Module) -> list[_Stored]:
    found: dict[int, _Stored] = {}
    for name, tensor, kind in named_tensors(model):
        if id(tensor) in found:
            found[id(tensor)].names.append(name)
            continue
        found[id(tensor)] = _Stored(
            names=[name],
            shape=list(tensor.shape),
            dtype=str(tensor.dtype).removeprefix("torch."),
            kind=kind,
            trainable=tensor.requires_grad,
        )
    return list(found.values())


def _own_storages(model: nn.Module, stored: Iterable[_Stored]) -> dict[str, Tensor]:
    """Return every tensor once, contiguous, on the CPU and in a storage of its own."""
    by_name = {name: tensor for name, tensor, _ in named_tensors(model)}
    result, seen = {}, set()
    for name in (s.names[0] for s in stored):
        tensor = by_name[name].detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        # Views into one buffer (the weights of an LSTM) are separate tensors; so are slices.
        if storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes:
            tensor = tensor.clone()
        seen.add(storage.data_ptr())
        result[name] = tensor
    return result


def _configuration(
    model: nn.Module,
    stored: list[_Stored],
    source: Mapping[str, Any] | str | None,
    metadata: Mapping[str, Any] | None,
    *,
    sha256: str,
) -> str:
    if isinstance(source, str):
        source = {"spec": source, "kwargs": {}}
    config = {
        "format_version": FORMAT_VERSION,
        "sentei": version("sentei"),
        "torch": torch.__version__,
        "source": None if source is None else dict(source),
        "sha256": sha256,
        "tensors": [asdict(s) for s in stored],
        "edits": getattr(model, "_sentei_edits", {}),
        "history": getattr(model, "_sentei_history", []),
        "metadata": dict(metadata or {}),
    }
    try:
        return json.dumps(config, indent=1, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"source and metadata must be JSON ({error}); pass strings, finite numbers, lists and "
            "dicts with string keys"
        ) from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


# Reading ---------------------------------------------------------------------------------------


def _are(values: object, kind: type) -> bool:
    return isinstance(values, list) and all(type(v) is kind for v in values)


def _has_right_types(document: dict[str, Any]) -> bool:
    """Check what JSON cannot promise, as far as loading relies on it."""
    edits = document["edits"]
    return (
        isinstance(document["source"], dict | None)
        and isinstance(document["sha256"], str)
        and isinstance(document["metadata"], dict)
        and isinstance(edits, dict)
        and _are(list(edits.values()), int)
        and all(re.fullmatch(r".*\|.+\|-?\d+", key) for key in edits)
        and _are(document["history"], dict)
        and _are(document["tensors"], dict)
        and all(_is_tensor_entry(entry) for entry in document["tensors"])
    )


def _is_tensor_entry(entry: dict[str, Any]) -> bool:
    return (
        entry.keys() == set(_Stored.__dataclass_fields__)
        and _are(entry["names"], str)
        and len(entry["names"]) > 0
        and _are(entry["shape"], int)
        and isinstance(entry["dtype"], str)
        and entry["kind"] in ("param", "buffer")
        and isinstance(entry["trainable"], bool)
    )


def _read_config(path: Path) -> _Config:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}): saving did not finish, or this is not the "
            "directory of a saved network"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{path} is torn ({error}); copy or save it again") from error
    written = document.get("format_version") if isinstance(document, dict) else None
    if written != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {written}, this sentei ({version('sentei')}) reads version "
            f"{FORMAT_VERSION}; use the sentei that wrote it, or save the network again"
        )
    fields = set(_Config.__dataclass_fields__)
    if document.keys() != fields:
        unknown, missing = sorted(document.keys() - fields), sorted(fields - document.keys())
        raise CheckpointError(
            f"{path} has unknown keys {unknown} and lacks {missing}; it was edited or is not a "
            "saved network: save it again"
        )
    if not _has_right_types(document):
        raise CheckpointError(
            f"{path} was altered: a value has a wrong type; save the network again"
        )
    return _Config(**{**document, "tensors": [_Stored(**entry) for entry in document["tensors"]]})


def _read_tensors(path: Path, config: _Config, device: torch.device | str) -> dict[str, Tensor]:
    try:
        digest = _digest(path)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}); copy it beside {CONFIG_NAME}"
        ) from error
    if digest != config.sha256:
        raise CheckpointError(
            f"{path} is torn or was altered: its SHA-256 digest is {digest[:12]}..., "
            f"{CONFIG_NAME} states {config.sha256[:12]}...; copy or save both files again"
        )
    try:
        tensors = safetensors.torch.load_file(path, device=str(device))
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no safetensors file ({error})") from error
    found = {n: (list(t.shape), str(t.dtype).removeprefix("torch.")) for n, t in tensors.items()}
    stated = {s.names[0]: (s.shape, s.dtype) for s in config.tensors}
    if found != stated:
        odd = sorted(n for n in {*found, *stated} if found.get(n) != stated.get(n))
        raise CheckpointError(
            f"{path} holds other tensors than {CONFIG_NAME} states: {', '.join(odd[:3])} "
            f"({len(odd)} differ); copy or save both files again"
        )
    # In memory of torch's own: kernels round differently where the file leaves a tensor unaligned.
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _build(
    directory: Path, config: _Config, factory: Callable[[], nn.Module] | None, *, trust_code: bool
) -> nn.Module:
    # Random weights are drawn and thrown away; the caller's random state is not ours to change.
    with torch.random.fork_rng(devices=[]):
        if factory is not None:
            return factory()
        if config.source is None:
            raise CheckpointError(
                f"{directory} was saved without a source; pass factory=, a function that builds "
                "the unpruned network"
            )
        try:
            return build_from_source(config.source, trust_code=trust_code)
        except (ModelError, UnknownNameError, ValueError) as error:
            raise CheckpointError(
                f"{directory}: the network cannot be built from its source: {error}; "
                "or pass factory=, a function that builds it"
            ) from error


def _check_fit(directory: Path, model: nn.Module, config: _Config) -> None:
    """Refuse a class that never had the saved tensors."""
    stored = {name: s for s in config.tensors for name in s.names}
    missing = [name for name in stored if not _has_slot(model, name, stored[name].kind)]
    unexpected = [name for name, _, _ in named_tensors(model) if name not in stored]
    if missing or unexpected:
        raise CheckpointError(
            f"{directory}: the source builds another network ({type(model).__name__}): the file "
            f"has {_three(missing)} that it has not; it has {_three(unexpected)} that the file has "
            "not; correct the source, or pass factory="
        )
    for name, tensor, _ in named_tensors(model):
        shape = stored[name].shape
        owner = model.get_submodule(name.rpartition(".")[0])
        if not _could_become(list(tensor.shape), shape, owner):
            raise CheckpointError(
                f"{directory}: {name} has shape {shape} in the file and {list(tensor.shape)} in "
                f"the network that the source builds ({type(model).__name__}); removing channels "
                "cannot lead there: correct the source, or pass factory="
            )


def _could_become(dense: list[int], pruned: list[int], owner: nn.Module) -> bool:
    """Return whether removing channels leads from one shape to the other."""
    if len(dense) != len(pruned) or any(d < p for d, p in zip(dense, pruned, strict=True)):
        return False
    return not isinstance(owner, _ConvNd) or dense[2:] == pruned[2:]


def _three(names: list[str]) -> str:
    if not names:
        return "nothing"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, key = name.rpartition(".")
    return model.get_submodule(path), key


def _has_slot(model: nn.Module, name: str, kind: Kind) -> bool:
    """Return whether the model has a place for a tensor, maybe holding None."""
    try:
        owner, key = _owner(model, name)
    except AttributeError:
        return False
    return key in (owner._parameters if kind == "param" else owner._buffers)


def _set_edits(directory: Path, model: nn.Module, edits: Mapping[str, int]) -> None:
    """Set the integer attributes that pruning changed; nothing but integers is replaced."""
    for label, value in edits.items():
        path, key, item = label.rsplit("|", 2)
        try:
            module = model.get_submodule(path)
            old = getattr(module, key)
            index = int(item)
            new = value if index < 0 else [*old[:index], value, *old[index + 1 :]]
            known = type(old if index < 0 else old[index]) is int
        except (AttributeError, TypeError, ValueError, IndexError):
            known, module, new, old = False, model, value, None
        if not known:
            raise CheckpointError(
                f"{directory}: the saved network changed the integer attribute {key!r} of "
                f"{path or 'the model'}, which the network that the source builds does not have; "
                "correct the source, or pass factory="
            )
        setattr(module, key, new if isinstance(new, int) else type(old)(new))


def _set_tensor(model: nn.Module, stored: _Stored, tensor: Tensor, taken: set[int]) -> None:
    """Put one tensor under all its names; ``taken`` are the ids of those already set.

    The class's own tensors are filled where there are some: modules may refer to them elsewhere
    (an LSTM does).
    """
    owner, key = _owner(model, stored.names[0])
    old = getattr(owner, key)
    if old is None or id(old) in taken:
        new = nn.Parameter(tensor, stored.trainable) if stored.kind == "param" else tensor
    else:
        old.data = tensor
        new = old.requires_grad_(stored.trainable)
    taken.add(id(new))
    for name in stored.names:
        owner, key = _owner(model, name)
        if getattr(owner, key) is not new:
            setattr(owner, key, new)

"""Weights from files: read without running code, checked, then copied into a network."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from sentei.errors import ModelError

_SHOWN = 5  # names in a message
_COUNTER = ".num_batches_tracked"  # of batch norm; many files leave it out, training resets it


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The tensors of a file.

    Attributes:
        origin: The file's name, for messages.
        tensors: Name of a parameter or buffer -> its value.
    """

    origin: str
    tensors: Mapping[str, Tensor]


def read_weights(path: Path) -> Weights:
    """Read a ``.safetensors``, ``.pth`` or ``.pt`` file; nothing in it is executed.

    A mapping under ``state_dict`` is unpacked, and the prefix ``module.`` (of DataParallel) dropped.

    Raises:
        ModelError: the file is missing, torn, of another kind, or holds NaN or infinite values.
    """
    if not path.is_file():
        raise ModelError(f"weights {path}: there is no such file")
    if path.suffix == ".safetensors":
        content: Any = _read_safetensors(path)
    elif path.suffix in {".pth", ".pt"}:
        content = _read_torch(path)
    else:
        raise ModelError(
            f"weights {path}: expected a .safetensors, .pth or .pt file, found {path.suffix!r}"
        )
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    tensors = _tensors(path, content)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(
                f"weights {path}: {name} holds NaN or infinite values; "
                f"the training diverged or the file is damaged, use an earlier checkpoint"
            )
    return Weights(origin=str(path), tensors=tensors)


def classifier_size(weights: Weights, classifier: set[str]) -> int | None:
    """Return the number of classes ``weights`` were trained for, from the classifier's tensors."""
    for name in sorted(classifier):
        if name in weights.tensors and weights.tensors[name].dim() > 0:
            return weights.tensors[name].shape[0]
    return None


def fit_weights(model: nn.Module, weights: Weights, *, classifier: set[str]) -> tuple[str, ...]:
    """Copy ``weights`` into ``model`` in place; return notes on what was skipped.

    Args:
        model: The network; unchanged when an error is raised.
        weights: What to copy.
        classifier: Names of the tensors whose shape depends on the number of classes: skipped when
            their shapes differ.

    Raises:
        ModelError: names are missing or unexpected, or shapes differ.
    """
    own = model.state_dict()
    given = weights.tensors
    missing = [n for n in own if n not in given and not n.endswith(_COUNTER)]
    unexpected = [n for n in given if n not in own]
    if missing or unexpected:
        raise ModelError(
            f"weights {weights.origin} do not fit: missing {_show(missing)}; "
            f"unexpected {_show(unexpected)}; choose the network the file was made for"
        )
    differ = [n for n in given if given[n].shape != own[n].shape]
    skipped = [n for n in differ if n in classifier]
    if len(differ) > len(skipped):
        raise _shape_error(weights, own, [n for n in differ if n not in classifier])
    model.load_state_dict({n: t for n, t in given.items() if n not in skipped}, strict=False)
    return tuple(
        f"{n}: skipped, the file's shape is {list(given[n].shape)} and the network's "
        f"{list(own[n].shape)}; the classifier keeps random weights, train it"
        for n in skipped
    )


def _shape_error(weights: Weights, own: Mapping[str, Tensor], differ: list[str]) -> ModelError:
    given = weights.tensors
    name = differ[0]
    smaller = all(
        given[n].dim() == own[n].dim()
        and all(a <= b for a, b in zip(given[n].shape, own[n].shape, strict=True))
        for n in differ
    )
    hint = "choose the network the file was made for"
    if smaller:
        hint = (
            "all differing shapes are smaller: if the file holds an already pruned network, "
            "open it with sentei.load_pretrained"
        )
    return ModelError(
        f"weights {weights.origin} do not fit: {name} has shape {list(given[name].shape)} in the "
        f"file and {list(own[name].shape)} in the network ({len(differ)} tensors differ); {hint}"
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"weights {path} cannot be read: {error}; the file is torn, copy it again"
        ) from error


def _read_torch(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"weights {path} cannot be read: the file is torn, or holds Python objects, which are "
            f"never loaded; save model.state_dict() alone, best as .safetensors"
        ) from error
    except (EOFError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise ModelError(
            f"weights {path} cannot be read: {error}; the file is torn, copy it again"
        ) from error


def _tensors(path: Path, content: object) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        raise ModelError(
            f"weights {path}: expected a mapping of names to tensors (a state_dict), "
            f"found {type(content).__name__}"
        )
    tensors: dict[str, Tensor] = {}
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ModelError(
                f"weights {path}: entry {name!r} is {type(value).__name__}, expected a tensor; "
                f"save model.state_dict() alone, or under the key 'state_dict'"
            )
        tensors[name.removeprefix("module.")] = value
    return tensors


def _show(names: list[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

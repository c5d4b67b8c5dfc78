"""Apply: a plan and a model in, a new, smaller, ordinary module out."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from sentei.errors import PlanError
from sentei.graph import Layout
from sentei.graph.capture import named_tensors
from sentei.index.atoms import BoolArray, IntArray
from sentei.surgery.plan import Plan

# An integer attribute: path of the module, name, item of a tuple or list (else -1).
_Place = tuple[str, str, int]

# Attributes that state the sizes of the weight, dimension by dimension.
_SIZES_OF_WEIGHTS: tuple[tuple[type[nn.Module], tuple[str, ...]], ...] = (
    (nn.Linear, ("out_features", "in_features")),
    (nn.Bilinear, ("out_features", "in1_features", "in2_features")),
    (_NormBase, ("num_features",)),
    (nn.GroupNorm, ("num_channels",)),
    (nn.Embedding, ("num_embeddings", "embedding_dim")),
    (nn.EmbeddingBag, ("num_embeddings", "embedding_dim")),
    (nn.PReLU, ("num_parameters",)),
)


def apply(
    plan: Plan,
    model: nn.Module,
    *,
    in_place: bool = False,
    optimizer: torch.optim.Optimizer | None = None,
) -> nn.Module:
    """Return ``model`` without the channels that ``plan`` removes.

    The result is an ordinary module of the user's own class: parameters, buffers, gradients,
    ``requires_grad``, dtype, device, mode, hooks and shared weights survive.

    Args:
        plan: A plan made for a graph of this model.
        model: The traced model, or another of the same shapes (an average of its weights, say).
        in_place: Shrink ``model`` itself; parameters stay the same objects.
        optimizer: Its state (momentum, moments) is sliced too, and its parameters exchanged
            for those of the result. Changed in place.

    Raises:
        PlanError: The model's tensors do not have the shapes of the traced model, or the
            optimizer's state cannot be sliced. Nothing has been changed then.
    """
    changes = _changes(plan)
    _check(plan, model, changes)
    # Inference mode would make tensors that can never be trained.
    with torch.inference_mode(mode=False):
        sliced = _slice_all(plan, model)
        state = _sliced_state(plan, model, optimizer)
        if in_place:
            small = model
            for tensor, (new, grad) in sliced.items():
                tensor.grad = None
                tensor.data = new
                tensor.grad = grad
        else:
            small = copy.deepcopy(model, _replacements(model, sliced))
    _set_attributes(small, changes)
    if optimizer is not None:
        _exchange(optimizer, model, small, state)
    _append_history(plan, small, changes)
    return small


class Slicer:
    """Cuts tensors down to what stays under one plan; positions are worked out once a layout.

    Args:
        keep: Which channels of all groups stay, shape [channels], True = keep.
    """

    def __init__(self, keep: BoolArray) -> None:
        self._keep = np.append(keep, True)
        self._positions: dict[int, Tensor | None] = {}
        self._alive: list[IntArray] = []

    def positions(self, channels: IntArray) -> Tensor | None:
        """Return the positions of a dimension that stay, shape [kept]; None if all do."""
        key = id(channels)
        if key not in self._positions:
            self._alive.append(channels)
            stay = self._keep[channels]
            found = None if stay.all() else torch.from_numpy(np.flatnonzero(stay))
            self._positions[key] = found
        return self._positions[key]

    def cut(self, tensor: Tensor, layout: Layout) -> Tensor:
        """Return the positions of ``tensor`` that stay; the tensor itself if all do."""
        if layout.inner is not None:
            tensor = self._cut_inner(tensor, layout)
        for dim, channels in enumerate(layout.dims):
            index = None if channels is None else self.positions(channels)
            if index is not None:
                tensor = tensor.index_select(dim, index.to(tensor.device))
        return tensor if layout.pick is None else self._renumbered(tensor, layout.pick.source)

    def _renumbered(self, indices: Tensor, source: IntArray) -> Tensor:
        """Return what numbers of positions become when others go; a mask has no numbers."""
        stay = self._keep[source]
        if stay.all() or indices.dtype is torch.bool:
            return indices
        numbers = torch.from_numpy(np.cumsum(stay) - 1).to(indices)
        return numbers[indices.long()]

    def _cut_inner(self, tensor: Tensor, layout: Layout) -> Tensor:
        """Cut dimension 1 of the weight of a grouped convolution, where every row may differ."""
        assert layout.inner is not None
        stay = self._keep[layout.inner]
        if stay.all():
            return tensor
        if layout.dims[0] is not None:
            # Rows that go anyway may keep another number of columns: give them the first ones.
            gone = ~self._keep[layout.dims[0]]
            stay[gone] = stay[np.flatnonzero(~gone)[0]]
        columns = np.nonzero(stay)[1].reshape(len(stay), -1)
        rows = torch.arange(len(stay), device=tensor.device)[:, None]
        return tensor[rows, torch.from_numpy(columns).to(tensor.device)]


def _check(plan: Plan, model: nn.Module, changes: Mapping[_Place, int]) -> None:
    tensors = {name: tensor for name, tensor, _ in named_tensors(model)}
    owner: dict[int, str] = {}
    for first, layout in plan.graph.layouts.items():
        for name in layout.names:
            found = tuple(tensors[name].shape) if name in tensors else "no such tensor"
            if found != layout.shape:
                raise PlanError(
                    f"{name}: the plan was made for shape {layout.shape}, the model has {found}; "
                    "trace this model and plan again (a pruned model needs a plan of its own)"
                )
            pick = layout.pick
            if pick is not None and not np.array_equal(tensors[name].cpu().numpy(), pick.indices):
                raise PlanError(
                    f"{name}: this buffer of indices holds other numbers than when the model was "
                    "traced; trace this model and plan again"
                )
            if owner.setdefault(id(tensors[name]), first) != first:
                raise PlanError(
                    f"{name} and {owner[id(tensors[name])]} are one tensor of this model, but were "
                    "two in the traced one; trace this model and plan again"
                )
    for (path, key, item), count in changes.items():
        before = len(plan.graph.attributes[path, key, item])
        found = _attribute(model, path, key, item)
        if found != before:
            label = key if item < 0 else f"{key}[{item}]"
            raise PlanError(
                f"{label} of {path or 'the model'} is {found}, expected {before} (to become "
                f"{count}); trace this model and plan again"
            )


def _attribute(model: nn.Module, path: str, key: str, item: int) -> Any:  # noqa: ANN401
    try:
        value = getattr(model.get_submodule(path), key)
        return value if item < 0 else value[item]
    except (AttributeError, IndexError, TypeError):
        return None


def _changes(plan: Plan) -> dict[_Place, int]:
    """Return the integer attributes that change, and their new values."""
    keep = np.append(plan.keep, True)
    counts = {k: int(np.count_nonzero(keep[c])) for k, c in plan.graph.attributes.items()}
    return {k: n for k, n in counts.items() if n != len(plan.graph.attributes[k])}


def _slice_all(plan: Plan, model: nn.Module) -> dict[Tensor, tuple[Tensor, Tensor | None]]:
    tensors = {name: t for name, t, _ in named_tensors(model)}
    slicer = Slicer(plan.keep)
    sliced: dict[Tensor, tuple[Tensor, Tensor | None]] = {}
    # By all names: another model (an average of weights) may not share what the traced one does.
    layouts = {tensors[n]: layout for layout in plan.graph.layouts.values() for n in layout.names}
    with torch.no_grad():
        for tensor, layout in layouts.items():
            old = tensor.detach()
            new = slicer.cut(old, layout)
            if new is not old:
                grad = tensor.grad if tensor.is_leaf else None
                grad = None if grad is None else slicer.cut(grad, layout)
                sliced[tensor] = (_in_format_of(tensor, new), grad)
    return sliced


def _in_format_of(old: Tensor, new: Tensor) -> Tensor:
    """Return ``new`` channels last if ``old`` is; selecting forgets it."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(old.dim())
    if last is None or old.is_contiguous() or not old.is_contiguous(memory_format=last):
        return new
    return new.contiguous(memory_format=last)


def _replacements(
    model: nn.Module, sliced: dict[Tensor, tuple[Tensor, Tensor | None]]
) -> dict[int, Any]:
    """Return what deepcopy shall put in place of tensors, by id; by itself it drops gradients."""
    memo: dict[int, Any] = {id(t): _like(t, new, grad) for t, (new, grad) in sliced.items()}
    for parameter in model.parameters():
        if parameter.grad is not None and parameter not in sliced:
            new = parameter.detach().clone()
            memo[id(parameter)] = _like(parameter, new, parameter.grad.clone())
    return memo


def _like(old: Tensor, new: Tensor, grad: Tensor | None) -> Tensor:
    if isinstance(old, nn.Parameter):
        result: Tensor = type(old)(new, old.requires_grad)
        result.grad = grad
        return result
    return new


def _set_attributes(small: nn.Module, changes: Mapping[_Place, int]) -> None:
    for (path, key, item), count in changes.items():
        module = small.get_submodule(path)
        if item < 0:
            setattr(module, key, count)
        else:
            values = list(getattr(module, key))
            values[item] = count
            setattr(module, key, type(getattr(module, key))(values))
    state_sizes(small)


def state_sizes(model: nn.Module) -> None:
    """Set the attributes with which torch's own layers state sizes, from their tensors' shapes."""
    for module in model.modules():
        for key, value in _stated(module):
            if getattr(module, key) != value:
                setattr(module, key, value)


def _stated(module: nn.Module) -> Iterator[tuple[str, Any]]:
    if isinstance(module, nn.MultiheadAttention) and module._qkv_same_embed_dim:
        yield from (("kdim", module.embed_dim), ("vdim", module.embed_dim))
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or isinstance(weight, nn.UninitializedParameter):
        if isinstance(module, _NormBase) and isinstance(module.running_mean, Tensor):
            yield "num_features", module.running_mean.shape[0]
        return
    shape = tuple(weight.shape)
    if isinstance(module, _ConvTransposeNd):
        yield from (("in_channels", shape[0]), ("out_channels", shape[1] * module.groups))
    elif isinstance(module, _ConvNd):
        yield from (("out_channels", shape[0]), ("in_channels", shape[1] * module.groups))
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        yield "normalized_shape", shape
    for kind, names in _SIZES_OF_WEIGHTS:
        if isinstance(module, kind):
            yield from zip(names, shape, strict=False)


# Optimizers ------------------------------------------------------------------------------------


def _sliced_state(
    plan: Plan, model: nn.Module, optimizer: torch.optim.Optimizer | None
) -> dict[str, dict[str, Any]]:
    """Return the sliced state of every parameter of the model, by name."""
    if optimizer is None:
        return {}
    result: dict[str, dict[str, Any]] = {}
    slicer = Slicer(plan.keep)
    layouts = {name: layout for layout in plan.graph.layouts.values() for name in layout.names}
    for name, parameter, _ in named_tensors(model):
        state = optimizer.state.get(parameter)
        if not state:
            continue
        layout = layouts.get(name)
        if layout is None or slicer.cut(parameter.detach(), layout).shape == parameter.shape:
            result[name] = dict(state)
            continue
        result[name] = new = {}
        for key, value in state.items():
            is_tensor = isinstance(value, Tensor) and value.dim() > 0
            if is_tensor and value.shape != parameter.shape:
                raise PlanError(
                    f"{type(optimizer).__name__} keeps {key} of shape {tuple(value.shape)} for "
                    f"{name} of shape {tuple(parameter.shape)}, which cannot be sliced; make a new "
                    "optimizer for the pruned model"
                )
            new[key] = slicer.cut(value, layout).clone() if is_tensor else value
    return result


def _exchange(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    small: nn.Module,
    state: dict[str, dict[str, Any]],
) -> None:
    new = dict(small.named_parameters(remove_duplicate=False))
    names: dict[int, str] = {}
    for name, parameter, kind in named_tensors(model):
        if kind == "param":
            names.setdefault(id(parameter), name)
    for group in optimizer.param_groups:
        for index, parameter in enumerate(group["params"]):
            if id(parameter) not in names:
                continue
            name = names[id(parameter)]
            optimizer.state.pop(parameter, None)
            group["params"][index] = new[name]
            if name in state:
                optimizer.state[new[name]] = state[name]


# What was done, for saving ---------------------------------------------------------------------


def _append_history(plan: Plan, small: nn.Module, changes: Mapping[_Place, int]) -> None:
    """Note on the module what was removed; plain data that copies and pickles."""
    edits = dict(getattr(small, "_sentei_edits", {}))
    edits |= {f"{path}|{key}|{item}": n for (path, key, item), n in changes.items()}
    history = [
        *getattr(small, "_sentei_history", []),
        {k: list(v) for k, v in plan.removed.items()},
    ]
    vars(small)["_sentei_edits"] = edits
    vars(small)["_sentei_history"] = history

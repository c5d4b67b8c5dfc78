"""Apply: a plan and a model in, a new, smaller, ordinary module out."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from sentei.errors import PlanError
from sentei.graph import Layout, kept
from sentei.graph.capture import named_tensors
from sentei.index.atoms import BoolArray, IntArray
from sentei.surgery.plan import Plan


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
        PlanError: The model's tensors do not have the shapes of the traced model. Nothing has
            been changed then.
    """
    _check(plan, model)
    sliced = _slice_all(plan, model)
    if in_place:
        small = model
        state = _sliced_state(plan, model, optimizer)
        for tensor, (new, grad) in sliced.items():
            tensor.grad = None
            tensor.data = new
            tensor.grad = grad
    else:
        state = _sliced_state(plan, model, optimizer)
        memo: dict[int, Any] = {id(t): _like(t, new, grad) for t, (new, grad) in sliced.items()}
        small = copy.deepcopy(model, memo)
    _set_attributes(plan, small)
    if optimizer is not None:
        _exchange(optimizer, model, small, state)
    _append_history(plan, small)
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
        return tensor

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


def _check(plan: Plan, model: nn.Module) -> None:
    shapes = {name: tuple(t.shape) for name, t, _ in named_tensors(model)}
    for layout in plan.graph.layouts.values():
        for name in layout.names:
            if shapes.get(name) != layout.shape:
                found = shapes.get(name, "no such tensor")
                raise PlanError(
                    f"{name}: the plan was made for shape {layout.shape}, the model has {found}; "
                    "trace this model and plan again (a pruned model needs a plan of its own)"
                )


def _slice_all(plan: Plan, model: nn.Module) -> dict[Tensor, tuple[Tensor, Tensor | None]]:
    tensors = {name: t for name, t, _ in named_tensors(model)}
    slicer = Slicer(plan.keep)
    sliced = {}
    with torch.no_grad():
        for name, layout in plan.graph.layouts.items():
            tensor = tensors[name]
            new = slicer.cut(tensor.detach(), layout)
            if new.shape != tensor.shape:
                grad = None if tensor.grad is None else slicer.cut(tensor.grad, layout)
                sliced[tensor] = (new, grad)
    return sliced


def _like(old: Tensor, new: Tensor, grad: Tensor | None) -> Tensor:
    if isinstance(old, nn.Parameter):
        result = nn.Parameter(new, requires_grad=old.requires_grad)
        result.grad = grad
        return result
    return new


def _set_attributes(plan: Plan, small: nn.Module) -> None:
    for (path, key, item), channels in plan.graph.attributes.items():
        count = int(kept(channels, plan.keep).sum())
        if count == len(channels):
            continue
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
    elif isinstance(module, nn.Linear):
        yield from (("out_features", shape[0]), ("in_features", shape[1]))
    elif isinstance(module, nn.Bilinear):
        yield from zip(("out_features", "in1_features", "in2_features"), shape, strict=True)
    elif isinstance(module, _NormBase):
        yield "num_features", shape[0]
    elif isinstance(module, nn.GroupNorm):
        yield "num_channels", shape[0]
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        yield "normalized_shape", shape
    elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
        yield from (("num_embeddings", shape[0]), ("embedding_dim", shape[1]))
    elif isinstance(module, nn.PReLU):
        yield "num_parameters", shape[0]


# Optimizers ------------------------------------------------------------------------------------


def _sliced_state(
    plan: Plan, model: nn.Module, optimizer: torch.optim.Optimizer | None
) -> dict[str, dict[str, Any]]:
    """Return the sliced state of every parameter of the model, by name."""
    if optimizer is None:
        return {}
    result = {}
    slicer = Slicer(plan.keep)
    for name, parameter, _ in named_tensors(model):
        state = optimizer.state.get(parameter)
        if not state:
            continue
        layout = plan.graph.layouts.get(name)
        result[name] = {
            key: slicer.cut(value, layout).clone()
            if layout is not None and isinstance(value, Tensor) and value.shape == parameter.shape
            else value
            for key, value in state.items()
        }
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
            name = names.get(id(parameter))
            if name is None:
                continue
            optimizer.state.pop(parameter, None)
            group["params"][index] = new[name]
            if name in state:
                optimizer.state[new[name]] = state[name]


# What was done, for saving ---------------------------------------------------------------------


def _append_history(plan: Plan, small: nn.Module) -> None:
    """Note on the module what was removed; plain data that copies and pickles."""
    edits = dict(getattr(small, "_sentei_edits", {}))
    for (path, key, item), channels in plan.graph.attributes.items():
        count = int(kept(channels, plan.keep).sum())
        if count != len(channels):
            edits[f"{path}|{key}|{item}"] = count
    history = [*getattr(small, "_sentei_history", []), {k: list(v) for k, v in plan.removed.items()}]
    vars(small)["_sentei_edits"] = edits
    vars(small)["_sentei_history"] = history

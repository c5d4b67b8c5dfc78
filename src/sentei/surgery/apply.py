"""Apply: a plan and a model in, a new, smaller, ordinary module out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sentei.errors import PlanError, check_type
from sentei.graph.capture import copied, named_tensors
from sentei.graph.positions import Place
from sentei.surgery.plan import Plan
from sentei.surgery.sizes import state_sizes
from sentei.surgery.slicer import Slicer

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}

_Modules = Mapping[str, nn.Module]
_Fitted = Sequence[tuple[Tensor, str]]


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
        TypeError: ``plan`` is no plan, or ``model`` no module.
    """
    check_type("plan", plan, Plan)
    check_type("model", model, nn.Module)
    slicer = Slicer(plan)
    changes = slicer.changes()
    skeleton = plan.graph.skeleton
    modules = skeleton.modules(model)
    fitted = _fit(plan, modules)
    _check_attributes(plan, modules, changes)
    # Inference mode would make tensors that can never be trained.
    with torch.inference_mode(mode=False):
        state = _sliced_state(plan, model, optimizer, slicer)
        if in_place:
            small = model
            _shrink(fitted, slicer)
        else:
            small = copied(model, _replacements(model, fitted, slicer))
            modules = skeleton.modules(small)
    _set_attributes(modules, changes)
    if optimizer is not None:
        _exchange(optimizer, model, small, state)
    _append_history(plan, small, changes)
    return small


def _fit(plan: Plan, modules: _Modules) -> _Fitted:
    """Return every tensor that channels own a part of, with its first name; the largest first.

    Raises:
        PlanError: The tensors do not have the shapes, or the sharing, of the traced model.
    """
    # By all names: another model (an average of weights) may not share what the traced one does.
    fitted: dict[int, tuple[Tensor, str]] = {}
    layouts = plan.graph.layouts
    for home in plan.graph.skeleton.homes:
        tensor = home.tensor(modules)
        if tensor is None or tensor.shape != home.shape:
            found = "no such tensor" if tensor is None else tuple(tensor.shape)
            raise PlanError(
                f"{home.name}: the plan was made for shape {home.shape}, the model has {found}; "
                "trace this model and plan again (a pruned model needs a plan of its own)"
            )
        pick = layouts[home.first].pick
        if pick is not None and not np.array_equal(tensor.cpu().numpy(), pick.indices):
            raise PlanError(
                f"{home.name}: this buffer of indices holds other numbers than when the model was "
                "traced; trace this model and plan again"
            )
        other = fitted.setdefault(id(tensor), (tensor, home.first))[1]
        if other != home.first:
            raise PlanError(
                f"{home.name} and {other} are one tensor of this model, but were "
                "two in the traced one; trace this model and plan again"
            )
    return list(fitted.values())


def _check_attributes(plan: Plan, modules: _Modules, changes: Mapping[Place, int]) -> None:
    for (path, key, item), count in changes.items():
        before = len(plan.graph.attributes[path, key, item])
        found = _attribute(modules.get(path), key, item)
        if found != before:
            label = key if item < 0 else f"{key}[{item}]"
            raise PlanError(
                f"{label} of {path or 'the model'} is {found}, expected {before} (to become "
                f"{count}); trace this model and plan again"
            )


def _attribute(module: nn.Module | None, key: str, item: int) -> Any:  # noqa: ANN401
    try:
        value = getattr(module, key)
        return value if item < 0 else value[item]
    except (AttributeError, IndexError, TypeError):
        return None


@torch.no_grad()
def _shrink(fitted: _Fitted, slicer: Slicer) -> None:
    """Cut every tensor down in place.

    The largest come first, each leaving its room to the next: memory that suffices for the first
    suffices for all, and where it does not nothing has changed yet.
    """
    grads = {
        id(t): slicer.cut(t.grad, name) for t, name in fitted if t.is_leaf and t.grad is not None
    }
    for tensor, name in fitted:
        new = slicer.cut(tensor, name)
        if new is not tensor:
            new = _in_format_of(tensor, new)
            if grads:
                tensor.grad = None  # of the old shape
            tensor.data = new
            if id(tensor) in grads:
                tensor.grad = grads[id(tensor)]


def _in_format_of(old: Tensor, new: Tensor) -> Tensor:
    """Return ``new`` channels last if ``old`` is; selecting forgets it."""
    if old.is_contiguous():
        return new
    last = _CHANNELS_LAST.get(old.dim())
    if last is None or not old.is_contiguous(memory_format=last):
        return new
    return new.contiguous(memory_format=last)


def _replacements(model: nn.Module, fitted: _Fitted, slicer: Slicer) -> dict[int, Any]:
    """Return what deepcopy shall put in place of tensors, by id; by itself it drops gradients and hooks."""
    memo: dict[int, Any] = {}
    with torch.no_grad():
        for tensor, name in fitted:
            new = slicer.cut(tensor, name)
            if new is not tensor:
                grad = tensor.grad if tensor.is_leaf else None
                grad = None if grad is None else slicer.cut(grad, name)
                memo[id(tensor)] = _like(tensor, _in_format_of(tensor, new), grad)
    for parameter in model.parameters():
        grad = parameter.grad
        if id(parameter) not in memo and (grad is not None or any(_hooks(parameter))):
            new = parameter.detach().clone()
            memo[id(parameter)] = _like(parameter, new, None if grad is None else grad.clone())
    return memo


def _hooks(tensor: Tensor) -> tuple[list[Any], list[Any]]:
    """Return the hooks on the gradient of a tensor, and those that run after it is accumulated."""
    after = getattr(tensor, "_post_accumulate_grad_hooks", None)
    return list((tensor._backward_hooks or {}).values()), list((after or {}).values())


def _like(old: Tensor, new: Tensor, grad: Tensor | None) -> Tensor:
    if isinstance(old, nn.Parameter):
        result: Tensor = type(old)(new, old.requires_grad)
        result.grad = grad
        on_gradient, after = _hooks(old)
        for hook in on_gradient:
            result.register_hook(hook)
        for hook in after:
            result.register_post_accumulate_grad_hook(hook)
        return result
    return new


def _set_attributes(modules: _Modules, changes: Mapping[Place, int]) -> None:
    for (path, key, item), count in changes.items():
        module = modules[path]
        if item < 0:
            setattr(module, key, count)
        else:
            values = list(getattr(module, key))
            values[item] = count
            setattr(module, key, type(getattr(module, key))(values))
    state_sizes(modules.values())


# Optimizers ------------------------------------------------------------------------------------


def _sliced_state(
    plan: Plan, model: nn.Module, optimizer: torch.optim.Optimizer | None, slicer: Slicer
) -> dict[str, dict[str, Any]]:
    """Return the sliced state of every parameter of the model, by name."""
    if optimizer is None:
        return {}
    result: dict[str, dict[str, Any]] = {}
    firsts = {name: first for first, layout in plan.graph.layouts.items() for name in layout.names}
    for name, parameter, _ in named_tensors(model):
        state = optimizer.state.get(parameter)
        if not state:
            continue
        first = firsts.get(name)
        if first is None or slicer.cut(parameter.detach(), first).shape == parameter.shape:
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
            new[key] = slicer.cut(value, first).clone() if is_tensor else value
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


def _append_history(plan: Plan, small: nn.Module, changes: Mapping[Place, int]) -> None:
    """Note on the module what was removed; plain data that copies and pickles."""
    edits = dict(getattr(small, "_sentei_edits", {}))
    edits |= {f"{path}|{key}|{item}": n for (path, key, item), n in changes.items()}
    history = [
        *getattr(small, "_sentei_history", []),
        {k: list(v) for k, v in plan.removed.items()},
    ]
    vars(small)["_sentei_edits"] = edits
    vars(small)["_sentei_history"] = history

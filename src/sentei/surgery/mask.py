"""Mask: the same plan on the full-size model, as the reference of what pruning means.

The original forward runs at full width. Before every call into torch, the removed channels of
its tensor arguments are set to zero, so they contribute nothing. Where a removed channel would
enter a statistic (a mean, a softmax, a norm), zero is a contribution too: there the call runs on
the kept channels alone and its result is put back into place.
"""

# Arguments and results of torch's calls may be anything.
# ruff: noqa: ANN401

from typing import Any

import torch
from torch import Tensor, nn

from sentei.errors import check_type
from sentei.graph import Graph, kept
from sentei.graph.capture import map_tensors, no_fast_path, tensors_in
from sentei.graph.follow import Follow
from sentei.index.atoms import BoolArray
from sentei.surgery.plan import Plan

# Calls in which zeros would count: statistics, and functions that are singular at zero.
_STATISTICS = frozenset(
    {
        "layer_norm", "group_norm", "rms_norm", "softmax", "log_softmax", "softmin", "mean",
        "var", "std", "var_mean", "std_mean", "amax", "amin", "max", "min", "logsumexp", "prod",
        "median", "normalize", "norm", "vector_norm", "_weight_norm", "div", "true_divide",
        "__truediv__", "__rtruediv__", "__rdiv__", "rsqrt", "sqrt", "reciprocal", "log", "pow",
        "batch_norm", "instance_norm", "cosine_similarity", "scaled_dot_product_attention",
        "local_response_norm",
    }
)  # fmt: skip
_IN_PLACE = frozenset({"__setitem__", "__iadd__", "__imul__", "__isub__", "__itruediv__"})
# Views compute nothing, and writing through one must reach its base: they run as they are.
_VIEWS = frozenset(
    {
        "__getitem__", "view", "transpose", "permute", "narrow", "chunk", "split", "unbind",
        "select", "squeeze", "unsqueeze", "expand", "expand_as", "flatten", "t", "detach",
        "movedim", "swapaxes", "unflatten", "view_as", "tensor_split", "diagonal", "unfold",
    }
)  # fmt: skip


class Masked(nn.Module):
    """The original model, computing as if the plan had been applied.

    Args:
        plan: The plan.
        model: The model; shared, not copied.
    """

    def __init__(self, plan: Plan, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.plan = plan

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model's forward with the removed channels held at zero contribution."""
        recording = self.plan.graph.recording
        with no_fast_path(), Follow(recording, _Masking(self.plan).run):
            return self.model(*args, **kwargs)


def mask(plan: Plan, model: nn.Module) -> Masked:
    """Return a module of full size that computes what the pruned network will compute.

    The model is shared: training the masked module trains it.

    Raises:
        TypeError: ``plan`` is no plan, or ``model`` no module.
    """
    check_type("plan", plan, Plan)
    check_type("model", model, nn.Module)
    return Masked(plan, model)


class _Masking:
    def __init__(self, plan: Plan) -> None:
        self.graph: Graph = plan.graph
        self.keep: BoolArray = plan.keep
        self._stays: dict[int, dict[int, Tensor]] = {}

    def run(self, index: int, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one call on the kept channels."""
        call = self.graph.recording.calls[index]
        name = call.function
        as_it_is = (
            name in _VIEWS
            or name in _IN_PLACE
            or (name.endswith("_") and not name.endswith("__"))
            or kwargs.get("inplace") is True
            or (name in ("relu", "relu6", "silu", "hardtanh", "elu", "leaky_relu", "mish",
                         "hardswish", "hardsigmoid", "dropout", "celu", "selu", "threshold")
                and args[1:] and args[-1] is True)
        )  # fmt: skip
        if as_it_is:
            return func(*args, **kwargs)
        values = iter(call.tensors)
        stays = [self.stays(next(values, -1)) for _ in tensors_in((args, kwargs))]
        if not any(stays):
            return func(*args, **kwargs)
        if name in _STATISTICS and _mixes(name, stays):
            return self._compact(func, name, (args, kwargs), (stays, call.results))
        each = iter(stays)
        args, kwargs = map_tensors((args, kwargs), lambda t: _zeroed(t, next(each)))
        return func(*args, **kwargs)

    def stays(self, value: int) -> dict[int, Tensor]:
        """Return for a value, for every dimension that loses positions, which stay."""
        if value not in self._stays:
            channels = enumerate(self.graph.values.get(value, ()))
            stays = {dim: kept(own, self.keep) for dim, own in channels if own is not None}
            self._stays[value] = {
                dim: torch.from_numpy(stay) for dim, stay in stays.items() if not stay.all()
            }
        return self._stays[value]

    def _compact(self, func: Any, name: str, arguments: Any, values: Any) -> Any:
        stays, results = values
        each = iter(stays)
        args, kwargs = map_tensors(arguments, lambda t: _gathered(t, next(each)))
        args = list(args)
        if name in ("layer_norm", "rms_norm"):
            count = len(args[1]) if len(args) > 1 else len(kwargs["normalized_shape"])
            shape = tuple(args[0].shape[-count:])
            if len(args) > 1:
                args[1] = shape
            else:
                kwargs["normalized_shape"] = shape
        if name == "group_norm" and args[1] == arguments[0][0].shape[1]:
            args[1] = args[0].shape[1]
        out = func(*args, **kwargs)
        known = iter(results)
        return map_tensors(out, lambda t: _scattered(t, self.stays(next(known, -1))))


def _mixes(name: str, stays: list[dict[int, Tensor]]) -> bool:
    """A batch norm along dimension 1 treats channels one by one: zeros harm nothing."""
    return name != "batch_norm" or any(dim != 1 for dim in stays[0])


def _along(stay: Tensor, dim: int, tensor: Tensor) -> Tensor:
    shape = [1] * tensor.dim()
    shape[dim] = len(stay)
    return stay.to(tensor.device).view(shape)


def _zeroed(tensor: Tensor, stays: dict[int, Tensor]) -> Tensor:
    for dim, stay in stays.items():
        tensor = torch.where(_along(stay, dim, tensor), tensor, torch.zeros_like(tensor))
    return tensor


def _gathered(tensor: Tensor, stays: dict[int, Tensor]) -> Tensor:
    for dim, stay in stays.items():
        tensor = tensor.index_select(dim, stay.nonzero()[:, 0].to(tensor.device))
    return tensor


def _scattered(tensor: Tensor, stays: dict[int, Tensor]) -> Tensor:
    for dim, stay in stays.items():
        shape = list(tensor.shape)
        shape[dim] = len(stay)
        index = stay.nonzero()[:, 0].to(tensor.device)
        tensor = tensor.new_zeros(shape).index_copy(dim, index, tensor)
    return tensor


__all__ = ["Masked", "mask"]

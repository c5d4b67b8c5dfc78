"""Torch-Pruning and sentei on one network: seconds, memory, and which of the two is right.

Both remove half of the channels of every layer, those of least L1 norm, in place. What is right is judged
for both by the same means, which knows nothing of either: every weight is a number that occurs
once, so the weights that survive are found in the original by their values; all others are set
to zero there, norms over channels leave them out, and the original must then compute what the
pruned network computes.
"""

import copy
import gc
import importlib
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from benchmarks.zoolib.build import Built, build
from benchmarks.zoolib.check import distance, read_memory, reset_peak
from benchmarks.zoolib.yolo import AnchorDetect, Detect
from sentei.allocate import plan_widths
from sentei.criteria import Scores, score
from sentei.graph import Graph, trace
from sentei.graph.capture import map_tensors, tensors_in
from sentei.index.atoms import IntArray
from sentei.surgery import apply

Scoring = Callable[[Graph, nn.Module], Scores]
RATIO = 0.5
REPEATS = 5
MAX_SECONDS = 20.0
TOLERANCE = 1e-6
_PIECE = 1 << 20


# The two tools ---------------------------------------------------------------------------------


def halves(graph: Graph) -> IntArray:
    """Return half of the width of every group, equally many in every row, at least one."""
    rows = np.array([g.num_rows for g in graph.groups], dtype=np.int64)
    return np.maximum(1, np.rint((1 - RATIO) * graph.widths / rows)).astype(np.int64) * rows


def sentei_step(graph: Graph, model: nn.Module, scoring: Scoring) -> nn.Module:
    """Return the pruned network, from a graph that is traced. Changes ``model``."""
    plan = plan_widths(graph, scoring(graph, model), halves(graph))
    return apply(plan, model, in_place=True)


def scores(graph: Graph, model: nn.Module) -> Scores:
    """Return the L1 norm of what every channel owns."""
    return score(graph, "l1", model=model)


def sentei_whole(model: nn.Module, inputs: tuple[Any, ...]) -> nn.Module:
    """Return the pruned network, from nothing. Changes ``model``."""
    return sentei_step(trace(model, inputs), model, scores)


class Timed:
    """A function that adds up the CPU seconds it takes.

    Attributes:
        seconds: So far.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.seconds = 0.0

    def __call__(self, *args: Any) -> Any:  # noqa: ANN401 - as the function
        """Call the function."""
        start = time.process_time()
        result = self.function(*args)
        self.seconds += time.process_time() - start
        return result


def rival_pruner(model: nn.Module, inputs: tuple[Any, ...]) -> Any:  # noqa: ANN401 - has no types
    """Return Torch-Pruning's pruner, its dependency graph built, set up as its examples do."""
    pruning = importlib.import_module("torch_pruning")
    modules: Mapping[str, Any] = dict(model.named_modules())
    heads = {m.qkv: m.num_heads for m in modules.values() if _has_heads(m)}
    heads |= {m: m.num_heads for m in modules.values() if isinstance(m, nn.MultiheadAttention)}
    detectors: list[nn.Module] = [
        m for m in modules.values() if isinstance(m, Detect | AnchorDetect)
    ]
    linear = [m for m in modules.values() if isinstance(m, nn.Linear | nn.Conv2d)]
    return pruning.pruner.BasePruner(
        model,
        inputs[0],
        importance=Timed(pruning.importance.GroupMagnitudeImportance(p=1)),
        pruning_ratio=RATIO,
        ignored_layers=detectors or [linear[-1]],
        num_heads=heads,
        round_to=max(heads.values()) if _is_vision_transformer(model) else None,
    )


def _is_vision_transformer(model: nn.Module) -> bool:
    """Whether it is that of torchvision, whose forward reads its width from an attribute."""
    return hasattr(model, "conv_proj") and hasattr(model, "hidden_dim")


def _has_heads(module: Any) -> bool:  # noqa: ANN401 - any module
    return isinstance(getattr(module, "qkv", None), nn.Linear) and hasattr(module, "num_heads")


def rival_step(pruner: Any) -> nn.Module:  # noqa: ANN401 - has no types
    """Return the pruned network, from a pruner that is built. Changes its model."""
    pruner.step()
    model: Any = pruner.model
    if _is_vision_transformer(model):
        model.hidden_dim = model.conv_proj.out_channels
    modules: Mapping[str, Any] = dict(model.named_modules())
    for module in modules.values():
        if _has_heads(module):
            module.num_heads = pruner.num_heads[module.qkv]
            module.head_dim = module.qkv.out_features // (3 * module.num_heads)
            module.attn_dim = module.num_heads * module.head_dim  # what timm's forward reads
    pruned: nn.Module = model
    return pruned


def rival_whole(model: nn.Module, inputs: tuple[Any, ...]) -> nn.Module:
    """Return the pruned network, from nothing. Changes ``model``."""
    return rival_step(rival_pruner(model, inputs))


TOOLS: Mapping[str, Callable[[nn.Module, tuple[Any, ...]], nn.Module]] = {
    "sentei": sentei_whole,
    "torch-pruning": rival_whole,
}


# What is right ---------------------------------------------------------------------------------


def probe(task: str) -> dict[str, Any]:
    """Prune one network once with one tool, in a fresh process: peak memory, and is it right?

    Args:
        task: Tool and network, ``sentei torchvision:resnet18``.
    """
    tool, _, name = task.partition(" ")
    _prepare()
    built = build(name)
    exact = unique(built)
    record: dict[str, Any] = {"name": task, "ok": False, "silent": False, "stage": "prune"}
    model = built.model
    gc.collect()
    before, start = reset_peak(), time.process_time()
    try:
        small = TOOLS[tool](model, built.inputs)
        record["first_seconds"] = round(time.process_time() - start, 4)
        record["peak_bytes"] = max(0, read_memory("VmHWM") - before)
        record["removed"] = round(1 - _size(small) / _size(exact.model), 4)
        record["stage"] = "forward"
        _outputs(small, built.inputs)
        record["stage"] = "numbers"
        del model, small
        small = TOOLS[tool](copy.deepcopy(exact.model), exact.inputs)
        error = difference(exact.model, small, exact.inputs)
        record |= {"error": error, "ok": error <= TOLERANCE, "silent": not error <= TOLERANCE}
        record["reason"] = "" if record["ok"] else f"outputs differ by {error:.1e}"
    except Exception as error:  # noqa: BLE001 - whatever it is goes into the table
        record["reason"] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    return record


def _prepare() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # An attention whose scale is an attribute keeps it when head widths change: fair to both.
    importlib.import_module("timm.layers").set_fused_attn(False)


def _size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
def _outputs(model: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    return list(tensors_in(model(*inputs)))


@torch.no_grad()
def unique(built: Built) -> Built:
    """Return a float64 copy of a network in which every weight is a number that occurs once."""
    generator = torch.Generator().manual_seed(2)
    model = copy.deepcopy(built.model).double()
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.add_(1e-3 * noise)
    return Built(model=model, inputs=map_tensors(built.inputs, Tensor.double))


def difference(original: nn.Module, small: nn.Module, inputs: tuple[Any, ...]) -> float:
    """Return how far a pruned network is from the original with all it lost set to zero.

    Args:
        original: Made by :func:`unique`. Its weights are changed.
        small: The pruned network, its weights untouched otherwise.
        inputs: Of both.
    """
    left = dict(small.named_parameters())
    kept: dict[int, Tensor] = {}
    with torch.no_grad():
        for name, parameter in original.named_parameters():
            stays = _survives(parameter, left[name])
            kept[id(parameter)] = stays
            parameter.mul_(stays)
    found = _outputs(small, inputs)
    with _WithoutRemoved(kept):
        expected = _outputs(original, inputs)
    return max(distance(e, f) for e, f in zip(expected, found, strict=True))


def _survives(original: Tensor, pruned: Tensor) -> Tensor:
    """Return which entries of a tensor are still among those of the pruned one; piece by piece."""
    values = np.sort(pruned.detach().numpy(), axis=None)
    pieces = []
    for piece in original.detach().flatten().split(_PIECE):
        # In ascending order: a search that jumps about in memory takes many times as long.
        order = np.argsort(piece.numpy())
        wanted = piece.numpy()[order]
        found = np.searchsorted(values, wanted).clip(max=len(values) - 1)
        stays = np.empty(len(piece), dtype=np.bool_)
        stays[order] = values[found] == wanted
        pieces.append(torch.from_numpy(stays))
    return torch.cat(pieces).view(original.shape)


class _WithoutRemoved(TorchFunctionMode):
    """Norms over channels leave out those whose weights were removed.

    Args:
        kept: ``id`` of a parameter -> which of its entries stay.
    """

    def __init__(self, kept: Mapping[int, Tensor]) -> None:
        super().__init__()
        self.kept = kept

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 - any function of torch
        types: Any,  # noqa: ANN401 - as torch calls it
        args: Any = (),  # noqa: ANN401
        kwargs: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Run one function of torch."""
        kwargs = kwargs or {}
        name, weight = func.__name__, kwargs.get("weight")
        stays = self.kept.get(id(weight))
        if name not in ("layer_norm", "group_norm") or stays is None or stays.dim() != 1:
            return func(*args, **kwargs)
        (x, shape), index = args, stays.nonzero()[:, 0]
        dim = 1 if name == "group_norm" else x.dim() - 1
        shape = shape if name == "group_norm" else (len(index),)
        vectors = {k: None if kwargs[k] is None else kwargs[k][index] for k in ("weight", "bias")}
        y = func(x.index_select(dim, index), shape, **{**kwargs, **vectors})
        return torch.zeros_like(x).index_copy(dim, index, y)


# Time ------------------------------------------------------------------------------------------


def race(task: str) -> dict[str, Any]:
    """Time both tools in turn in one process.

    Args:
        task: ``both`` or ``alone`` (sentei) and the network: ``both torchvision:resnet18``.

    Returns:
        Median CPU seconds by tool: from nothing (``whole``), on a graph that is there (``step``:
        score, plan, apply), and the last without scoring (``plan + apply``). Also ``copy``: a
        plain copy of as many bytes as no way of cutting the network can do without.
    """
    who, _, name = task.partition(" ")
    tools = list(TOOLS) if who == "both" else ["sentei"]
    _prepare()
    _warm_up(tools)
    built = build(name)
    graph = trace(built.model, built.inputs)
    seconds: dict[str, list[float]] = {}
    start = time.process_time()
    for _ in range(REPEATS):
        for tool in tools:
            own = copy.deepcopy(built.model)
            _time(seconds, f"{tool} whole", partial(TOOLS[tool], own, built.inputs))
        own = copy.deepcopy(built.model)
        scoring = Timed(scores)
        _time(seconds, "sentei step", partial(sentei_step, graph, own, scoring))
        _add_rest(seconds, "sentei", scoring)
        _time(seconds, "copy", partial(torch.Tensor.copy_, *_least_moved(built.model, own)))
        if who == "both":
            pruner = rival_pruner(copy.deepcopy(built.model), built.inputs)
            _time(seconds, "torch-pruning step", partial(rival_step, pruner))
            _add_rest(seconds, "torch-pruning", pruner.importance)
        if time.process_time() - start > MAX_SECONDS:
            break
    medians = {key: round(statistics.median(values), 5) for key, values in seconds.items()}
    repeats = len(seconds["sentei step"])
    return {"name": task, "ok": True, "silent": False, "seconds": medians, "repeats": repeats}


def _least_moved(before: nn.Module, after: nn.Module) -> tuple[Tensor, Tensor]:
    """Return a target and a source of half as many bytes as cutting must read and write.

    Of every parameter it must read the rows that stay, whole (single columns share the lines of
    memory), and write the result.
    """
    moved = 0
    for old, new in zip(before.parameters(), after.parameters(), strict=True):
        if old.shape != new.shape:
            moved += old.nbytes * len(new) // len(old) + new.nbytes
    source = torch.ones(moved // 2, dtype=torch.uint8)
    return torch.zeros_like(source), source


def _warm_up(tools: list[str]) -> None:
    built = build("torchvision:squeezenet1_1")
    for tool in tools:
        TOOLS[tool](copy.deepcopy(built.model), built.inputs)


def _time(seconds: dict[str, list[float]], key: str, run: Callable[[], Any]) -> None:
    gc.collect()
    start = time.process_time()
    run()
    seconds.setdefault(key, []).append(time.process_time() - start)


def _add_rest(seconds: dict[str, list[float]], tool: str, scoring: Timed) -> None:
    """Note the time of the last step without scoring."""
    rest = seconds[f"{tool} step"][-1] - scoring.seconds
    seconds.setdefault(f"{tool} plan + apply", []).append(rest)

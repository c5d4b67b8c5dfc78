"""Units: whose pruning ratios make a recipe, and what is known of every group for that."""

# Shapes: G = groups.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from sentei.errors import SpaceError
from sentei.graph import Graph
from sentei.spaces.space import SpaceConfig

# A layer whose output channels are its input channels belongs to a group without making it.
_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


@dataclass(frozen=True, kw_only=True)
class Units:
    """The units of a space.

    Attributes:
        layers: Group -> number of layers whose output channels it holds, [G], >= 1.
        stages: Group -> name of its stage, the size of its maps ("32x32"), [G].
        owners: Unit -> its groups, ascending; groups that are kept are in none.
        kept: Groups that are not pruned, ascending.
    """

    layers: tuple[int, ...]
    stages: tuple[str, ...]
    owners: tuple[tuple[int, ...], ...]
    kept: tuple[int, ...]


def find_units(graph: Graph, config: SpaceConfig) -> Units:
    """Return the units of a graph.

    Raises:
        SpaceError: The options keep every group.
    """
    makers = _makers(graph)
    outputs = _output_sizes(graph)
    sources = [[m for m, is_depthwise in own.items() if not is_depthwise] for own in makers]
    stages = tuple(outputs.get(next(iter(own), ""), "1") for own in makers)
    kept = _kept(config, makers, sources, [name for name in outputs if "x" in outputs[name]])
    if len(kept) == len(graph.groups):
        raise SpaceError(
            f"space {config.name!r} keeps all {len(kept)} groups; prune residual_groups, first_conv "
            "or last_conv, or trace a network with groups"
        )
    owners: dict[str, list[int]] = {}
    for index, group in enumerate(graph.groups):
        if index not in kept:
            key = {"block": _block(group.name, len(sources[index])), "stage": stages[index]}
            owners.setdefault(key.get(config.unit, group.name), []).append(index)
    return Units(
        layers=tuple(max(1, len(own)) for own in makers),
        stages=stages,
        owners=tuple(tuple(own) for own in owners.values()),
        kept=kept,
    )


def _makers(graph: Graph) -> list[dict[str, bool]]:
    """Return for each group the layers whose output channels it holds, and which are depthwise."""
    modules = dict(graph.model.named_modules())
    found: list[dict[str, bool]] = []
    for group in graph.groups:
        own: dict[str, bool] = {}
        for member in group.members:
            path, _, parameter = member.tensor.rpartition(".")
            module = modules.get(path)
            if parameter != "weight" or member.is_inner or not isinstance(module, _LAYERS):
                continue
            if member.dim == (1 if getattr(module, "transposed", False) else 0):
                groups = getattr(module, "groups", 1)
                own[path] = groups > 1 and groups == getattr(module, "in_channels", 0)
        found.append(own)
    return found


def _output_sizes(graph: Graph) -> dict[str, str]:
    """Return module path -> size of its output maps, "1" without maps, in the order they run."""
    values = graph.recording.values
    found: dict[str, str] = {}
    for op in graph.recording.ops:
        weight = op.args.get("weight")
        if op.name not in ("convolution", "linear") or weight is None:
            continue
        for name in values[weight.value].names or (values[weight.value].name,):
            size = values[op.outputs[0]].shape[2:] if op.name == "convolution" else ()
            found[name.removesuffix(".weight")] = "x".join(map(str, size)) or "1"
    return found


def _kept(
    config: SpaceConfig,
    makers: Sequence[Mapping[str, bool]],
    sources: Sequence[Sequence[str]],
    convolutions: Sequence[str],
) -> tuple[int, ...]:
    kept: set[int] = set()
    if config.residual_groups == "keep":
        kept.update(index for index, own in enumerate(sources) if len(own) > 1)
    for choice, which in ((config.first_conv, 0), (config.last_conv, -1)):
        if choice == "keep" and convolutions:
            end = convolutions[which]
            kept.update(index for index, own in enumerate(makers) if end in own)
    return tuple(sorted(kept))


def _block(name: str, num_sources: int) -> str:
    """Return the module that holds a group's; what several blocks share is a unit of its own."""
    parent = name.rpartition(".")[0]
    return name if num_sources > 1 or not parent else parent

"""What a pruning space is: slabs on quantities of a recipe, and how its recipes are read."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sentei.errors import ConfigError
from sentei.registry import did_you_mean

QUANTITIES = ("macs", "params", "activations", "latency", "ratio", "mcb", "std", "mean")
"""Names of the quantities, besides ``stage:NAME`` of every stage and ``group:NAME`` of every group."""

COSTS = ("macs", "params", "activations", "latency")
"""Quantities that never rise when a channel goes: shares of the dense network's."""

_PREFIXES = ("stage:", "group:")

Unit = Literal["group", "layer", "block", "stage"]
Choice = Literal["prune", "keep"]
Rounding = Literal["nearest", "floor_removed"]
MacScope = Literal["all", "conv"]
ParamScope = Literal["all", "conv", "conv_no_stem_fc", "filters"]
Ratio = Literal["params", "removed", "activations"]


@dataclass(frozen=True, kw_only=True)
class Slab:
    """One constraint: ``low <= quantity <= high``.

    Args:
        quantity: ``macs``, ``params``, ``activations`` (bytes) and ``latency`` (foretold by a
            `sentei.spaces.latency.LatencyModel`): shares of the dense network's;
            ``ratio``: MACs per parameter relative to the dense network's; ``mcb``: MACs per
            parameter; ``std`` and ``mean``: of the pruning ratios over units; ``stage:NAME``: mean
            pruning ratio of a stage; ``group:NAME``: pruning ratio of a group.
        low: Least value, >= 0.
        high: Largest value, >= ``low``.

    Raises:
        ValueError: The quantity is unknown, or the bounds are not in order.
    """

    quantity: str
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES and not self.quantity.startswith(_PREFIXES):
            raise ValueError(
                f"unknown quantity {self.quantity!r}.{did_you_mean(self.quantity, QUANTITIES)} "
                "Or stage:NAME, or group:NAME"
            )
        if not 0 <= self.low <= self.high < math.inf:
            raise ValueError(
                f"slab of {self.quantity}: from {self.low} to {self.high}; expected "
                "0 <= low <= high, both finite"
            )

    def __str__(self) -> str:
        return f"{self.quantity} in [{self.low:g}, {self.high:g}]"


def regime(level: float, *, delta: float = 0.005, by: str = "macs") -> Slab:
    """Return the slab of a pruning regime: a share of a cost, the MACs, give or take ``delta``.

    Source: He et al., Network Pruning Spaces, arXiv:2304.09453 (the word, in the abstract); the
    window is that of Li et al., EagleEye, ECCV 2020, arXiv:2007.02491.
    """
    return Slab(quantity=by, low=level - delta, high=level + delta)


@dataclass(frozen=True, kw_only=True)
class SpaceConfig:
    """A pruning space: its slabs, and every choice that its definition leaves open.

    Source: He et al., Network Pruning Spaces, arXiv:2304.09453. Only its abstract was at hand:
    the definitions are readings of its words, each an option here.

    Args:
        name: Name of the space; streams of random numbers are found by it.
        slabs: Its constraints, all of which hold for every recipe.
        floor: Least share of a group that stays, in [0, 1].
        round_to: Widths of pruned groups are multiples of this, >= 1.
        unit: Whose pruning ratios make the recipe. ``group``: each group's; ``layer``: the same,
            but ``std`` and ``mean`` count a group once for each layer that produces it;
            ``block``, ``stage``: groups of a block (their modules lie in one module) or stage
            (same resolution) share one ratio.
        residual_groups: Whether groups that several layers produce are pruned.
        first_conv: Whether the group of the first convolution is pruned.
        last_conv: Whether the group of the last convolution is pruned.
        rounding: From a pruning ratio r to a width w: to the nearest, or ``floor_removed``, which
            removes floor(r w) channels.
        mac_scope: What counts as MACs in ``ratio`` and ``mcb``; ``conv``: convolutions only.
        param_scope: What counts as parameter. ``conv``: of convolutions only;
            ``conv_no_stem_fc``: nor those of the first; ``filters``: kept channels are counted
            instead.
        count_bn: Parameters of normalisation layers count (scope ``all`` only).
        ratio: What ``ratio`` and ``mcb`` are. ``params``: MACs per parameter; ``removed``: removed
            MACs per removed parameter; ``activations``: MACs per byte of activations.
        bucket_edges: Shares of the parameters that split a population into the buckets a report
            compares, ascending; none: the bucket is the total number of parameters.

    Raises:
        ValueError: A field is out of range.
    """

    name: str
    slabs: tuple[Slab, ...]
    floor: float = 0.1
    round_to: int = 1
    unit: Unit = "group"
    residual_groups: Choice = "prune"
    first_conv: Choice = "prune"
    last_conv: Choice = "prune"
    rounding: Rounding = "nearest"
    mac_scope: MacScope = "all"
    param_scope: ParamScope = "all"
    count_bn: bool = True
    ratio: Ratio = "params"
    bucket_edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for field, known in _CHOICES.items():
            if getattr(self, field) not in known:
                raise ValueError(
                    f"{field}={getattr(self, field)!r}.{did_you_mean(getattr(self, field), known)}"
                )
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor={self.floor}; expected a share of the width in [0, 1]")
        if self.round_to < 1:
            raise ValueError(f"round_to={self.round_to}; expected at least 1")
        if list(self.bucket_edges) != sorted(set(self.bucket_edges)):
            raise ValueError(f"bucket_edges={self.bucket_edges}; expected them ascending")

    def as_json(self) -> dict[str, Any]:
        """Return the configuration as JSON knows it."""
        plain = dataclasses.asdict(self)
        plain["slabs"] = [dataclasses.asdict(slab) for slab in self.slabs]
        plain["bucket_edges"] = list(self.bucket_edges)
        return plain

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "SpaceConfig":
        """Return the configuration that `as_json` wrote, or a user's file gives.

        Raises:
            ConfigError: A key is unknown or missing, or a value out of range.
        """
        known = [f.name for f in dataclasses.fields(SpaceConfig)]
        for key in values:
            if key not in known:
                raise ConfigError(f"space: unknown key {key!r}.{did_you_mean(key, known)}")
        try:
            slabs = tuple(Slab(**slab) for slab in values["slabs"])
            edges = tuple(values.get("bucket_edges", ()))
            return SpaceConfig(**{**values, "slabs": slabs, "bucket_edges": edges})
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"space {values.get('name')!r}: {error}; give a name, a list of slabs "
                "(quantity, low, high) and options of SpaceConfig"
            ) from error


_CHOICES: dict[str, tuple[str, ...]] = {
    "unit": get_args(Unit),
    "residual_groups": get_args(Choice),
    "first_conv": get_args(Choice),
    "last_conv": get_args(Choice),
    "rounding": get_args(Rounding),
    "mac_scope": get_args(MacScope),
    "param_scope": get_args(ParamScope),
    "ratio": get_args(Ratio),
}

"""The terrain of a space: every quantity of every recipe of a network, by formula."""

# Shapes: N = recipes, G = groups, U = units, J = inequalities.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import nn

from sentei.cost import CostModel
from sentei.cost.operators import multiply_adds_of, whole
from sentei.cost.quadratic import Quadratic, affine, quadratic_forms
from sentei.cost.terms import Term, terms_of
from sentei.errors import SpaceError
from sentei.graph import Graph
from sentei.registry import did_you_mean
from sentei.spaces.extremes import Fraction, extremes
from sentei.spaces.lattice import Lattice, make_lattice
from sentei.spaces.region import Region
from sentei.spaces.space import QUANTITIES, ParamScope, Slab, SpaceConfig
from sentei.spaces.stats_base import BoolArray, FloatArray, IntArray
from sentei.spaces.units import Units, find_units

_COUNTED = ("macs", "params", "activations")  # whole numbers at whole widths
_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
_CONVOLUTIONS = (nn.modules.conv._ConvNd,)


@dataclass(frozen=True, kw_only=True, eq=False)
class Terrain:
    """Quantities of recipes, and the regions that slabs on them cut out.

    The MACs of convolutions and linear layers and the parameters are quadratic in the widths, so
    that a slab on any quantity is one or two quadratic inequalities.

    With F the MACs and P the parameters of a recipe, F0 and P0 the dense network's, the ratio is
    ``m = (F / F0) / (P / P0)``. A convolution without bias has ``F_l = H_l W_l P_l``, so that
    ``F / P`` is the mean area of output maps, weighted by parameters: a large m keeps parameters
    where maps are large. It sums up the allocation to stages and says nothing about that within one.

    Source: He et al., Network Pruning Spaces, arXiv:2304.09453 (abstract).
    Difference: the paper's own formula was not at hand; this is a reading of "FLOPs-to-parameter
    ratio", see `SpaceConfig` for others.

    Args:
        graph: The graph of the network.
        costs: Its compiled costs.
        config: The space.
        latency: In shares of the dense network's; None: not measured, there is no such quantity.

    Raises:
        SpaceError: A cost is not quadratic, or nothing can be pruned.
    """

    graph: Graph = field(repr=False)
    costs: CostModel = field(repr=False)
    config: SpaceConfig
    latency: Quadratic | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        assert self.lattice.widest.size == len(self.units.owners)  # both are found here, or refused

    @cached_property
    def units(self) -> Units:
        """The units of the space."""
        return find_units(self.graph, self.config)

    @cached_property
    def lattice(self) -> Lattice:
        """The widths that recipes may have."""
        return make_lattice(self.graph, self.config, self.units)

    @cached_property
    def macs(self) -> Quadratic:
        """Multiply-adds of one sample."""
        return self._counts["macs"]

    @cached_property
    def params(self) -> Quadratic:
        """Parameters, as the configuration counts them."""
        if self.config.param_scope == "filters":
            return affine(np.ones(len(self.graph.groups)))
        return self._counts["params"]

    @cached_property
    def dense(self) -> Mapping[str, float]:
        """MACs, parameters and activations (bytes) of the whole network; its MACs per parameter ("mcb")."""
        costs = (self.macs, self.params, self._counts["activations"])
        top, bottom = self._ratio_scales
        counted = dict(zip(_COUNTED, map(self._dense_value, costs), strict=True))
        return {**counted, "mcb": top / bottom}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the quantities of this network."""
        stages = [f"stage:{name}" for name in self._stage_rows]
        known = [name for name in QUANTITIES if name != "latency" or self.latency is not None]
        return (*known, *stages, *(f"group:{group.name}" for group in self.graph.groups))

    def quantities(self, widths_NG: IntArray) -> dict[str, FloatArray]:
        """Return every quantity of recipes, by name, [N] each.

        MACs, parameters and activations are exact. Where ``ratio="removed"``, the ratio of the dense network is
        not a number.

        Args:
            widths_NG: Widths that the groups can have, integers.
        """
        widths_GN = np.ascontiguousarray(np.asarray(widths_NG).T, dtype=np.float64)
        values = {name: form.value(widths_GN) for name, form in self.forms.items()}
        exact = {
            name: np.rint(values[name] * self.dense[name]) / self.dense[name] for name in _COUNTED
        }
        top, bottom = values["top"], values["bottom"]
        ratio = np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)
        stages = {name: values[name] for name in values if name.startswith("stage:")}
        # Two passes: a uniform recipe has a spread of 0, not of what rounding leaves of it.
        kept_UN, weights_1U = self._shares @ widths_GN, csr_array(self._weights[None])
        mean_1N = weights_1U @ kept_UN
        variance_N = (weights_1U @ (kept_UN - mean_1N) ** 2)[0]
        return {
            **exact,
            **({} if self.latency is None else {"latency": values["latency"]}),
            "ratio": ratio,
            "mcb": ratio * self.dense["mcb"],
            "std": np.sqrt(variance_N),
            "mean": 1.0 - mean_1N[0],
            **stages,
            **{
                f"group:{group.name}": 1.0 - widths_GN[index] / group.width
                for index, group in enumerate(self.graph.groups)
            },
        }

    def pruning_ratios(self, widths_NG: IntArray) -> FloatArray:
        """Return the recipes: the share of its channels that every unit loses, [N, U]."""
        return np.asarray(1.0 - (self._shares @ np.asarray(widths_NG).T).T)

    def inside(self, widths_NG: IntArray, slabs: Sequence[Slab]) -> BoolArray:
        """Return which recipes every slab holds, [N]."""
        found = self.quantities(widths_NG)
        inside_N = np.ones(len(widths_NG), dtype=np.bool_)
        for slab in slabs:
            values_N = found[self.checked(slab).quantity]
            inside_N &= (values_N >= slab.low - 1e-12) & (values_N <= slab.high + 1e-12)
        return inside_N

    def checked(self, slab: Slab) -> Slab:
        """Return a slab whose quantity this network has.

        Raises:
            SpaceError: It has no such stage or group, or its latency was not measured.
        """
        if slab.quantity == "latency" and self.latency is None:
            raise SpaceError(
                f"space {self.config.name!r} has a slab of latency, which was not measured; give "
                "latency.recipes in the study, such as 30"
            )
        if slab.quantity not in self.names:
            raise SpaceError(
                f"space {self.config.name!r}: there is no quantity {slab.quantity!r}."
                f"{did_you_mean(slab.quantity, self.names)}"
            )
        return slab

    def region(self, slabs: Sequence[Slab]) -> Region:
        """Return the region of real widths that slabs cut out.

        Raises:
            SpaceError: A slab is of a stage that the network does not have, or there is no slab.
        """
        if not slabs:
            raise SpaceError(
                f"space {self.config.name!r} has no slab; give one, such as regime(0.5)"
            )
        sides = [(number, *side) for number, slab in enumerate(slabs) for side in self._sides(slab)]
        return Region.of({**self.forms, **self._group_forms}, sides)

    def real_cost(self, name: str, points_UN: FloatArray) -> FloatArray:
        """Return the share of a cost at coordinates of the lattice, [N]."""
        return self.forms[name].value(self.lattice.real(points_UN))

    def uniform(self, level: float, *, by: str = "macs") -> IntArray:
        """Return the widths [G] at which all units keep the same share and a cost is nearest.

        Args:
            level: Share of the dense network's cost, in (0, 1].
            by: Name of the cost.
        """
        widest_U1 = self.lattice.widest[:, None].astype(np.float64)
        points_UN = widest_U1 * np.linspace(0.0, 1.0, 2001)[None]
        widths_NG = self.lattice.widths(self.lattice.nearest(points_UN))
        gaps = np.abs(self.quantities(widths_NG)[by] - level)
        return widths_NG[int(gaps.argmin())]

    def attainable(
        self,
        name: str,
        *,
        level: float | None = None,
        by: str = "macs",
        slabs: Sequence[Slab] = (),
    ) -> tuple[float, float]:
        """Return the least and largest value of a quantity over real widths of the space's box.

        Args:
            name: The quantity.
            level: Share of the dense network's cost that the recipes have, in (0, 1]; None: any.
            by: Name of the cost.
            slabs: What the recipes keep to, besides.

        Raises:
            SpaceError: There is no such quantity, or no recipe has that cost and keeps to the slabs.
        """
        self.checked(Slab(quantity=name, low=0.0, high=0.0))
        over = self.forms["bottom"] if name in ("ratio", "mcb") else None
        forms = {**self.forms, **self._group_forms}
        form = forms[{"ratio": "top", "mcb": "top", "std": "variance"}.get(name, name)]
        wanted = Fraction(lattice=self.lattice, top=form, bottom=over)
        fixed = Fraction(lattice=self.lattice, top=self.forms[by])
        found = extremes(
            wanted,
            fixed=None if level is None else fixed,
            value=level or 0.0,
            region=self.region(slabs) if slabs else None,
        )
        if found is None and slabs:
            raise SpaceError(
                f"space {self.config.name!r}: no recipe with this share of the {shown(by)} was "
                f"found in {' and '.join(map(str, slabs))}; widen the slabs"
            )
        if found is None:
            low, high = self.attainable(by)
            raise SpaceError(
                f"space {self.config.name!r}: no recipe has {level:g} of the {shown(by)}; they reach "
                f"from {low:.3f} to {high:.3f} with floor={self.config.floor} and what is kept whole"
            )
        if name == "std":
            return max(found[0], 0.0) ** 0.5, found[1] ** 0.5
        scale = self.dense["mcb"] if name == "mcb" else 1.0
        return found[0] * scale, found[1] * scale

    @cached_property
    def forms(self) -> Mapping[str, Quadratic]:
        """The forms that inequalities are made of, in units of the dense network."""
        top, bottom = self._ratio_scales
        removed = self.config.ratio == "removed"
        counted = self._ratio_macs
        tops = self._rest(counted) if removed else counted
        bottoms = {
            "params": self.params,
            "removed": self._rest(self.params),
            "activations": self._counts["activations"],
        }[self.config.ratio]
        return {
            "macs": self.macs.times(1 / self._dense_value(self.macs)),
            "params": self.params.times(1 / self._dense_value(self.params)),
            "activations": self._counts["activations"].times(1 / self.dense["activations"]),
            **({} if self.latency is None else {"latency": self.latency}),
            "top": tops.times(1 / top),
            "bottom": bottoms.times(1 / bottom),
            "variance": self._variance,
            "mean": affine(-(self._weights @ self._shares), 1.0),
            **{f"stage:{name}": affine(-row_G, 1.0) for name, row_G in self._stage_rows.items()},
        }

    def _sides(self, slab: Slab) -> list[tuple[dict[str, float], float]]:
        """Return the inequalities of a slab: form -> factor, and the constant."""
        name, low, high = self.checked(slab).quantity, slab.low, slab.high
        if name in ("ratio", "mcb"):
            scale = 1.0 if name == "ratio" else self.dense["mcb"]
            upper = {"top": 1.0, "bottom": -high / scale}
            return [(upper, 0.0), ({"top": -1.0, "bottom": low / scale}, 0.0)]
        if name == "std":
            name, low, high = "variance", low**2, high**2
        return [({name: 1.0}, -high), ({name: -1.0}, low)]

    def _dense_value(self, form: Quadratic) -> float:
        return float(form.value(self.graph.widths[:, None].astype(np.float64))[0])

    def _rest(self, form: Quadratic) -> Quadratic:
        """Return what is missing of the dense network's value."""
        return affine(np.zeros(len(self.graph.groups)), self._dense_value(form)).plus(
            form, factor=-1.0
        )

    @cached_property
    def _group_forms(self) -> Mapping[str, Quadratic]:
        """The pruning ratio of every group, by name."""
        rows_GG = -np.diag(1.0 / self.graph.widths)
        names = (f"group:{group.name}" for group in self.graph.groups)
        return {name: affine(row_G, 1.0) for name, row_G in zip(names, rows_GG, strict=True)}

    @property
    def _ratio_macs(self) -> Quadratic:
        return self.macs if self.config.mac_scope == "all" else self._counts["conv"]

    @cached_property
    def _ratio_scales(self) -> tuple[float, float]:
        below = self._counts["activations"] if self.config.ratio == "activations" else self.params
        return self._dense_value(self._ratio_macs), self._dense_value(below)

    @cached_property
    def _counts(self) -> dict[str, Quadratic]:
        recording = self.graph.recording
        sums = terms_of(recording).sums
        counted = _counted(self.graph, self.config.param_scope, count_bn=self.config.count_bn)
        params: list[Term] = [
            (1, whole(recording, index))
            for index, value in enumerate(recording.values)
            if value.kind == "param" and value.name in counted
        ]
        conv: list[Term] = [
            (1, product)
            for op in recording.ops
            if op.name == "convolution"
            for product in multiply_adds_of(recording, op)
        ]
        terms = {
            "macs": sums["macs"],
            "conv": conv,
            "activations": sums["activation_bytes"],
            "params": params,
        }
        return quadratic_forms(self.graph, terms)

    @cached_property
    def _shares(self) -> csr_array:
        """Shares of the channels of each unit that each channel of a group is, [U, G]."""
        table_UG = np.zeros((len(self.units.owners), len(self.graph.groups)))
        for unit, own in enumerate(self.units.owners):
            table_UG[unit, list(own)] = 1.0 / self.graph.widths[list(own)].sum()
        return csr_array(table_UG)

    @cached_property
    def _weights(self) -> FloatArray:
        """How much each unit counts in ``std`` and ``mean``, [U], summing to 1."""
        if self.config.unit != "layer":
            return np.full(len(self.units.owners), 1.0 / len(self.units.owners))
        counts = np.array([float(self.units.layers[own[0]]) for own in self.units.owners])
        return np.asarray(counts / counts.sum())

    @cached_property
    def _variance(self) -> Quadratic:
        centred_UU = np.diag(self._weights) - np.outer(self._weights, self._weights)
        matrix = csr_array(self._shares.T @ csr_array(centred_UU) @ self._shares)
        return Quadratic(matrix=matrix, linear=csr_array((1, len(self.graph.groups))), constant=0.0)

    @cached_property
    def _stage_rows(self) -> dict[str, NDArray[np.float64]]:
        """Stage -> what each channel adds to its mean share kept, [G]."""
        kept = set(self.units.kept)
        members: dict[str, list[int]] = {}
        for index, stage in enumerate(self.units.stages):
            if index not in kept:
                members.setdefault(stage, []).append(index)
        rows = {}
        for stage, own in members.items():
            rows[stage] = np.zeros(len(self.graph.groups))
            rows[stage][own] = 1.0 / (self.graph.widths[own] * len(own))
        return rows


def shown(cost: str) -> str:
    """Return a cost as texts name it."""
    return {"macs": "MACs", "params": "parameters"}.get(cost, cost)


def _counted(graph: Graph, scope: ParamScope, *, count_bn: bool) -> frozenset[str]:
    """Return the names of the parameters that count."""
    modules = dict(graph.model.named_modules())
    convolutions = [name for name, m in modules.items() if isinstance(m, _CONVOLUTIONS)]
    left_out = convolutions[:1] if scope == "conv_no_stem_fc" else []
    found = set()
    for value in graph.recording.values:
        path = value.name.rpartition(".")[0]
        is_conv = isinstance(modules.get(path), _CONVOLUTIONS) and path not in left_out
        is_norm = isinstance(modules.get(path), _NORMS)
        if is_conv or (scope == "all" and (count_bn or not is_norm)):
            found.add(value.name)
    return frozenset(found)

"""Size of the weights that earlier choices leave."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Source, weights_CF
from sentei.criteria.reduce import Reduction, check_reduction
from sentei.criteria.vectors import require_weights, weight_members
from sentei.graph import Graph, Group
from sentei.graph.groups import lowest
from sentei.index.atoms import IntArray

_REDUCE: Mapping[Reduction, Callable[[FloatArray], FloatArray]] = {
    "mean": lambda sizes_MC: sizes_MC.mean(axis=0),
    "sum": lambda sizes_MC: sizes_MC.sum(axis=0),
    "max": lambda sizes_MC: sizes_MC.max(axis=0),
    "first": lambda sizes_MC: sizes_MC[0],
    "prod": lambda sizes_MC: sizes_MC.prod(axis=0),
}


@CRITERIA.register("l1-greedy")
@dataclass(frozen=True, kw_only=True)
class GreedyMagnitude(Criterion):
    r"""Sum of the absolute weights of a channel that earlier groups leave in place.

    Groups are scored in the order of the forward pass. Once a group has its scores, the lowest
    share ``ratio`` of it is taken for removed: no weight of these channels counts for a later
    group. With :math:`K` the weights that are left,

    .. math:: s_c = \operatorname{reduce}_{m} \sum_{w \in m(c) \cap K} |w|^p

    so ``ratio=0`` gives what ``l1`` gives.

    Source: Li et al., ICLR 2017, arXiv:1608.08710 (the greedy strategy).
    Difference: every weight and every scale of a norm that goes with the channel counts, not the
    producing filter alone (``reduction="first"`` is the latter in most groups). The ratios are
    fields: what a budget removes afterwards may be more or less.

    Args:
        ratio: Share of each group taken for removed, in [0, 1); by group name, 0 for others.
        p: Power, > 0.
        reduction: How the slices m of a group become one number.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Li et al., Pruning Filters for Efficient ConvNets, ICLR",
        year=2017,
        arxiv="1608.08710",
        section="2.1.1",
    )
    ratio: float | Mapping[str, float] = 0.5
    p: float = 1.0
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        ratios = self.ratio.values() if isinstance(self.ratio, Mapping) else [self.ratio]
        for ratio in ratios:
            if not 0 <= ratio < 1:
                raise ValueError(f"ratio={ratio}; expected a share of a group in [0, 1)")
        if not self.p > 0:
            raise ValueError(f"p={self.p}; expected a power > 0, such as 1 or 2")
        check_reduction(self.reduction)

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the reduced sums, shape [C], in the unit of the weights to the power p.

        Raises:
            PruningError: A group owns no weights.
            UnknownNameError: ``ratio`` names a group that does not exist.
        """
        require_weights(evidence)
        ratios = self._ratios(evidence.graph)
        left = {
            name: parameter.to(torch.promote_types(parameter.dtype, torch.float32)).abs() ** self.p
            for name, parameter in evidence.parameters.items()
            if evidence.is_weight(name)
        }
        scores = np.empty(evidence.graph.num_channels)
        for group in evidence.graph.groups:
            own = self._sizes(evidence, group, left)
            scores[group.first : group.first + group.width] = own
            # What floating point takes from 0.3 * 10 must not take a channel.
            num_gone = int(ratios[group.index] * (group.width // group.num_rows) + 1e-9)
            _drop(evidence, group, lowest(group, own, num_gone), left)
        return scores

    def _ratios(self, graph: Graph) -> list[float]:
        if not isinstance(self.ratio, Mapping):
            return [self.ratio] * len(graph.groups)
        named = {graph[name].name: ratio for name, ratio in self.ratio.items()}
        return [named.get(group.name, 0.0) for group in graph.groups]

    def _sizes(self, evidence: Evidence, group: Group, left: Mapping[str, Tensor]) -> FloatArray:
        rows = [weights_CF(group, m, left[m.tensor]) for m in weight_members(evidence, group)]
        sizes_MC = torch.stack([row.sum(dim=1, dtype=torch.float64) for row in rows])
        return _REDUCE[self.reduction](sizes_MC.cpu().numpy())


def _drop(evidence: Evidence, group: Group, gone: IntArray, left: Mapping[str, Tensor]) -> None:
    """Set to 0, in ``left``, every weight of channels that are gone."""
    for member in weight_members(evidence, group):
        tensor = left[member.tensor]
        is_gone = torch.from_numpy(np.isin(member.channels, gone)).to(tensor.device)
        # Views of the dimensions that the channels lie in, first: writes reach the tensor.
        (tensor if member.is_inner else tensor.movedim(member.dim, 0))[is_gone] = 0

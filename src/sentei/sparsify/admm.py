"""Alternating direction method of multipliers: weights drawn to their projection on few channels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.criteria.base import FloatArray, Source, broadcast_index
from sentei.sparsify.base import (
    SPARSIFIERS,
    Setting,
    SparseHook,
    Sparsifier,
    check_at_least,
    chosen_lowest,
    lowest_of_each,
    num_chosen,
)
from sentei.sparsify.channels import Selection, as_scores, evidence_of, expand


@SPARSIFIERS.register("admm")
@dataclass(frozen=True, kw_only=True)
class ADMM(Sparsifier):
    r"""Alternating directions: weights are drawn to their projection on few channels.

    Minimize L(W) with at most n channels of each group that are not zero:

    .. math::
        W &\approx \arg\min_W L(W) + \tfrac{\rho}{2} \lVert W - Z + U \rVert_2^2 \\
        Z &= \Pi(W + U) \\
        U &\leftarrow U + W - Z

    W is all weights and scales of norms that channels own. The first line is an epoch of training;
    the other two follow it. :math:`\Pi` keeps, in each group, the n channels of the largest norm
    over all their slices and sets the others to zero. :math:`\rho` grows tenfold in each stage, and
    U, which is the multiplier over :math:`\rho`, shrinks as much. Scores are the norms of W, with
    the channels that are zero in Z below the rest.

    Source: Zhang et al., StructADMM: A Systematic, High-Efficiency Framework of Structured Weight
    Pruning for DNNs, arXiv:1807.11091.
    Difference: the constraint is on coupled channels, not on filters of one layer, and n comes
    from the budget by ``scope``. An element in two groups is zero in Z if either of its channels
    is, so :math:`\Pi` projects on each group's constraint but is not the projection on all.

    Args:
        rho: First :math:`\rho`, > 0.
        stages: Stages of equal length, >= 1; the last has rho times 10 to the stages less one.
        scope: What orders the channels of different groups when the widths are found.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Zhang et al., StructADMM, TNNLS", year=2021, arxiv="1807.11091", section="2.4.3"
    )
    comparable: ClassVar[bool] = True
    rho: float = 1e-4
    stages: int = 4
    scope: str = "local"

    def __post_init__(self) -> None:
        check_at_least(self, "rho", 0, strict=True)
        check_at_least(self, "stages", 1)

    def rho_in(self, epoch: int, num_epochs: int) -> float:
        """Return rho in an epoch, counted from 0."""
        return float(self.rho * 10 ** (min(epoch, num_epochs - 1) * self.stages // num_epochs))

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _ADMMHook(self, setting)


class _ADMMHook(SparseHook):
    def __init__(self, method: ADMM, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        self.weights = Selection(evidence, evidence.weights)
        counts = num_chosen(self.setting, "l2", model, scope=self.method.scope)
        self.kept |= {"counts": torch.from_numpy(counts)}
        self.kept |= {"zero": torch.zeros_like(self.weights.counts, dtype=torch.bool)}
        for name, parameter in self.weights.parameters.items():
            self.kept[f"dual:{name}"] = torch.zeros_like(parameter, requires_grad=False)
            self.kept[f"target:{name}"] = parameter.detach().clone()
        self._project()

    @property
    def _rho(self) -> float:
        epoch = self.step // self.setting.steps_per_epoch
        return self.method.rho_in(epoch, self.setting.num_epochs)

    def penalty(self, _model: nn.Module) -> Tensor:
        distances = [
            (p - self.kept[f"target:{n}"] + self.kept[f"dual:{n}"]).square().sum()
            for n, p in self.weights.parameters.items()
        ]
        return 0.5 * self._rho * torch.stack(distances).sum()

    def after_step(self, _model: nn.Module) -> None:
        self.count_step()

    @torch.no_grad()
    def after_epoch(self, _model: nn.Module, epoch: int) -> None:
        self._project()
        growth = self._rho / self.method.rho_in(epoch, self.setting.num_epochs)
        for name, parameter in self.weights.parameters.items():
            dual = self.kept[f"dual:{name}"]
            dual.add_(parameter - self.kept[f"target:{name}"]).div_(growth)

    @torch.no_grad()
    def _project(self) -> None:
        """Set Z to the projection of W + U."""
        sums = {n: p + self.kept[f"dual:{n}"] for n, p in self.weights.parameters.items()}
        zero = self._smallest(sums)
        self.kept["zero"].copy_(zero)
        keep = (~self.kept["zero"]).to(self.weights.counts.dtype)
        for part in self.weights.slices:
            index = broadcast_index(part, sums[part.tensor].dim()).to(keep.device)
            sums[part.tensor] = sums[part.tensor] * expand(keep, index)
        for name, projected in sums.items():
            self.kept[f"target:{name}"].copy_(projected)

    def _smallest(self, values: Mapping[str, Tensor]) -> Tensor:
        squares = self.weights.add({n: v.square() for n, v in values.items()})
        chosen = lowest_of_each(self.setting.graph, as_scores(squares), self.kept["counts"].numpy())
        return torch.from_numpy(chosen)

    def scores(self, _model: nn.Module) -> FloatArray:
        return chosen_lowest(as_scores(self.weights.norms()), self.kept["zero"].cpu().numpy())

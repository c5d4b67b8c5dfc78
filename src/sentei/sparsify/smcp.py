"""Soft masks on input channels, made anew by what the loss would lose and what they cost."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from sentei.criteria.base import FloatArray, Source
from sentei.criteria.score import Scores, split_by_group
from sentei.sparsify.base import (
    SPARSIFIERS,
    Setting,
    SparseHook,
    Sparsifier,
    check_at_least,
    chosen_by,
    chosen_lowest,
    cubic_growth,
    lowest_of_each,
)
from sentei.sparsify.channels import Selection, as_scores, evidence_of
from sentei.sparsify.dense import DenseWeights
from sentei.sparsify.wiring import consumed_slices


@SPARSIFIERS.register("smcp")
@dataclass(frozen=True, kw_only=True)
class SMCP(Sparsifier):
    r"""Soft masks on what reads channels, chosen by Taylor importance against cost.

    The network runs with :math:`m \odot w`, where the mask m of a channel is on all weights that
    read it, and its whole gradient is applied to w: a masked channel goes on learning and may come
    back. The importance of a channel adds up over the steps between two masks,

    .. math:: I_c = \sum_{steps} \Bigl| \sum_{w \in c} w
        \frac{\partial L}{\partial (m \odot w)} \Bigr|

    over the same weights, masked or not. The next mask takes the channels that a plan for the
    budget would remove by :math:`I`, after a share t of the growth the share
    :math:`1 - (1 - t)^3` of them in each group, the least important first. The model ends as
    :math:`m \odot w`. Scores are the last importance, with the masked channels below the rest.

    Source: Humble et al., Soft Masking for Cost-Constrained Channel Pruning, ECCV 2022,
    arXiv:2211.02206.
    Difference: the plan is by ``scope``, a greedy order of importance against cost, not a
    multiple-choice knapsack over measured latencies; masked weights decay as all others do, by the
    recipe; scales of norms are not reparametrised.

    Args:
        growth: Share of the training in which the mask grows, in (0, 1].
        every: Optimizer steps between two masks, >= 1; one more is made after the last step.
        scope: What orders the channels of different groups.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Humble et al., Soft Masking for Cost-Constrained Channel Pruning, ECCV",
        year=2022,
        arxiv="2211.02206",
        section="2.5.1",
    )
    comparable: ClassVar[bool] = True
    growth: float = 0.75
    every: int = 16
    scope: str = "cost-aware"

    def __post_init__(self) -> None:
        check_at_least(self, "growth", 0, strict=True)
        check_at_least(self, "every", 1)
        if self.growth > 1:
            raise ValueError(f"SMCP: growth={self.growth}; expected a share in (0, 1]")

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _SMCPHook(self, setting)


class _SMCPHook(SparseHook):
    def __init__(self, method: SMCP, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        self.readers = Selection(evidence, consumed_slices(evidence))
        self.dense = DenseWeights(self.readers)
        none = torch.zeros_like(self.readers.counts, dtype=torch.float64)
        self.kept |= {"importance": none, "last": none.clone(), **self.dense.kept}

    @torch.no_grad()
    def after_backward(self, _model: nn.Module) -> None:
        self.dense.restore()
        products = {
            name: p * (torch.zeros_like(p) if p.grad is None else p.grad)
            for name, p in self.readers.parameters.items()
        }
        change = self.readers.add(products).abs()
        # Loss scaling passes over steps whose gradient overflows; so must the importance.
        if bool(change.isfinite().all()):
            self.kept["importance"] += change

    def after_step(self, _model: nn.Module) -> None:
        self.count_step()
        self.dense.remember()
        if self.step % self.method.every == 0 or self.step == self.setting.num_steps:
            self._choose()
        self.dense.mask()

    def _choose(self) -> None:
        """Make the mask anew, and begin to add up again."""
        graph = self.setting.graph
        self.kept["last"].copy_(self.kept["importance"])
        self.kept["importance"].zero_()
        importance = as_scores(self.kept["last"])
        by_group = split_by_group(graph, "smcp", importance)
        scores = Scores(criterion="smcp", by_group=by_group, comparable=True)
        chosen = chosen_by(self.setting, scores, scope=self.method.scope)
        share = cubic_growth(self.step / (self.method.growth * self.setting.num_steps))
        sizes = [chosen[g.first : g.first + g.width].sum() for g in graph.groups]
        counts = np.rint(share * np.array(sizes)).astype(np.int64)
        self.dense.choose(lowest_of_each(graph, importance, counts))

    def scores(self, _model: nn.Module) -> FloatArray:
        return chosen_lowest(as_scores(self.kept["last"]), self.kept["masked"].cpu().numpy())

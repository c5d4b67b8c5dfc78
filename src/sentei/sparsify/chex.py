"""Channel exploration: channels are pruned by leverage and regrown while training goes on."""

from dataclasses import dataclass
from math import cos, pi
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sentei.criteria.base import FloatArray, Source, broadcast_index
from sentei.graph import Group
from sentei.index.atoms import BoolArray
from sentei.seeding import make_generator
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
from sentei.sparsify.wiring import filter_rows, maker_slices

# Shapes: C = channels of all groups, K = channels of one group, F = elements one of them owns.


@SPARSIFIERS.register("chex")
@dataclass(frozen=True, kw_only=True)
class CHEX(Sparsifier):
    r"""Pruning and regrowing channels of a trained network while it trains on, not from scratch.

    Every few epochs, until a share of the training is over, each group prunes to the width that
    the budget gives it, then regrows some. What goes is found by column subset selection: with
    :math:`V_k` the first k singular vectors of the filters :math:`W \in R^{K \times F}` on the
    side of channels and k the channels to keep, the channels of the lowest leverage scores go,

    .. math:: \psi_i = \lVert (V_k)_{i,:} \rVert_2

    The share :math:`\delta_t = \delta_0 (1 + \cos(\pi t / T)) / 2` of the group comes back, drawn
    from the pruned ones with their last weights :math:`w_i`, without repetition, by the softmax of
    the residuals of their projections on the filters :math:`W_S` that are kept:

    .. math:: \lVert w_i - W_S^\top (W_S W_S^\top)^+ W_S w_i \rVert_2

    What is pruned is zero in all that makes it. At the end of exploration nothing regrows, and
    the masks stay. Scores are the root of the mean square of what makes a channel, with the pruned
    channels below the rest.

    Source: Hou et al., CHEX: CHannel EXploration for CNN Model Compression, CVPR 2022,
    arXiv:2203.15794.
    Difference: the weights at the start are those of the network that is given, in all methods a
    trained one, and not random; leverage is of coupled channels, over all filters that make them; widths come from
    the budget, by L2 norms and ``scope``, not from one threshold on scales of norms. Where W has a
    rank below k only singular vectors of singular values above 0 count: the others are arbitrary.

    Args:
        every: Epochs between two prunings, >= 1.
        exploration: Share of the training in which channels are pruned and regrown, in (0, 1].
        regrowth: :math:`\delta_0`, in [0, 1].
        scope: What orders the channels of different groups when the widths are found.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Hou et al., CHEX, CVPR", year=2022, arxiv="2203.15794", section="2.5.1"
    )
    comparable: ClassVar[bool] = True
    every: int = 2
    exploration: float = 0.7
    regrowth: float = 0.3
    scope: str = "global"

    def __post_init__(self) -> None:
        check_at_least(self, "every", 1)
        check_at_least(self, "exploration", 0, strict=True)
        check_at_least(self, "regrowth", 0)
        for name in ("exploration", "regrowth"):
            if getattr(self, name) > 1:
                raise ValueError(f"CHEX: {name}={getattr(self, name)}; expected at most 1")

    def last_epoch(self, num_epochs: int) -> int:
        """Return the number of epochs after which exploration ends."""
        return max(1, round(self.exploration * num_epochs))

    def regrown(self, done: int, num_epochs: int) -> float:
        """Return the share of a group that comes back after a number of epochs."""
        return self.regrowth * (1 + cos(pi * done / self.last_epoch(num_epochs))) / 2

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _CHEXHook(self, setting)


def leverage(weights_KF: Tensor, rank: int) -> Tensor:
    """Return the leverage score of every row in the best subspace of a rank, shape [K].

    Args:
        weights_KF: One channel a row.
        rank: Singular vectors that count, at most; fewer where singular values are 0.

    Returns:
        Lengths in [0, 1], whose squares add up to the number of vectors that count.
    """
    left, values, _ = torch.linalg.svd(weights_KF.double(), full_matrices=False)
    return left[:, : min(rank, _rank(values, weights_KF))].norm(dim=1)


def residuals(weights_KF: Tensor, onto_SF: Tensor) -> Tensor:
    """Return the lengths of what rows have outside the span of others, shape [K]."""
    _, values, right = torch.linalg.svd(onto_SF.double(), full_matrices=False)
    basis = right[: _rank(values, onto_SF)]
    rows = weights_KF.double()
    return (rows - rows @ basis.T @ basis).norm(dim=1)


def _rank(values: Tensor, matrix: Tensor) -> int:
    """Return how many singular values are above rounding."""
    least = values.max() * max(matrix.shape) * torch.finfo(matrix.dtype).eps
    return int((values > least).sum())


class _CHEXHook(SparseHook):
    def __init__(self, method: CHEX, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        self.evidence = evidence_of(self.setting.graph, model)
        self.makers = Selection(self.evidence, maker_slices(self.evidence))
        self.kept |= {"pruned": torch.zeros_like(self.makers.counts, dtype=torch.bool)}
        self.kept |= {f"last:{n}": p.detach().clone() for n, p in self._parameters()}

    def _parameters(self) -> list[tuple[str, Tensor]]:
        return list(self.makers.parameters.items())

    @torch.no_grad()
    def after_step(self, _model: nn.Module) -> None:
        self._zero()

    def _zero(self) -> None:
        self.makers.scale_((~self.kept["pruned"]).to(self.makers.counts.dtype))

    @torch.no_grad()
    def after_epoch(self, model: nn.Module, epoch: int) -> None:
        done, last = epoch + 1, self.method.last_epoch(self.setting.num_epochs)
        if done > last or (done % self.method.every and done < last):
            return
        graph = self.setting.graph
        counts = num_chosen(self.setting, "l2", model, scope=self.method.scope)
        live = ~self.kept["pruned"]
        self._restore(live)
        scores = [
            leverage(filter_rows(self.evidence, g) * _own(g, live)[:, None], g.width - int(count))
            for g, count in zip(graph.groups, counts, strict=True)
        ]
        pruned = lowest_of_each(graph, as_scores(torch.cat(scores)), counts)
        if done < last:
            regrown = self.method.regrown(done, self.setting.num_epochs) * graph.widths
            left = np.maximum(counts - np.floor(regrown).astype(np.int64), 0)
            pruned = lowest_of_each(graph, self._lots(pruned, done), left)
        self.kept["pruned"].copy_(torch.from_numpy(pruned))
        self._zero()

    def _restore(self, live_C: Tensor) -> None:
        """Remember the weights of live channels, and give the others their last ones."""
        live = live_C.to(self.makers.counts.dtype)
        for part in self.makers.slices:
            parameter, last = self.makers.parameters[part.tensor], self.kept[f"last:{part.tensor}"]
            index = broadcast_index(part, parameter.dim()).to(parameter.device)
            last.copy_(torch.where(expand(live, index) > 0, parameter, last))
        for name, parameter in self._parameters():
            parameter.copy_(self.kept[f"last:{name}"])

    def _lots(self, pruned_C: BoolArray, done: int) -> FloatArray:
        """Return numbers of which the highest of the pruned channels are a draw, shape [C].

        Adding Gumbel noise to logits and taking the highest draws by softmax, without repetition.
        """
        lots = np.full(len(pruned_C), np.inf)
        for group in self.setting.graph.groups:
            own = slice(group.first, group.first + group.width)
            gone = torch.from_numpy(pruned_C[own])
            rows = filter_rows(self.evidence, group)
            left = residuals(rows[gone.to(rows.device)], rows[~gone.to(rows.device)])
            generator = make_generator(self.setting.seed, "chex", group.name, str(done))
            uniform = torch.rand(len(left), generator=generator, dtype=torch.float64)
            gumbel = -(-uniform.clamp(1e-300, 1 - 1e-16).log()).log()
            lots[own][pruned_C[own]] = as_scores(left.cpu() + gumbel)
        return lots

    def scores(self, _model: nn.Module) -> FloatArray:
        return chosen_lowest(as_scores(self.makers.rms()), self.kept["pruned"].cpu().numpy())


def _own(group: Group, values_C: Tensor) -> Tensor:
    """Return the part of a vector that is of a group, shape [K]."""
    return values_C[group.first : group.first + group.width]

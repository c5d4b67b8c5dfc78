"""Soft filter pruning: what is zeroed at the end of an epoch may come back in the next."""

from dataclasses import dataclass
from math import exp, log
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from sentei.criteria.base import FloatArray, Source
from sentei.sparsify.base import (
    SPARSIFIERS,
    Setting,
    SparseHook,
    Sparsifier,
    check_criterion,
    chosen_lowest,
    lowest_of_each,
    num_chosen,
    weight_scores,
)
from sentei.sparsify.channels import Selection, evidence_of
from sentei.sparsify.wiring import filter_slices

# exp(-k/8) for the curve a exp(-k t) + b through (0, 0), (1/8, 3/4) and (1, 1): the root below 1
# of 1 - x = 3/4 (1 - x^8), to double precision.
_EIGHTH = 0.2500114482849561


@SPARSIFIERS.register("sfp")
@dataclass(frozen=True, kw_only=True)
class SFP(Sparsifier):
    r"""Soft filter pruning, in its plain and in its asymptotic form.

    At the end of each epoch the filters (and biases) of the channels with the lowest scores of
    each group become zero. They are trained again in the next epoch, so that a channel that was
    zeroed by mistake can come back. With ``asymptotic`` the share of the target that is zeroed
    after a share t of the epochs is

    .. math:: s(t) = a e^{-kt} + b, \qquad s(0) = 0,\ s(1/8) = 3/4,\ s(1) = 1

    and otherwise 1 from the first epoch on. Scores are those of the criterion, with the channels
    zeroed last below the rest.

    Source: He et al., Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks,
    IJCAI 2018, arXiv:1808.06866; asymptotic: He et al., Asymptotic Soft Filter Pruning,
    arXiv:1808.07471. With ``criterion="fpgm"`` it is the schedule of He et al., CVPR 2019,
    arXiv:1811.00250.
    Difference: channels are ranked over all coupled slices of a group; the widths come from the
    budget by ``scope``, not from one ratio for all layers. Norms behind the filters are left as
    they are: with its shift zero too, a channel in front of a ReLU has no gradient and is lost.

    Args:
        asymptotic: The zeroed share grows.
        criterion: Criterion that ranks; it must look at weights alone.
        scope: What orders the channels of different groups when the widths are found.

    Raises:
        ValueError: The criterion needs images.
        UnknownNameError: There is no such criterion.
    """

    source: ClassVar[Source] = Source(
        paper="He et al., Soft Filter Pruning, IJCAI",
        year=2018,
        arxiv="1808.06866",
        section="2.5.1",
    )
    comparable: ClassVar[bool] = True
    asymptotic: bool = False
    criterion: str = "l2"  # type: ignore[misc]  # a field here, a constant elsewhere
    scope: str = "local"

    def __post_init__(self) -> None:
        check_criterion(self, self.criterion)

    def share(self, epoch: int, num_epochs: int) -> float:
        """Return the share of the target that is zeroed after an epoch, counted from 0."""
        if not self.asymptotic:
            return 1.0
        decay = -8 * log(_EIGHTH)
        return (1 - exp(-decay * (epoch + 1) / num_epochs)) / (1 - exp(-decay))

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _SFPHook(self, setting)


class _SFPHook(SparseHook):
    def __init__(self, method: SFP, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        self.filters = Selection(evidence, filter_slices(evidence))
        counts = num_chosen(self.setting, self.method.criterion, model, scope=self.method.scope)
        self.kept |= {"counts": torch.from_numpy(counts)}
        self.kept |= {"zeroed": torch.zeros_like(self.filters.counts, dtype=torch.bool)}

    def after_epoch(self, model: nn.Module, epoch: int) -> None:
        share = self.method.share(epoch, self.setting.num_epochs)
        scores = weight_scores(self.setting.graph, self.method.criterion, model)
        counts = np.rint(share * self.kept["counts"].numpy()).astype(np.int64)
        zeroed = torch.from_numpy(lowest_of_each(self.setting.graph, scores, counts))
        self.kept["zeroed"].copy_(zeroed)
        self.filters.scale_((~self.kept["zeroed"]).to(self.filters.counts.dtype))

    def scores(self, model: nn.Module) -> FloatArray:
        sizes = weight_scores(self.setting.graph, self.method.criterion, model)
        return chosen_lowest(sizes, self.kept["zeroed"].cpu().numpy())

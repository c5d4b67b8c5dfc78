"""Dynamic pruning with feedback: the gradient of the pruned network trains dense weights."""

from dataclasses import dataclass
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
    check_at_least,
    check_criterion,
    chosen_lowest,
    cubic_growth,
    lowest_of_each,
    num_chosen,
    weight_scores,
)
from sentei.sparsify.channels import Selection, evidence_of
from sentei.sparsify.dense import DenseWeights
from sentei.sparsify.wiring import filter_slices


@SPARSIFIERS.register("dpf")
@dataclass(frozen=True, kw_only=True)
class DPF(Sparsifier):
    r"""Dense weights w behind a mask m that may change its mind.

    .. math:: w \leftarrow w - \eta \nabla L(m \odot w)

    The network runs with :math:`m \odot w`, and its whole gradient is applied to w, so that what
    the mask cut off goes on learning and may come back. The mask is made anew every few steps: it
    takes the channels with the lowest scores of w in each group, after a share t of the growth as
    many as the share :math:`1 - (1 - t)^3` of the target. The model ends as
    :math:`m \odot w`. Scores are those of the criterion, with the masked channels below the rest.

    Source: Lin et al., Dynamic Model Pruning with Feedback, ICLR 2020, arXiv:2006.07253.
    Difference: the mask is on whole channels, on their filters and biases, ranked over all coupled
    slices; the widths come from the budget by ``scope``. Norms behind the filters are not masked:
    with its shift zero too, a channel in front of a ReLU has no gradient to feed back.

    Args:
        growth: Share of the training in which the mask grows, in (0, 1].
        every: Optimizer steps between two masks, >= 1; one more is made after the last step.
        criterion: Criterion that ranks; it must look at weights alone.
        scope: What orders the channels of different groups when the widths are found.

    Raises:
        ValueError: A field is out of range, or the criterion needs images.
        UnknownNameError: There is no such criterion.
    """

    source: ClassVar[Source] = Source(
        paper="Lin et al., Dynamic Model Pruning with Feedback, ICLR",
        year=2020,
        arxiv="2006.07253",
        section="2.5.1",
    )
    comparable: ClassVar[bool] = True
    growth: float = 0.75
    every: int = 16
    criterion: str = "l2"  # type: ignore[misc]  # a field here, a constant elsewhere
    scope: str = "local"

    def __post_init__(self) -> None:
        check_at_least(self, "growth", 0, strict=True)
        check_at_least(self, "every", 1)
        if self.growth > 1:
            raise ValueError(f"DPF: growth={self.growth}; expected a share in (0, 1]")
        check_criterion(self, self.criterion)

    def share(self, step: int, num_steps: int) -> float:
        """Return the share of the target that is masked after a number of steps."""
        return cubic_growth(step / (self.growth * num_steps))

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _DPFHook(self, setting)


class _DPFHook(SparseHook):
    def __init__(self, method: DPF, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        self.dense = DenseWeights(Selection(evidence, filter_slices(evidence)))
        counts = num_chosen(self.setting, self.method.criterion, model, scope=self.method.scope)
        self.kept |= {"counts": torch.from_numpy(counts), **self.dense.kept}

    def after_backward(self, _model: nn.Module) -> None:
        self.dense.restore()

    def after_step(self, model: nn.Module) -> None:
        self.count_step()
        self.dense.remember()
        if self.step % self.method.every == 0 or self.step == self.setting.num_steps:
            self._choose(model)
        self.dense.mask()

    def _choose(self, model: nn.Module) -> None:
        """Make the mask anew, by the dense weights that the model holds."""
        graph = self.setting.graph
        share = self.method.share(self.step, self.setting.num_steps)
        counts = np.rint(share * self.kept["counts"].numpy()).astype(np.int64)
        scores = weight_scores(graph, self.method.criterion, model)
        self.dense.choose(lowest_of_each(graph, scores, counts))

    def scores(self, model: nn.Module) -> FloatArray:
        sizes = weight_scores(self.setting.graph, self.method.criterion, model)
        return chosen_lowest(sizes, self.kept["masked"].cpu().numpy())

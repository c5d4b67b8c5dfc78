"""Group lasso over everything a channel owns."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import Tensor, nn

from sentei.criteria.base import FloatArray, Source
from sentei.sparsify.base import SPARSIFIERS, Setting, SparseHook, Sparsifier, check_at_least
from sentei.sparsify.channels import Selection, as_scores, evidence_of

Mode = Literal["subgradient", "prox"]


@SPARSIFIERS.register("ssl")
@dataclass(frozen=True, kw_only=True)
class GroupLasso(Sparsifier):
    r"""Sum over channels of the Euclidean norm of what each channel owns.

    .. math:: R = \lambda \sum_c \sqrt{F_c} \lVert w_c \rVert_2

    where :math:`w_c` are all elements, :math:`F_c` in number, of the slices of weights and scales
    of norms that channel c owns: its filters, its norms, and the columns of the layers that read
    it. ``subgradient`` adds R to the loss (its subgradient is taken as 0 at 0); ``prox`` follows
    each optimizer step, of learning rate :math:`\eta`, by

    .. math:: w_c \leftarrow \max(0, 1 - \eta \lambda \sqrt{F_c} / \lVert w_c \rVert_2) w_c

    which makes channels exactly zero. Scores are :math:`\lVert w_c \rVert_2 / \sqrt{F_c}`.

    Source: Wen et al., Learning Structured Sparsity in Deep Neural Networks, NeurIPS 2016,
    arXiv:1608.03665.
    Difference: there filters and input channels of a layer are penalised apart; here all coupled
    slices of a channel are one group, so that a residual network loses its channels everywhere at
    once. A weight between two channels is in both of their groups, and the proximal step
    multiplies it by both factors, computed before the step: it is the exact proximal map where
    channels share no weight (one hidden layer), and makes the same channels zero elsewhere.

    Args:
        strength: :math:`\lambda`, >= 0; a channel's penalty grows with the root of its size, so
            channels that own much and little shrink alike.
        mode: How the penalty acts.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Wen et al., Learning Structured Sparsity in Deep Neural Networks, NeurIPS",
        year=2016,
        arxiv="1608.03665",
        section="2.3.3",
    )
    comparable: ClassVar[bool] = True
    strength: float = 1e-4
    mode: Mode = "subgradient"

    def __post_init__(self) -> None:
        check_at_least(self, "strength", 0)
        if self.mode not in get_args(Mode):
            raise ValueError(
                f"GroupLasso: mode={self.mode!r}; expected one of {', '.join(get_args(Mode))}"
            )

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _GroupLassoHook(self, setting)


class _GroupLassoHook(SparseHook):
    def __init__(self, method: GroupLasso, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        self.weights = Selection(evidence, evidence.weights)
        self.strengths = self.method.strength * self.weights.counts.sqrt()

    def penalty(self, _model: nn.Module) -> Tensor | None:
        if self.method.mode == "prox":
            return None
        return (self.strengths * self.weights.norms()).sum()

    def after_step(self, _model: nn.Module) -> None:
        if self.method.mode == "prox":
            self.weights.shrink_(self.learning_rate * self.strengths)
        self.count_step()

    def scores(self, _model: nn.Module) -> FloatArray:
        return as_scores(self.weights.rms())

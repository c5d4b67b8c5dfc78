"""The probability that a channel is dead behind norm and ReLU."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.criteria.base import FloatArray, Source
from sentei.errors import PruningError
from sentei.sparsify.base import SPARSIFIERS, Setting, SparseHook, Sparsifier, check_at_least
from sentei.sparsify.channels import as_scores, evidence_of, norm_scales

_TINY = 1e-12  # added to the scale: what is constant is alive or dead by the sign of its shift


@SPARSIFIERS.register("scp")
@dataclass(frozen=True, kw_only=True)
class SCP(Sparsifier):
    r"""Expected number of channels that live behind a batch norm and a ReLU.

    A batch norm makes its output about normal with mean :math:`\beta` and standard deviation
    :math:`|\gamma|`, so the ReLU behind it gives zero with probability :math:`\Phi(-\beta /
    |\gamma|)`. The penalty is the expected number of live channels,

    .. math:: R = \lambda \sum_c a_c, \qquad
        a_c = \frac{1}{M_c} \sum_m \Phi(\beta_{mc} / |\gamma_{mc}|)

    over the :math:`M_c` norms m that act on channel c. Scores are :math:`a_c`, in [0, 1],
    compared over all groups.

    Source: Kang and Han, Operation-Aware Soft Channel Pruning using Differentiable Masks,
    ICML 2020.
    Difference: the paper multiplies channels by a soft mask that it computes from this
    probability while training; here the probability itself is the penalty, and channels that it
    makes dead are zero by the ReLU. With another activation the score is only the normal
    probability of a positive value.

    Args:
        strength: :math:`\lambda`, >= 0.

    Raises:
        ValueError: ``strength`` is negative or not finite.
    """

    source: ClassVar[Source] = Source(
        paper="Kang and Han, Operation-Aware Soft Channel Pruning, ICML", year=2020, section="2.3.1"
    )
    comparable: ClassVar[bool] = True
    needs_norms: ClassVar[bool] = True
    strength: float = 1e-4

    def __post_init__(self) -> None:
        check_at_least(self, "strength", 0)

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook; every group must have a norm with scale and shift."""
        return _SCPHook(self, setting)


class _SCPHook(SparseHook):
    def __init__(self, method: SCP, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        self.scales = norm_scales(evidence)
        self.shifts: dict[str, Tensor] = {}
        for scale in self.scales.parameters:
            shift = evidence.norms[scale]
            if shift is None:
                raise PruningError(
                    f"the norm with scale {scale} has no shift, so 'scp' cannot tell how often its "
                    "channels are dead; sparsify with 'network-slimming', or protect its group"
                )
            self.shifts[scale] = evidence.parameters[shift]

    def alive(self) -> Tensor:
        """Return the probability of a positive value, mean over norms, shape [C]."""
        probabilities = {
            name: torch.special.ndtr(self.shifts[name] / (scale.abs() + _TINY))
            for name, scale in self.scales.parameters.items()
        }
        return self.scales.add(probabilities) / self.scales.counts

    def penalty(self, _model: nn.Module) -> Tensor:
        return self.method.strength * self.alive().sum()

    def scores(self, _model: nn.Module) -> FloatArray:
        return as_scores(self.alive())

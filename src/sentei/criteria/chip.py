"""Independence of channels.

Shapes: N = images; C = channels at one point; F = pixels of a channel; K = min(C, F) singular
values; Q = nodes of the quadrature.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import log, pi
from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Needs, Source
from sentei.criteria.watch import Reading, mean_over_points, sum_over_images
from sentei.graph import Graph
from sentei.graph.points import activations

# Nodes in the logarithm of s, of matrices of length 1: the integrand is analytic within pi / 2 of the real axis, so that the error of steps h is of the order of
# exp(-pi^2 / h); below the first node lies 1e-9 of the sum, beyond the last a tail in closed form.
_STEP = 0.4
_NODES = (log(1e-10), log(1e5))


@CRITERIA.register("chip")
@dataclass(frozen=True, kw_only=True)
class Chip(Criterion):
    r"""How much of the nuclear norm of all feature maps is lost without a channel's map.

    .. math:: s_c = \frac{1}{N} \sum_n \lVert A_n \rVert_* - \lVert A_n^{(c)} \rVert_*

    where row c of :math:`A_n` is the map of channel c for image n, flattened, and
    :math:`A^{(c)}` has zeros there; averaged over the tensors that readers of the group see
    (before pooling to one pixel). No singular value of any :math:`A^{(c)}` is computed. With
    :math:`A = U \Sigma V^T`,

    .. math:: \lVert A \rVert_* - \lVert A^{(c)} \rVert_* = -\frac{1}{\pi} \int_0^\infty
        \ln \Bigl( \sum_k \frac{u_{ck}^2 s^2}{\sigma_k^2 + s^2} \Bigr) ds

    (sum the logarithms of :math:`1 + \sigma^2 / s^2` of both, and take the ratio of the
    determinants by Cramer's rule), so that one eigendecomposition serves all channels. The
    integral is right to about 1e-8 of the largest singular value.

    Source: Sui et al., CHIP: CHannel Independence-based Pruning, NeurIPS 2021, arXiv:2110.13981.
    Difference: a channel in a residual stream counts at every reader, not after one layer; where
    groups are concatenated, the matrix has rows of all of them.
    """

    source: ClassVar[Source] = Source(
        paper="Sui et al., CHIP: CHannel Independence-based Pruning, NeurIPS",
        year=2021,
        arxiv="2110.13981",
        section="2.2.1",
    )
    needs: ClassVar[Needs] = Needs.ACTIVATIONS

    def observe(
        self, graph: Graph, model: nn.Module
    ) -> AbstractContextManager[Mapping[str, Tensor]]:
        """Add up losses of nuclear norms."""
        return sum_over_images(graph, model, activations(graph), _losses)

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the losses, shape [C], >= 0 up to rounding, in the unit of the activations.

        Raises:
            PruningError: No convolution or linear layer reads a group.
        """
        missing = "no convolution or linear layer reads it; score with 'l1', or protect it"
        return mean_over_points(evidence, activations(evidence.graph), missing)


def _losses(reading: Reading) -> Tensor:
    return nuclear_norm_losses(reading.rows)


def nuclear_norm_losses(rows_NCF: Tensor) -> Tensor:
    """Return what the nuclear norm of each matrix loses without each of its rows, shape [N, C].

    Args:
        rows_NCF: Finite matrices.
    """
    rows_NCF = rows_NCF.double()
    largest_N = torch.linalg.vector_norm(rows_NCF, dim=(1, 2))
    rows_NCF = rows_NCF / largest_N.where(largest_N > 0, 1)[:, None, None]
    squares_NK, shares_NCK = _directions(rows_NCF)
    nodes_Q = torch.arange(*_NODES, _STEP, dtype=torch.float64, device=rows_NCF.device).exp()
    low_Q, high_Q = nodes_Q[nodes_Q < 1], nodes_Q[nodes_Q >= 1]
    # What the logarithm is of goes from 0 to 1: near either end, all digits of the distance count.
    squares_NK1 = squares_NK[:, :, None]
    rest_NC = 1 - shares_NCK.sum(2)
    rest_NC = rest_NC.where(rest_NC > _rounding(rows_NCF), 0)
    inside_NCQ = shares_NCK @ (low_Q.square() / (squares_NK1 + low_Q.square()))
    inside_NCQ = (inside_NCQ + rest_NC[:, :, None]).clamp(min=1e-300)
    outside_NCQ = shares_NCK @ (squares_NK1 / (squares_NK1 + high_Q.square()))
    integral_NC = -_STEP * (inside_NCQ.log() @ low_Q + torch.log1p(-outside_NCQ) @ high_Q)
    # Beyond the last node, by whose middle the sum ends, the logarithm is -|row|^2 / s^2.
    end = float(nodes_Q[-1]) * torch.e ** (_STEP / 2)
    tail_NC = rows_NCF.square().sum(2) / end
    return largest_N[:, None] * (integral_NC + tail_NC) / pi


def _directions(rows_NCF: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squares of singular values [N, K] and of left singular vectors [N, C, K].

    Of matrices of length 1. Products with the vectors give small singular values to all digits;
    the eigenvalues of a Gram matrix do not.
    """
    if rows_NCF.shape[1] <= rows_NCF.shape[2]:
        left_NCK = torch.linalg.eigh(rows_NCF @ rows_NCF.mT).eigenvectors
        return (left_NCK.mT @ rows_NCF).square().sum(2), left_NCK.square()
    right_NFK = torch.linalg.eigh(rows_NCF.mT @ rows_NCF).eigenvectors
    scaled_NCK = (rows_NCF @ right_NFK).square()
    squares_NK = scaled_NCK.sum(1)
    is_found_NK = squares_NK > _rounding(rows_NCF) ** 2
    return squares_NK, scaled_NCK / squares_NK.where(is_found_NK, torch.inf)[:, None]


def _rounding(rows_NCF: Tensor) -> float:
    return max(rows_NCF.shape[1:]) * torch.finfo(torch.float64).eps

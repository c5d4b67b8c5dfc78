"""Ranks of feature maps.

Shapes: N = images; C = channels; M = maps of a channel; H W = pixels of a map; B = maps of all
images and channels; n = min(H, W).
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Needs, Source
from sentei.criteria.watch import Reading, mean_over_points, sum_over_images
from sentei.graph import Graph
from sentei.graph.points import Point, activations

# Elements of the Gram matrices that are eliminated together: what a cache holds.
_BLOCK = 2**17


@CRITERIA.register("hrank")
@dataclass(frozen=True, kw_only=True)
class HRank(Criterion):
    r"""Mean rank of a channel's feature maps.

    .. math:: s_c = \frac{1}{N} \sum_n \operatorname{rank}(Y_{nc})

    over N images, averaged over the tensors that readers of the group see as maps (before
    pooling to one pixel). The rank of a map counts its singular values above
    :math:`\max(H, W)\,\epsilon\,\lVert Y \rVert_F`, with :math:`\epsilon = 2^{-23}`.

    No singular value is computed: as many pivots are positive in the elimination of
    :math:`Y Y^T - \tau^2 I` as there are singular values above :math:`\tau` (Sylvester's law of
    inertia), and all maps are eliminated at once, in float64. Takes :math:`H W n + n^3 / 3`
    multiply-adds a map.

    Source: Lin et al., HRank, CVPR 2020, arXiv:2002.10179.
    Difference: a channel in a residual stream counts at every reader, not after one layer. The
    threshold is relative to the Frobenius norm, which is never below the largest singular value
    that libraries take and at most sqrt(n) times it. There one layer after the other is pruned
    and trained, here all are after one scoring.
    """

    source: ClassVar[Source] = Source(
        paper="Lin et al., HRank, CVPR", year=2020, arxiv="2002.10179", section="2.2.1"
    )
    needs: ClassVar[Needs] = Needs.ACTIVATIONS

    def observe(
        self, graph: Graph, model: nn.Module
    ) -> AbstractContextManager[Mapping[str, Tensor]]:
        """Add up mean ranks of images."""
        return sum_over_images(graph, model, _maps(graph), _mean_ranks)

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the mean ranks, shape [C], each in [0, min(H, W)].

        Raises:
            PruningError: Nothing that reads a group sees it as maps.
        """
        missing = (
            "none of its readers sees maps of two dimensions with more than one pixel, which have a "
            "rank; score with 'chip' or 'mean-activation', or protect it"
        )
        return mean_over_points(evidence, _maps(evidence.graph), missing)


def _maps(graph: Graph) -> list[Point]:
    return [p for p in activations(graph) if len(p.pixels(p.shape)) > 1 and p.has_pixels]


def _mean_ranks(reading: Reading) -> Tensor:
    pixels = reading.point.pixels(reading.input.shape)[-2:]
    maps_NCMHW = reading.rows.unflatten(2, (-1, *pixels))
    ranks_NCM = matrix_ranks(maps_NCMHW.flatten(0, 2)).reshape(maps_NCMHW.shape[:3])
    num_maps = reading.num_elements / (pixels[0] * pixels[1])
    return ranks_NCM.sum(2) / num_maps


def matrix_ranks(maps_BHW: Tensor) -> Tensor:
    """Return the number of singular values of every matrix above the threshold, shape [B].

    Args:
        maps_BHW: Finite matrices; any floating-point type, float32 precision is enough.
    """
    if maps_BHW.shape[1] > maps_BHW.shape[2]:
        maps_BHW = maps_BHW.mT
    num_rows = maps_BHW.shape[1]
    threshold = maps_BHW.shape[2] * torch.finfo(torch.float32).eps
    blocks = maps_BHW.split(max(1, _BLOCK // num_rows**2))
    return torch.cat([_count_above(block.double(), threshold) for block in blocks])


def _count_above(maps_BHW: Tensor, threshold: float) -> Tensor:
    """Return how many singular values exceed ``threshold`` times the Frobenius norm, shape [B]."""
    gram_BHH = maps_BHW @ maps_BHW.mT
    squares_B = gram_BHH.diagonal(dim1=1, dim2=2).sum(1)
    gram_BHH /= squares_B.where(squares_B > 0, 1)[:, None, None]
    gram_BHH.diagonal(dim1=1, dim2=2).sub_(threshold**2)
    # Maps last: one step eliminates a row and column of all of them, in order of memory.
    left = gram_BHH.permute(1, 2, 0).contiguous()
    count = torch.zeros(len(maps_BHW), dtype=torch.int64, device=maps_BHW.device)
    for k in range(len(left)):
        count += left[k, k] > 0
        column = left[k + 1 :, k]
        left[k + 1 :, k + 1 :].addcmul_((column / left[k, k])[:, None], column[None], value=-1)
    return count

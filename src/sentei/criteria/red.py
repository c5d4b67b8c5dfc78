"""Channels that are alike once their weights are rounded to the nearest mode."""

# Shapes: C = channels of one group, B = bins.

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from scipy.cluster.hierarchy import linkage
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.distance import squareform
from torch import Tensor

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Source
from sentei.criteria.reduce import reduce_slices
from sentei.criteria.vectors import NO_WEIGHTS, distances, gram, join
from sentei.index.atoms import IntArray

_BINS = 4  # a bandwidth has so many
_MOST_BINS = 2**18


@CRITERIA.register("red")
@dataclass(frozen=True, kw_only=True)
class Red(Criterion):
    r"""Distance at which a channel merges with a larger one, its weights rounded to modes.

    The density of the elements of every parameter is estimated with Gaussian kernels; every
    element is replaced by the mode whose slope it lies on, so that nearly equal channels become
    equal. Then the two nearest clusters of channels merge, again and again (single linkage). Each
    merge has one channel stand for both clusters, the longer vector before rounding, and gives the
    other the distance as its score; the last one left has twice the largest. Of channels that are equal after
    rounding all but one have 0. Takes :math:`C^2` memory and :math:`C^2 F` time for C channels
    owning F elements each.

    Source: Yvinec et al., RED: Looking for Redundancies for Data-Free Structured Compression of
    Deep Neural Networks, NeurIPS 2021, arXiv:2105.14797.
    Difference: scores only: the weights stay as they are, and what reads a merged channel is not
    added to what reads the other; compensation does that. A channel is the vector of all weights
    that go with it, not the filter alone. The kernels' width is a field, not adapted.

    Args:
        bandwidth: Standard deviation of the kernels, as a share of that of the elements of the
            parameter, > 0; larger means fewer modes.

    Raises:
        ValueError: ``bandwidth`` is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Yvinec et al., RED: Looking for Redundancies, NeurIPS",
        year=2021,
        arxiv="2105.14797",
        section="2.1.2",
    )
    bandwidth: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.bandwidth < np.inf:
            raise ValueError(f"bandwidth={self.bandwidth}; expected a finite share > 0")

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the distances, shape [C], in the unit of the weights."""

        @cache
        def rounded(tensor: str) -> Tensor:
            return _round_to_modes(evidence.parameters[tensor], self.bandwidth)

        lengths = reduce_slices(
            evidence,
            evidence.weights,
            lambda weight: weight.double().square(),
            reduction="sum",
            missing=NO_WEIGHTS,
        )
        return join(
            _merges(distances(gram(evidence, g, rounded)), lengths[g.first : g.first + g.width])
            for g in evidence.graph.groups
        )


def _round_to_modes(tensor: Tensor, bandwidth: float) -> Tensor:
    """Return the elements replaced by modes of their density, of the same shape, float64."""
    values = tensor.double().cpu().numpy()
    lowest, spread = float(values.min()), float(np.ptp(values))
    if spread == 0:
        return tensor.double()
    step = max(float(values.std()) * bandwidth / _BINS, spread / _MOST_BINS)
    bins = np.floor((values - lowest) / step).astype(np.int64)
    modes, borders = _modes(np.bincount(bins.ravel()).astype(np.float64))
    centres = lowest + (modes + 0.5) * step
    found = centres[np.searchsorted(borders, bins, side="right")]
    return torch.from_numpy(found).to(tensor.device)


def _modes(counts_B: FloatArray) -> tuple[IntArray, IntArray]:
    """Return the bins of the modes, ascending, and the first bins of the slopes of all but one."""
    padded = np.pad(counts_B, 1)
    density = gaussian_filter1d(padded, _BINS, mode="constant")
    rises, falls = density[1:-1] > density[:-2], density[1:-1] >= density[2:]
    modes = np.flatnonzero(rises & falls)
    borders = [int(a + np.argmin(density[a + 1 : b + 2])) for a, b in pairwise(modes)]
    return modes, np.array(borders, dtype=np.int64)


def _merges(distances_CC: FloatArray, lengths: FloatArray) -> FloatArray:
    """Return the distance at which each channel gives way to a longer one, shape [C]."""
    scores = np.full(len(lengths), 2 * float(distances_CC.max()))
    if len(lengths) == 1:
        return scores
    standing = list(range(len(lengths)))  # for every cluster, in the order of linkage
    for one, other, distance, _ in linkage(squareform(distances_CC, checks=False), "single"):
        pair = (standing[int(one)], standing[int(other)])
        loser, winner = sorted(pair, key=lambda channel: float(lengths[channel]))
        scores[loser] = distance
        standing.append(winner)
    return scores

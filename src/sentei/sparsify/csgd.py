"""Centripetal SGD: channels of a cluster become equal, and equal channels merge without loss."""

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from sentei.criteria.base import Evidence, FloatArray, Source
from sentei.errors import PruningError, VerificationError
from sentei.graph import Graph, Slice
from sentei.graph.capture import find_tensor, walk
from sentei.index.atoms import IntArray
from sentei.seeding import derive_seed
from sentei.sparsify.base import (
    SPARSIFIERS,
    Setting,
    SparseHook,
    Sparsifier,
    check_at_least,
    num_chosen,
)
from sentei.sparsify.channels import as_scores, evidence_of
from sentei.sparsify.wiring import filter_rows, produced_slices
from sentei.surgery import apply, verify
from sentei.surgery.plan import plan_keep

# Shapes: C = channels of all groups, P = positions of a slice, F = elements a channel owns.


@SPARSIFIERS.register("c-sgd")
@dataclass(frozen=True, kw_only=True)
class CSGD(Sparsifier):
    r"""Centripetal SGD: clusters of channels are trained to coincide, then merged.

    The channels of each group are put into as many clusters as the budget leaves channels. With H
    the cluster of channel j and x all that makes a channel, its gradient becomes

    .. math:: \frac1{|H|} \sum_{k \in H} \frac{\partial L}{\partial x_k}
        + \epsilon \Bigl(x_j - \frac1{|H|} \sum_{k \in H} x_k\Bigr)

    so that members move as one and their differences decay. After the last epoch what is left of
    the differences is taken away, also in running statistics. Then the first channel of a cluster
    takes over what the layers behind read from the others, :math:`W_{:,j} \leftarrow
    \sum_{k \in H} W_{:,k}`, which changes no output. Scores are 1 for the first channel of each
    cluster and 0 for the others.

    Source: Ding et al., Centripetal SGD for Pruning Very Deep Convolutional Networks with
    Complicated Structure, CVPR 2019, arXiv:1904.03837.
    Difference: clusters are of coupled channels, over all their filters; where rows must stay
    equal, each row has its own, equally many; the widths come from the budget by ``scope``; the
    pull is the same on vectors as on filters. A network in which some layer reads all channels of
    a group together, as a layer norm, cannot merge and is refused.

    Args:
        strength: :math:`\epsilon`, > 0; learning rate times strength should stay below 1.
        clusters: ``k-means``, or ``even``: runs of neighbouring channels.
        scope: What orders the channels of different groups when the widths are found.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Ding et al., Centripetal SGD, CVPR", year=2019, arxiv="1904.03837", section="2.4.3"
    )
    comparable: ClassVar[bool] = True
    strength: float = 0.05
    clusters: str = "k-means"
    scope: str = "local"

    def __post_init__(self) -> None:
        check_at_least(self, "strength", 0, strict=True)
        if self.clusters not in ("k-means", "even"):
            raise ValueError(f"CSGD: clusters={self.clusters!r}; expected 'k-means' or 'even'")

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook; merging must be lossless in the network."""
        return _CSGDHook(self, setting)


class _Clustered:
    """A slice of a tensor, whose channels are averaged or added within clusters.

    The n-th position of a channel goes with the n-th of the others in its cluster; in a grouped
    convolution, positions go with those of the same output.

    Args:
        part: The slice.
        tensor: Its tensor.
        first_C: First channel of every channel's cluster, shape [C].
    """

    def __init__(self, part: Slice, tensor: Tensor, first_C: IntArray) -> None:
        self.tensor = tensor
        self.dims = len(part.dims)
        self.dim = part.dims[0]
        width = part.channels.shape[-1]
        rows = part.channels.reshape(-1, width)
        index = [_matches(own, first_C) + row * width for row, own in enumerate(rows)]
        self.index = torch.from_numpy(np.concatenate(index)).to(tensor.device)

    def _rows(self, values: Tensor) -> Tensor:
        """Return the values with the positions first, shape [P, ...]."""
        return values.flatten(0, 1) if self.dims == 2 else values.movedim(self.dim, 0)

    def mean(self, values: Tensor) -> Tensor:
        """Return values of the tensor's shape, each the mean of its cluster."""
        sums, counts = self._added(values)
        return self._back((sums / counts)[self.index], values)

    @torch.no_grad()
    def merge_(self) -> None:
        """Give the first of each cluster the sum of it, and zero to the others."""
        sums, _ = self._added(self.tensor)
        self.tensor.copy_(self._back(sums, self.tensor))

    def _added(self, values: Tensor) -> tuple[Tensor, Tensor]:
        rows = self._rows(values)
        counts = torch.bincount(self.index, minlength=len(rows)).clamp(min=1)
        sums = torch.zeros_like(rows).index_add(0, self.index, rows)
        return sums, counts.reshape(-1, *[1] * (rows.dim() - 1))

    def _back(self, rows: Tensor, like: Tensor) -> Tensor:
        return rows.reshape(like.shape) if self.dims == 2 else rows.movedim(0, self.dim)


def _matches(channels: IntArray, first_C: IntArray) -> IntArray:
    """Return for every position that of the same rank of its cluster's first channel, shape [P].

    Positions without a channel, and those without such a position, are their own.
    """
    place: dict[tuple[int, int], int] = {}
    keys = []
    seen: Counter[int] = Counter()
    for position, channel in enumerate(channels.tolist()):
        place[channel, seen[channel]] = position
        keys.append((int(first_C[channel]) if channel >= 0 else -1, seen[channel]))
        seen[channel] += 1
    return np.array([place.get(key, i) for i, key in enumerate(keys)], dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Clusters:
    """The clusters of a model's channels: what makes them, what counts them, what reads them."""

    makers: Sequence[_Clustered]
    statistics: Sequence[_Clustered]
    readers: Sequence[_Clustered]

    @classmethod
    def of(cls, graph: Graph, model: nn.Module, first_C: IntArray) -> "_Clusters":
        evidence = evidence_of(graph, model)
        modules = dict(walk(model))
        made = {(s.tensor, s.dims) for s in produced_slices(evidence)}
        found: dict[str, list[_Clustered]] = {"makers": [], "statistics": [], "readers": []}
        for part in graph.slices:
            tensor, kind = find_tensor(modules, part.tensor)
            if tensor is not None and tensor.is_floating_point():
                # A vector acts on each channel alone: a scale, a shift, the slope of a PReLU.
                is_made = tensor.dim() == 1 or (part.tensor, part.dims) in made
                role = "statistics" if kind == "buffer" else "makers" if is_made else "readers"
                found[role].append(_Clustered(part, tensor, first_C))
        return cls(**found)

    @torch.no_grad()
    def join_(self) -> None:
        """Make all channels of a cluster equal: their mean."""
        for part in (*self.makers, *self.statistics):
            part.tensor.copy_(part.mean(part.tensor))

    def merge_(self) -> None:
        """Let the first channel of every cluster of equal ones stand for all."""
        for part in self.readers:
            part.merge_()


def find_clusters(evidence: Evidence, counts_G: IntArray, *, kind: str, seed: int) -> IntArray:
    """Return the first channel of every channel's cluster, shape [C].

    Args:
        evidence: The graph and the weights.
        counts_G: Clusters of each group, shape [G]; rows that must stay equal share them evenly.
        kind: ``k-means`` on all filters that make a channel, or ``even``.
        seed: Of k-means.

    Raises:
        PruningError: The channels of a group have no filter.
    """
    first = np.arange(evidence.graph.num_channels)
    for group, count in zip(evidence.graph.groups, counts_G, strict=True):
        vectors_CF = as_scores(filter_rows(evidence, group))
        rows = np.zeros(group.width, dtype=np.int64) if group.rows is None else group.rows
        for row in range(group.num_rows):
            own = np.flatnonzero(rows == row)
            number = int(count) // group.num_rows
            labels = np.arange(len(own)) * number // len(own)
            if kind == "k-means":
                state = derive_seed(seed, "c-sgd", group.name, str(row)) % 2**32
                labels = KMeans(number, n_init=4, random_state=state).fit(vectors_CF[own]).labels_
            firsts = {int(k): int(own[labels == k][0]) for k in np.unique(labels)}
            first[group.first + own] = [group.first + firsts[int(k)] for k in labels]
    return first


def _check_lossless(graph: Graph, model: nn.Module, first_C: IntArray) -> None:
    """Refuse a network in which equal channels do not merge: tried on a copy, before training."""
    joined = deepcopy(model).double().eval()
    _Clusters.of(graph, joined, first_C).join_()
    merged = deepcopy(joined)
    _Clusters.of(graph, merged, first_C).merge_()
    is_first = first_C == np.arange(len(first_C))
    small = apply(plan_keep(graph, is_first), merged)
    try:
        verify(joined, small, plan_keep(graph, np.ones_like(is_first)), graph.inputs)
    except VerificationError as error:
        raise PruningError(
            "'c-sgd' merges equal channels, and in this network that would change the outputs: "
            "something reads all channels of a group together, as a layer norm, or makes them "
            "other than by filters, as an embedding; sparsify with 'ssl', or protect its "
            "group"
        ) from error


class _CSGDHook(SparseHook):
    def __init__(self, method: CSGD, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        graph = self.setting.graph
        counts = graph.widths - num_chosen(self.setting, "l2", model, scope=self.method.scope)
        first = find_clusters(
            evidence_of(graph, model), counts, kind=self.method.clusters, seed=self.setting.seed
        )
        _check_lossless(graph, model, first)
        self.kept |= {"first": torch.from_numpy(first)}
        self.model = model
        self.clusters = _Clusters.of(graph, model, first)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self.clusters = _Clusters.of(self.setting.graph, self.model, self.kept["first"].numpy())

    @torch.no_grad()
    def after_backward(self, _model: nn.Module) -> None:
        for part in self.clusters.makers:
            gradient = part.tensor.grad
            if gradient is not None:
                pull = part.tensor - part.mean(part.tensor)
                gradient.copy_(part.mean(gradient) + self.method.strength * pull)

    def after_epoch(self, _model: nn.Module, epoch: int) -> None:
        if epoch + 1 == self.setting.num_epochs:
            self.clusters.join_()

    def scores(self, _model: nn.Module) -> FloatArray:
        first = self.kept["first"]
        return as_scores(first == torch.arange(len(first)))

    def finish(self, _model: nn.Module) -> None:
        self.clusters.merge_()

"""The criterion for whoever has no opinion: what the data at hand allows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Source
from sentei.criteria.watch import count_points
from sentei.graph import Graph
from sentei.graph.points import points


@CRITERIA.register("auto")
@dataclass(frozen=True, kw_only=True)
class Auto(Criterion):
    """``fisher`` if there are images with classes and layers read every group, else ``l1``.

    Which of the two, and why, is written down in note 3 under docs/decisions.
    """

    source: ClassVar[Source] = Source(paper="baseline")

    def choose(self, graph: Graph, batches: Iterable[Sequence[Tensor]] | None) -> str:
        """Return the name of the criterion that is taken.

        Args:
            graph: The graph.
            batches: (images, labels) pairs, or None. Of a list the first is looked at; others
                are taken to hold labels.
        """
        if batches is None or not _has_classes(batches):
            return "l1"
        return "fisher" if (count_points(graph, points(graph)) > 0).all() else "l1"

    def score(self, evidence: Evidence) -> FloatArray:
        """Return what ``l1`` does, shape [C]: the weights are all there is to look at."""
        return CRITERIA["l1"]().score(evidence)


def _has_classes(batches: Iterable[Sequence[Tensor]]) -> bool:
    """Return whether the labels of the first batch are numbers of classes, one an image."""
    if not isinstance(batches, Sequence) or not batches:
        return True
    labels = batches[0][1] if len(batches[0]) > 1 else None
    return isinstance(labels, Tensor) and labels.dim() == 1 and not labels.is_floating_point()

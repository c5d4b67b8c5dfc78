"""The channels of a group as vectors of all weights that go with them.

Distances come from one Gram matrix added over all slices: neither the differences [C, C, F] nor
the joined vectors [C, F] are ever made.
Shapes: C = channels of one group; F = elements a channel owns in one slice.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from sentei.criteria.base import Evidence, FloatArray, require, weights_CF
from sentei.graph import Group, Member

NO_WEIGHTS = "it owns no weights to compare; protect it, or score with 'random'"


def score_vectors(evidence: Evidence, score: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Return the scores of all groups, each from the Gram matrix of its channels.

    Args:
        evidence: Holds the weights.
        score: From a Gram matrix [C, C] to the scores [C] of the group.

    Raises:
        PruningError: A group owns no weights.
    """
    require_weights(evidence)
    return join(score(gram(evidence, group)) for group in evidence.graph.groups)


def require_weights(evidence: Evidence) -> None:
    """Refuse groups that own no weights.

    Raises:
        PruningError: There is such a group.
    """
    found = np.zeros(evidence.graph.num_channels, dtype=np.bool_)
    for part in evidence.weights:
        found[part.channels[part.channels >= 0]] = True
    require(evidence.graph, found, NO_WEIGHTS)


def join(parts: Iterator[FloatArray]) -> FloatArray:
    """Return the scores of the groups as one array, empty if there are no groups."""
    return np.concatenate([*parts, np.empty(0)])


def weight_members(evidence: Evidence, group: Group) -> list[Member]:
    """Return the slices of a group that hold weights or scales of norms."""
    known = evidence.parameters
    return [m for m in group.members if m.tensor in known and evidence.is_weight(m.tensor)]


def gram(
    evidence: Evidence, group: Group, elements: Callable[[str], Tensor] | None = None
) -> FloatArray:
    """Return the inner products of the channels of a group over all its weights, shape [C, C].

    Args:
        evidence: Holds the weights.
        group: The group.
        elements: From the name of a parameter, what to take for its elements, of its shape; by
            default the parameter itself.
    """
    found = torch.zeros((), dtype=torch.float64)
    for member in weight_members(evidence, group):
        tensor = (elements or evidence.parameters.__getitem__)(member.tensor)
        rows_CF = weights_CF(group, member, tensor)
        rows_CF = rows_CF.to(torch.promote_types(rows_CF.dtype, torch.float32))
        found = found.to(rows_CF.device) + (rows_CF @ rows_CF.T).double()
    products: FloatArray = found.cpu().numpy()
    return products


def squared_norms(gram_CC: FloatArray) -> FloatArray:
    """Return the squared length of every vector, shape [C]."""
    return np.diagonal(gram_CC)


def squared_distances(gram_CC: FloatArray) -> FloatArray:
    """Return the squared Euclidean distance of every two vectors, shape [C, C], 0 to itself."""
    squares = squared_norms(gram_CC)
    # Rounding leaves some distance of a vector to itself, and may turn others negative.
    found = np.maximum(squares[:, None] + squares[None, :] - 2 * gram_CC, 0)
    np.fill_diagonal(found, 0)
    return found


def distances(gram_CC: FloatArray) -> FloatArray:
    """Return the Euclidean distance of every two vectors, shape [C, C]."""
    return np.sqrt(squared_distances(gram_CC))


def directions(gram_CC: FloatArray) -> FloatArray:
    """Return the Gram matrix of the vectors divided by their lengths; a zero vector stays zero."""
    lengths = np.sqrt(squared_norms(gram_CC))
    factors = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return gram_CC * factors[:, None] * factors[None, :]

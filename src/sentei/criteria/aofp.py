"""Damage one layer later, averaged over random halves.

Shapes: C = channels of one group; U = those that are still searched.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sentei.criteria.base import CRITERIA, FloatArray, Source
from sentei.criteria.contributions import OnContributions


@CRITERIA.register("aofp")
@dataclass(frozen=True, kw_only=True)
class Aofp(OnContributions):
    r"""How early a binary search for the half of the channels that does least damage drops one.

    Masking a set T changes the outputs of the layers that read it by
    :math:`1_T^T G 1_T / \lVert Y \rVert^2`, with G the Gram matrix of the contributions of the
    channels. The damage of a channel is the mean over all halves of the channels that hold it,
    in closed form. The half with the least damage is searched again, down to one channel:
    channels dropped early score high, and among those dropped at once the damage decides.

    Source: Ding et al., Approximated Oracle Filter Pruning, ICML 2019, arXiv:1905.04748.
    Difference: the mean over all halves instead of a thousand drawn ones; the network does not
    train on meanwhile; no threshold on the damage, for the search only orders the channels; the
    damages of all layers that read a group are added.

    Fields: those of :class:`~sentei.criteria.contributions.OnContributions`.
    """

    source: ClassVar[Source] = Source(
        paper="Ding et al., Approximated Oracle Filter Pruning, ICML",
        year=2019,
        arxiv="1905.04748",
        section="2.2.2",
    )

    def judge(self, gram_DD: FloatArray) -> FloatArray:
        """Return places in the order of removal, 0 to width - 1."""
        return search_places(gram_DD)


def search_places(gram_CC: FloatArray) -> FloatArray:
    """Return when each channel goes, shape [C]: the search's last half first, by their damage."""
    places = np.empty(len(gram_CC))
    searched_U = np.arange(len(gram_CC))
    while len(searched_U):
        damage_U = mean_damage(gram_CC[np.ix_(searched_U, searched_U)])
        searched_U = searched_U[np.argsort(damage_U, kind="stable")]
        half = len(searched_U) // 2
        places[searched_U[half:]] = np.arange(half, len(searched_U))
        searched_U = searched_U[:half]
    return places


def mean_damage(gram_UU: FloatArray) -> FloatArray:
    r"""Return for each of U channels the mean damage of all halves that hold it, shape [U].

    A half has max(1, U // 2) channels. With c in it, another is in it with probability p, two
    others are with probability q:

    .. math:: G_{cc} + 2 p \sum_{d} G_{cd} + p \sum_{d} G_{dd} + q \sum_{d \ne e} G_{de}
    """
    num_channels = len(gram_UU)
    others = max(1, num_channels // 2) - 1
    p = others / max(1, num_channels - 1)
    q = p * (others - 1) / max(1, num_channels - 2)
    own = np.diagonal(gram_UU)
    beside = gram_UU.sum(axis=1) - own
    squares = own.sum() - own
    pairs = gram_UU.sum() - own.sum() - 2 * beside
    damage: FloatArray = own + 2 * p * beside + p * squares + q * pairs
    return damage

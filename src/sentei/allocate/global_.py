"""One order over the channels of all groups."""

from dataclasses import dataclass

from sentei.allocate.base import (
    SCOPES,
    Normalization,
    Ranking,
    Scope,
    check_normalization,
    normalized,
)
from sentei.criteria.base import FloatArray


@SCOPES.register("global")
@dataclass(frozen=True, kw_only=True)
class Global(Scope):
    """The lowest normalized score of the whole network goes first.

    Args:
        normalization: How the scores of a group are put on the scale of the others; None does
            what the criterion declares.

    Raises:
        ValueError: ``normalization`` is unknown.
    """

    normalization: Normalization | None = None

    def __post_init__(self) -> None:
        check_normalization(self.normalization)

    def keys(self, ranking: Ranking) -> list[FloatArray]:
        """Return the normalized scores."""
        return normalized(ranking, self.normalization)

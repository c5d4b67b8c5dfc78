"""How important a channel is: scores, low is removed first.

Every module of this package is imported, and every entry point of the group ``sentei.criteria``:
a new criterion is one file here, or one module elsewhere.
"""

from sentei.criteria.base import CRITERIA, Criterion, Evidence, Needs, Source
from sentei.criteria.score import Scores, score
from sentei.registry import load_plugins

__all__ = ["CRITERIA", "Criterion", "Evidence", "Needs", "Scores", "Source", "score"]

load_plugins(__name__, __path__)

"""How important a channel is: scores, low is removed first.

Every module of this package is imported, and every entry point of the group ``sentei.criteria``:
a new criterion is one file here, or one module elsewhere.
"""

import importlib
import pkgutil
from importlib.metadata import entry_points

from sentei.criteria.base import CRITERIA, Criterion, Evidence, Needs, Source
from sentei.criteria.score import Scores, score

__all__ = ["CRITERIA", "Criterion", "Evidence", "Needs", "Scores", "Source", "score"]


def _load_plugins() -> None:
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    for entry in entry_points(group=__name__):
        entry.load()


_load_plugins()

"""Published methods of structured pruning, each a composition with its place in the survey.

Every module of this package is imported, and every entry point of the group ``sentei.methods``: a
new method is one entry of :data:`METHODS` here, or in one module elsewhere. That happens when a
name is first used, so that a command line can be parsed without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from sentei.registry import load_plugins

if TYPE_CHECKING:
    from sentei.methods.base import METHODS, SECTIONS, Card, Method, Outcome
    from sentei.methods.composition import Composition
    from sentei.methods.survey import catalogue
    from sentei.methods.task import Task

__all__ = ["METHODS", "SECTIONS", "Card", "Composition", "Method", "Outcome", "Task", "catalogue"]

_HOMES = {"Composition": "composition", "Task": "task", "catalogue": "survey"}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a public name may be anything
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    load_plugins(__name__, __path__)
    home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'base')}")
    globals()[name] = value = getattr(home, name)
    return value

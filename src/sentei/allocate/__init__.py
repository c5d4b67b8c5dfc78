"""How many channels each group keeps, and which: budgets, scopes, allocations, plans.

Every module of this package is imported, and every entry point of the group ``sentei.allocate``:
a new scope is one file here, or one module elsewhere.
"""

import importlib
import pkgutil
from importlib.metadata import entry_points

from sentei.allocate.allocate import Allocation, allocate, plan, plan_widths
from sentei.allocate.base import SCOPES, Ranking, Scope
from sentei.allocate.budget import Budget

__all__ = ["SCOPES", "Allocation", "Budget", "Ranking", "Scope", "allocate", "plan", "plan_widths"]


def _load_plugins() -> None:
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    for entry in entry_points(group=__name__):
        entry.load()


_load_plugins()

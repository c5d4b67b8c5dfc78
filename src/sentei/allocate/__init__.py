"""How many channels each group keeps, and which: budgets, scopes, allocations, plans.

Every module of this package is imported, and every entry point of the group ``sentei.allocate``:
a new scope is one file here, or one module elsewhere.
"""

from sentei.allocate.allocate import Allocation, allocate, check_reachable, plan, plan_widths
from sentei.allocate.base import SCOPES, Ranking, Scope
from sentei.allocate.budget import Budget
from sentei.registry import load_plugins

__all__ = [
    "SCOPES",
    "Allocation",
    "Budget",
    "Ranking",
    "Scope",
    "allocate",
    "check_reachable",
    "plan",
    "plan_widths",
]

load_plugins(__name__, __path__)

"""Sentei: structured pruning of deep networks.

The public names load on first use, so that ``import sentei`` costs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # From the modules themselves: a package may hold a module of the same name as the function.
    from sentei.allocate import Budget, plan
    from sentei.cost import measure
    from sentei.criteria.score import score
    from sentei.errors import PruningError
    from sentei.graph import Graph, Group
    from sentei.graph.trace import trace
    from sentei.pipeline import RunConfig, prune
    from sentei.surgery.apply import apply
    from sentei.surgery.checkpoint import load_pretrained, save_pretrained
    from sentei.surgery.mask import mask
    from sentei.surgery.plan import Plan, plan_removal
    from sentei.surgery.verify import verify

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "Graph",
    "Group",
    "Plan",
    "PruningError",
    "RunConfig",
    "apply",
    "load_pretrained",
    "mask",
    "measure",
    "plan",
    "plan_removal",
    "prune",
    "save_pretrained",
    "score",
    "trace",
    "verify",
]

_HOMES = {
    "sentei.allocate": ("Budget", "plan"),
    "sentei.cost": ("measure",),
    "sentei.criteria": ("score",),
    "sentei.errors": ("PruningError",),
    "sentei.graph": ("Graph", "Group", "trace"),
    "sentei.pipeline": ("RunConfig", "prune"),
    "sentei.surgery": ("Plan", "apply", "mask", "plan_removal", "verify"),
    "sentei.surgery.checkpoint": ("load_pretrained", "save_pretrained"),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a public name may be anything
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'sentei' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Methods head to head: one network, one recipe, the same images in the same order, several seeds.

Names load on first use, so that a command line can be parsed without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentei.compare.config import CompareConfig, parse_targets, select_methods
    from sentei.compare.recipes import RECIPES
    from sentei.compare.study import Comparison, compare, comparison_status, read_config

__all__ = [
    "RECIPES",
    "CompareConfig",
    "Comparison",
    "compare",
    "comparison_status",
    "parse_targets",
    "read_config",
    "select_methods",
]

_HOMES = {
    "config": ("CompareConfig", "parse_targets", "select_methods"),
    "recipes": ("RECIPES",),
    "study": ("Comparison", "compare", "comparison_status", "read_config"),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a public name may be anything
    for home, names in _HOMES.items():
        if name in names:
            globals()[name] = value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Recipes of the recovery, by name: a comparison gives all methods the same one."""

from dataclasses import replace

from sentei.registry import Registry
from sentei.train import TrainConfig

RECIPES: Registry[TrainConfig] = Registry("recipe")
"""Name -> recipe; its epochs are all that a method may spend."""

_CLOSED = RECIPES.register("closed")(TrainConfig(epochs=100, learning_rate=0.01))
_QUICK = RECIPES.register("quick")(replace(_CLOSED, epochs=20))
_SHORT = RECIPES.register("short")(replace(_CLOSED, epochs=2))
for _name, _recipe in (("closed", _CLOSED), ("quick", _QUICK), ("short", _SHORT)):
    RECIPES.register(f"{_name}-distilled")(replace(_recipe, distill_weight=0.5))

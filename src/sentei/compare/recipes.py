"""Recipes of the recovery, by name: a comparison gives all methods the same one.

Beside those of sentei there are recipes of papers for CIFAR, named as the papers: they differ in
what a criterion may owe its numbers to. Of a paper's recipe the epochs, the learning rate and its
schedule are taken, and the weight decay where the source states it; all else, the size of a batch
too, is as in ``closed``. Falls of a schedule are shares of the run: another number of epochs moves
them along.
"""

from dataclasses import replace

from sentei.registry import Registry
from sentei.train import TrainConfig

RECIPES: Registry[TrainConfig] = Registry("recipe")
"""Name -> recipe; its epochs are all that a method may spend."""

_CLOSED = RECIPES.register("closed")(TrainConfig(epochs=100, learning_rate=0.01))
_QUICK = RECIPES.register("quick")(replace(_CLOSED, epochs=20))
_SHORT = RECIPES.register("short")(replace(_CLOSED, epochs=2))

# Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017, arXiv:1608.08710: 40 epochs at a
# constant rate.
_PFEC = RECIPES.register("pfec")(
    replace(_CLOSED, epochs=40, learning_rate=1e-3, schedule="constant")
)
# Wang et al., Neural Pruning via Growing Regularization, ICLR 2021, arXiv:2012.09243, as the
# authors' program: a tenth from epochs 60 and 90 of 120 on.
_GREG = RECIPES.register("greg")(
    replace(_CLOSED, epochs=120, schedule="step", step_at=(60 / 120, 90 / 120), weight_decay=5e-4)
)
# Lin et al., Cross-Layer Ranking and k-Reciprocal Nearest Filters, TNNLS 2022, arXiv:2202.07190,
# as the authors' program: a tenth from epochs 50 and 100 of 150 on.
_CLR_RNF = RECIPES.register("clr-rnf")(
    replace(_CLOSED, epochs=150, schedule="step", step_at=(50 / 150, 100 / 150), weight_decay=5e-3)
)

for _name, _recipe in (
    ("closed", _CLOSED),
    ("quick", _QUICK),
    ("short", _SHORT),
    ("pfec", _PFEC),
    ("greg", _GREG),
    ("clr-rnf", _CLR_RNF),
):
    RECIPES.register(f"{_name}-distilled")(replace(_recipe, distill_weight=0.5))

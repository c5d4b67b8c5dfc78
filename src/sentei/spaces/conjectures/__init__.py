"""The conjectures about pruning spaces as tests, each with a verdict and its power."""

from sentei.spaces.conjectures.base import Check, Setting, Thresholds, Verdict
from sentei.spaces.conjectures.design import Site, optimum_follows_design
from sentei.spaces.conjectures.ratio import optimal_ratio_exists, same_optimum
from sentei.spaces.conjectures.refined import refinement_improves
from sentei.spaces.conjectures.rivals import beats_rivals
from sentei.spaces.conjectures.spread import spread_matters
from sentei.spaces.conjectures.sufficiency import ratio_is_sufficient
from sentei.spaces.conjectures.winners import winners_have_the_ratio

__all__ = [
    "Check",
    "Setting",
    "Site",
    "Thresholds",
    "Verdict",
    "beats_rivals",
    "optimal_ratio_exists",
    "optimum_follows_design",
    "ratio_is_sufficient",
    "refinement_improves",
    "same_optimum",
    "spread_matters",
    "winners_have_the_ratio",
]

"""Samplers of pruning spaces: each a way to draw recipes inside its slabs."""

from sentei.registry import load_plugins
from sentei.spaces.sampling.base import SAMPLERS, Sampler, make_sampler

load_plugins(__name__, __path__)

__all__ = ["SAMPLERS", "Sampler", "make_sampler"]

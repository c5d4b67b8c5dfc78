"""Making channels removable while training, as hooks of the one training loop.

Every module of this package is imported, and every entry point of the group ``sentei.sparsify``:
a new sparsifier is one file here, or one module elsewhere.
"""

from sentei.registry import load_plugins
from sentei.sparsify.base import (
    SPARSIFIERS,
    Setting,
    SparseHook,
    Sparsifier,
    learned_scores,
)

__all__ = ["SPARSIFIERS", "Setting", "SparseHook", "Sparsifier", "learned_scores"]

load_plugins(__name__, __path__)

"""Which widths to take, by trying: searchers judge candidates with an evaluation they are given.

Every module of this package is imported, and every entry point of the group ``sentei.search``: a
new searcher is one file here, or one module elsewhere.
"""

from sentei.registry import load_plugins
from sentei.search.base import SEARCHERS, Problem, Searcher

__all__ = ["SEARCHERS", "Problem", "Searcher"]

load_plugins(__name__, __path__)

"""Published methods of structured pruning, each a composition with its place in the survey.

Every module of this package is imported, and every entry point of the group ``sentei.methods``: a
new method is one entry of :data:`METHODS` here, or in one module elsewhere.
"""

from sentei.methods.base import METHODS, SECTIONS, Card, Method, Outcome
from sentei.methods.catalogue import catalogue
from sentei.methods.composition import Composition
from sentei.methods.task import Task
from sentei.registry import load_plugins

__all__ = ["METHODS", "SECTIONS", "Card", "Composition", "Method", "Outcome", "Task", "catalogue"]

load_plugins(__name__, __path__)

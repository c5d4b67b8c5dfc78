"""What makes up for removed channels in the weights that stay: one step that any criterion may use.

Every module of this package is imported, and every entry point of the group
``sentei.compensate``: a new compensation is one file here, or one module elsewhere.
"""

from sentei.compensate.base import COMPENSATIONS, Compensation, Removal
from sentei.registry import load_plugins

__all__ = ["COMPENSATIONS", "Compensation", "Removal"]

load_plugins(__name__, __path__)

"""What it costs: exact counts of a network, and of every recipe at once."""

from sentei.cost.compile import CostModel
from sentei.cost.count import Counts, measure
from sentei.cost.terms import COSTS

__all__ = ["COSTS", "CostModel", "Counts", "measure"]

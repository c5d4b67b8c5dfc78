"""What changes: plans, their application, and the proof that it is right."""

from sentei.surgery.apply import apply
from sentei.surgery.mask import Masked, mask
from sentei.surgery.plan import Plan, plan_keep, plan_removal
from sentei.surgery.verify import Verification, verify

__all__ = ["Masked", "Plan", "Verification", "apply", "mask", "plan_keep", "plan_removal", "verify"]

"""New weights in place of the old ones."""

import torch
from torch import nn

from sentei.errors import ModelError


def reset_parameters(model: nn.Module, *, seed: int) -> None:
    """Give every layer the weights a new one has; changes the model, torch's generators do not.

    Args:
        model: A network whose layers know their initialization (``reset_parameters``).
        seed: Of the new weights.

    Raises:
        ModelError: a parameter belongs to no such layer.
    """
    modules = [m for m in model.modules() if callable(getattr(m, "reset_parameters", None))]
    known = {id(p) for m in modules for p in m.parameters(recurse=False)}
    odd = [name for name, p in model.named_parameters() if id(p) not in known]
    if odd:
        raise ModelError(
            f"{odd[0]} belongs to no layer that can make new weights; give its module a method "
            "reset_parameters, or choose a method that keeps weights"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for module in modules:
            module.reset_parameters()  # type: ignore[operator]  # torch types attributes loosely

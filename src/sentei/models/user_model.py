"""A user's own network, built by a factory in a file or module."""

import inspect
from typing import Any

from torch import nn

from sentei.errors import ModelError
from sentei.user_code import find_factory, import_path

# What may stand before the colon of a specification besides a file or a module.
_PREFIXES = ("sentei", "timm", "torchvision")


def build_user_model(spec: str, *, options: dict[str, Any]) -> nn.Module:
    """Import the user's file or module, call the factory and return its network.

    Runs the user's code. The factory receives ``options`` as keywords and must accept each.

    Raises:
        UnknownNameError: the file, module or factory does not exist.
        ModelError: the code fails, refuses an option, or returns something else than a module.
    """
    factory = find_factory(spec, known=_PREFIXES, error=ModelError)
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise ModelError(
            f"{spec}: the factory cannot be called with {given or 'no arguments'} ({error}); "
            f"give it these parameters, and defaults to all others"
        ) from error
    with import_path(spec):
        model = factory(**options)
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"{spec}: the factory returned {type(model).__name__}, expected a torch.nn.Module"
        )
    return model

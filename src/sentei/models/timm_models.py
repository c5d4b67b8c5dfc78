"""Networks of timm."""

import importlib
from typing import Any

from torch import nn

from sentei.errors import ModelError, UnknownNameError
from sentei.models.efficientnet_lite import find_packaged_file, read_packaged_weights
from sentei.models.torchvision_models import import_torchvision
from sentei.models.weights import Weights
from sentei.registry import did_you_mean


def build_timm_model(name: str, *, options: dict[str, Any], pretrained: bool = False) -> nn.Module:
    """Build timm's network ``name``.

    Args:
        name: As in ``timm.list_models()``, with or without a tag of weights.
        options: ``num_classes`` and ``in_channels``, both optional.
        pretrained: Let timm fetch and fit its weights.

    Raises:
        UnknownNameError: timm has no such network.
        ModelError: timm is missing, refuses the options, or the download fails.
    """
    timm = _import_timm()
    if not timm.is_model(name):
        raise UnknownNameError(
            f"timm has no model {name!r}.{did_you_mean(name, timm.list_models())}"
        )
    renamed = {"in_channels": "in_chans"}
    keywords = {renamed.get(key, key): value for key, value in options.items()}
    try:
        return timm.create_model(name, pretrained=pretrained, **keywords)
    # timm's loaders raise whatever their many back ends raise.
    except Exception as error:
        advice = "check the options"
        if pretrained:
            advice = "check the network, or download the weights elsewhere and pass weights="
        raise ModelError(
            f"timm:{name} could not be built: {type(error).__name__}: {error}; {advice}"
        ) from error


def packaged_timm_weights(name: str) -> Weights | None:
    """Return the ImageNet weights of ``name`` from an installed PyPI package, None without one."""
    path = find_packaged_file(name)
    if path is None:
        return None
    return read_packaged_weights(path, build_timm_model(name, options={}).state_dict())


def timm_input_shape(model: nn.Module, in_channels: int | None) -> tuple[int, int, int] | None:
    """Return (C, H, W) from timm's own configuration; ``in_channels`` replaces its channels."""
    default_cfg = getattr(model, "default_cfg", None) or {}
    shape = default_cfg.get("input_size")
    if shape is None:
        return None
    channels, height, width = shape
    return in_channels or channels, height, width


def _import_timm() -> Any:  # noqa: ANN401 - a module loaded by name
    # timm imports torchvision, which may need help; see import_torchvision.
    import_torchvision()
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise ModelError(
            f"timm cannot be imported ({error}); install it: pip install 'sentei[timm]'"
        ) from error

"""Networks of torchvision, also beside a torch build that cannot load torchvision's operators."""

import importlib
import inspect
from typing import Any

import torch
from torch import nn

from sentei.errors import ModelError, UnknownNameError
from sentei.registry import did_you_mean

_NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_torchvision() -> Any:  # noqa: ANN401 - a module without types
    """Import torchvision; where its compiled operators do not load, declare the two it needs.

    torchvision registers shapes for ``nms`` and ``qnms`` when imported, and fails where its binary
    does not match torch's build. Their schemas are declared then, once for the process; networks
    that call them (detection) still cannot run there. A working installation is left alone.

    Raises:
        ModelError: torchvision is not installed or cannot be imported.
    """
    try:
        return importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        raise ModelError(
            f"torchvision cannot be imported ({error}); install it: pip install 'sentei[torchvision]'"
        ) from error
    except (RuntimeError, ImportError, OSError) as error:
        first = error
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", _NMS)
    try:
        return importlib.import_module("torchvision")
    except (RuntimeError, ImportError, OSError) as error:
        raise ModelError(
            f"torchvision cannot be imported ({first}); install the release made for torch "
            f"{torch.__version__}"
        ) from error


def build_torchvision_model(
    name: str, *, options: dict[str, Any], pretrained: bool = False
) -> nn.Module:
    """Build ``torchvision.models`` network ``name``; random weights download nothing.

    Args:
        name: As in ``torchvision.models.list_models()``.
        options: ``num_classes`` and ``in_channels`` (3 only), both optional.
        pretrained: Let torchvision fetch its default weights; ``options`` must be empty.

    Raises:
        UnknownNameError: torchvision has no such network.
        ModelError: ``in_channels`` is not 3, torchvision is missing, or the download fails.
    """
    import_torchvision()
    models = importlib.import_module("torchvision.models")
    names = models.list_models()
    if name not in names:
        raise UnknownNameError(f"torchvision has no model {name!r}.{did_you_mean(name, names)}")
    keywords = dict(options)
    in_channels = keywords.pop("in_channels", 3)
    if in_channels != 3:
        raise ModelError(
            f"torchvision:{name} takes 3 channels, not {in_channels}; repeat the images' channels "
            f"or use the same network of timm"
        )
    if pretrained:
        try:
            return models.get_model(name, weights="DEFAULT")
        except (OSError, RuntimeError, ValueError) as error:
            raise ModelError(
                f"torchvision:{name}: no pretrained weights could be fetched ({error}); check the "
                f"network, or download them elsewhere and pass weights="
            ) from error
    if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        keywords["weights_backbone"] = None
    if name in {"googlenet", "inception_v3"}:
        keywords["init_weights"] = True  # torchvision warns where it is not said
    return models.get_model(name, weights=None, **keywords)


def torchvision_input_shape(name: str) -> tuple[int, int, int] | None:
    """Return (3, 224, 224), 299 for Inception; None where the input is not one image."""
    models = importlib.import_module("torchvision.models")
    module = models.get_model_builder(name).__module__
    if any(part in module for part in (".detection", ".video", ".optical_flow")):
        return None
    size = 299 if name == "inception_v3" else 224
    return 3, size, size

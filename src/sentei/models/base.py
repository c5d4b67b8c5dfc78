"""What every model is known by: the registry of built-in networks, and a loaded model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from sentei.registry import Registry

ModelFactory = Callable[..., nn.Module]
"""Builds a network from the keywords ``num_classes`` and ``in_channels``, both optional."""

MODELS: Registry[ModelFactory] = Registry("model")


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A network ready to be traced, trained or measured.

    Attributes:
        model: The network, in training mode, on the CPU.
        source: JSON-able ``{"spec": ..., "kwargs": {...}}``; enough for
            :func:`~sentei.models.build_from_source` to rebuild it with random weights.
        input_shape: Shape (C, H, W) of one image, in pixels; None when it is not known.
        notes: What loading did that the user may want to know, such as a skipped classifier.
    """

    model: nn.Module
    source: dict[str, Any]
    input_shape: tuple[int, int, int] | None
    notes: tuple[str, ...] = ()


def init_convolutions(model: nn.Module) -> None:
    """Draw the weights of all convolutions of ``model`` in place, from torch's global generator.

    Source: He et al., ICCV 2015, arXiv:1502.01852 (normal, fan out, ReLU).
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

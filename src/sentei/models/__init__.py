"""Networks: built in, of timm and torchvision, and the user's own; weights read safely."""

from sentei.models import (  # noqa: F401 - importing a family registers its networks
    densenet_cifar,
    digits_cnn,
    googlenet_cifar,
    mobilenetv2_cifar,
    resnet_cifar,
    vgg_cifar,
)
from sentei.models.base import MODELS, LoadedModel
from sentei.models.load import build_from_source, load_model

__all__ = ["MODELS", "LoadedModel", "build_from_source", "load_model"]

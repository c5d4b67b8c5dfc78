"""Torchvision's detectors: their raw outputs as a network of tensors, and the whole run.

A detector's last steps choose boxes by their scores, so its outputs change shape and order with
the least difference, and an untrained one finds nothing. Numbers are therefore compared on what
the heads return before that: :class:`RawHeads`. The whole run, images in, boxes out, is traced,
pruned and run besides.

Shapes: N images, C channels, H x W pixels, K boxes.
"""

import importlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentei.models.torchvision_models import import_torchvision


class RawHeads(nn.Module):
    """Backbone and heads of a detector, without the choice of boxes.

    Region heads get every level of the feature pyramid, pooled whole to the size of a region:
    as in the detector, all levels pass through the same heads.

    Args:
        detector: A detector of torchvision.
    """

    detector: Any  # a module whose parts the type checker would take for tensors

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return everything the heads predict for images [N 3 H W]."""
        features = self.detector.backbone(images)
        maps = list(features.values())
        if not hasattr(self.detector, "roi_heads"):
            return list(self.detector.head(maps).values())
        logits, deltas = self.detector.rpn.head(maps)
        found = [*logits, *deltas]
        heads = self.detector.roi_heads
        boxes = heads.box_predictor(heads.box_head(_regions(maps, 7)))
        found += boxes
        for name in ("mask", "keypoint"):
            head = getattr(heads, f"{name}_head", None)
            if head is not None:
                predictor = getattr(heads, f"{name}_predictor")
                found.append(predictor(head(_regions(maps, 14))))
        return found


def _regions(maps: list[Tensor], size: int) -> Tensor:
    return torch.cat([functional.adaptive_avg_pool2d(x, size) for x in maps])


def build_detector(name: str, *, size: int) -> nn.Module:
    """Return a detector of torchvision with random weights.

    Args:
        name: As in ``torchvision.models.list_models()``.
        size: Pixels of the images' sides; detectors that enlarge images use this size instead.
    """
    import_torchvision()
    models = importlib.import_module("torchvision.models")
    options: dict[str, Any] = {"weights": None, "weights_backbone": None}
    if not name.startswith("ssd"):
        options |= {"min_size": size, "max_size": size}
    return models.get_model(name, **options)


def declare_nms() -> None:
    """Give torchvision a slow ``nms`` of our own where its compiled operators did not load."""
    import_torchvision()
    extension = importlib.import_module("torchvision.extension")
    boxes: Any = importlib.import_module("torchvision.ops.boxes")
    if extension._has_ops() or boxes._assert_has_ops is _nothing:
        return
    torch.library.impl("torchvision::nms", "CPU", _nms)
    boxes._assert_has_ops = _nothing


def _nothing() -> None:
    """Stand in for the check that the compiled operators are there."""


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the indices of boxes [K 4] that no better box overlaps by more than the threshold."""
    order = scores.argsort(descending=True, stable=True)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    found = []
    while len(order):
        best, rest = order[0], order[1:]
        found.append(best)
        low = torch.maximum(boxes[best, :2], boxes[rest, :2])
        high = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = (high - low).clamp(min=0).prod(dim=1)
        order = rest[shared <= iou_threshold * (areas[best] + areas[rest] - shared)]
    return torch.stack(found) if found else torch.zeros(0, dtype=torch.long)

"""Which networks the zoo has, cheapest first."""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch

from benchmarks.zoolib.segment import DECODERS, ENCODERS
from benchmarks.zoolib.yolo import CONFIGS
from sentei.models.torchvision_models import import_torchvision
from sentei.records import atomic_write_text

_AREAS = ("segmentation", "detection", "video", "optical_flow", "quantization")


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network of the zoo.

    Attributes:
        name: What :func:`benchmarks.zoolib.build.build` takes.
        source: Heading in the table.
        cost: Number of parameters, to run the cheap ones first.
    """

    name: str
    source: str
    cost: int


def catalogue(cache: Path) -> list[Network]:
    """Return every network of the zoo, cheapest first.

    Args:
        cache: JSON file that remembers the smallest network of every timm family, since finding
            them builds more than a thousand; written if it is not there or of another release.
    """
    own = [Network(name="own:every-norm", source="own", cost=0)]
    yolo = [Network(name=f"yolo:{n}", source="YOLO", cost=3_000_000) for n in CONFIGS]
    segment = [
        Network(name=f"segment:{d}-{e}", source="segmenters", cost=10_000_000)
        for d in DECODERS
        for e in ENCODERS
    ]
    found = [*own, *yolo, *segment, *_timm(cache), *_torchvision()]
    return sorted(found, key=lambda network: network.cost)


def _torchvision() -> list[Network]:
    import_torchvision()
    models = importlib.import_module("torchvision.models")
    found = []
    for name in models.list_models():
        module = models.get_model_builder(name).__module__
        area = next((a for a in _AREAS if f".{a}." in module), "classification")
        meta = models.get_model_weights(name).DEFAULT.meta
        found.append(
            Network(
                name=f"torchvision:{name}",
                source=f"torchvision {area.replace('_', ' ')}",
                cost=int(meta["num_params"]),
            )
        )
    return found


def _timm(cache: Path) -> list[Network]:
    document = json.loads(cache.read_text()) if cache.exists() else {}
    if document.get("timm") != timm.__version__:
        document = {"timm": timm.__version__, "smallest": _smallest()}
        atomic_write_text(cache, json.dumps(document, indent=1) + "\n")
    return [
        Network(name=f"timm:{family}/{name}", source="timm", cost=count)
        for family, (name, count) in document["smallest"].items()
    ]


def _smallest() -> dict[str, tuple[str, int]]:
    """Return for every module of timm its network with the fewest parameters, and how many.

    timm's own test networks (``test_...``) do not count: nobody uses them.
    """
    found = {}
    for family in timm.list_modules():
        names = [n for n in timm.list_models(module=family) if not n.startswith("test_")]
        found[family] = min(((_count(n), n) for n in names), key=lambda pair: pair[0])
    return {family: (name, count) for family, (count, name) in found.items()}


def _count(name: str) -> int:
    with torch.device("meta"):
        model: Any = timm.create_model(name, pretrained=False)
    return sum(p.numel() for p in model.parameters())

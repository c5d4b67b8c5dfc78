"""Build any network of the zoo from its name, with weights in which nothing is constant."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import timm
import torch
from torch import Tensor, nn

from benchmarks.zoolib.detectors import RawHeads, build_detector, declare_nms
from benchmarks.zoolib.norms import EveryNorm
from benchmarks.zoolib.segment import build_segmenter
from benchmarks.zoolib.yolo import CONFIGS, build_yolo
from sentei.models.torchvision_models import build_torchvision_model, import_torchvision

DETECTOR_PIXELS = 160


@dataclass(frozen=True, kw_only=True, eq=False)
class Built:
    """A network ready to be checked.

    Attributes:
        model: In eval mode.
        inputs: Positional arguments of its forward.
        note: What differs from the network as published, "" if nothing.
        whole: The detector around ``model`` and its inputs, where ``model`` is its raw heads.
    """

    model: nn.Module
    inputs: tuple[Any, ...]
    note: str = ""
    whole: tuple[nn.Module, tuple[Any, ...]] | None = None


def build(name: str) -> Built:
    """Return the network ``name``, e.g. ``timm:resnet/resnet10t`` or ``yolo:v8n``.

    Weights are random with fixed seeds; batch norm statistics and everything that starts as a
    constant are perturbed.

    Raises:
        ValueError: The part before the colon is no source of networks.
    """
    source, _, rest = name.partition(":")
    if source not in _SOURCES:
        raise ValueError(f"no source {source!r} in {name!r}; there are {', '.join(_SOURCES)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = _SOURCES[source](rest)
    randomize(built.model)
    built.model.eval()
    return built


@torch.no_grad()
def randomize(model: nn.Module) -> None:
    """Perturb running statistics, vectors, and weights that are all zero. Changes ``model``."""
    generator = torch.Generator().manual_seed(0)
    modules: Iterator[Any] = model.modules()
    for module in modules:
        if isinstance(getattr(module, "running_mean", None), Tensor):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    for parameter in model.parameters():
        if parameter.is_floating_point() and parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() <= 1:
                parameter.add_(0.1 * noise)
            elif not parameter.any():
                parameter.add_(0.05 * noise)


def images(*shape: int, seed: int = 1) -> Tensor:
    """Return random pixels of ``shape``."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# Sources ---------------------------------------------------------------------------------------

# Too large for float64 beside others on a small machine: fewer blocks of the same kind.
_SHALLOW_TIMM: Mapping[str, Mapping[str, Any]] = {
    "deepseek_vit_412m": {"depth": 4},
    "gemma4_vit_167m": {"depth": 4},
}
# Their activations at the published size, in float64 and with gradients, need many gigabytes.
_SMALL_IMAGES: Mapping[str, int] = {
    "convmixer_768_32": 112,
    "nasnetalarge": 160,
    "pnasnet5large": 160,
    "sam2_hiera_tiny": 256,
    "qwen3_vit_88m": 256,
    "gemma4_vit_167m": 192,
    "deepseek_vit_412m": 210,
}


def _timm(name: str) -> Built:
    model_name = name.rpartition("/")[2]
    options = dict(_SHALLOW_TIMM.get(model_name, {}))
    published = timm.get_pretrained_cfg(model_name)
    if published is not None and published.num_classes == 0:
        options["num_classes"] = 1000  # or all that leaves the network would be an output
    model: Any = timm.create_model(model_name, pretrained=False, **options)
    notes = [f"built with {', '.join(f'{k}={v}' for k, v in options.items())}"] if options else []
    channels, own_side, _ = model.default_cfg["input_size"]
    side = _SMALL_IMAGES.get(model_name, own_side)
    if side != own_side:
        notes.append(f"images of {side} x {side} pixels, its own have {own_side} x {own_side}")
    return Built(model=model, inputs=(images(2, channels, side, side),), note="; ".join(notes))


def _torchvision(name: str) -> Built:
    import_torchvision()
    models = importlib.import_module("torchvision.models")
    module = models.get_model_builder(name).__module__
    for part, make in _TORCHVISION.items():
        if f".{part}." in module:
            return make(name)
    if name in _SHALLOW_TORCHVISION:
        model, note = _SHALLOW_TORCHVISION[name](models)
        return Built(model=model, inputs=(images(2, 3, 224, 224),), note=note)
    if name in ("googlenet", "inception_v3"):
        model = models.get_model(name, weights=None, init_weights=True, aux_logits=False)
        note = "without auxiliary classifiers, which run in training only"
        return Built(model=model, inputs=(images(2, 3, 160, 160),), note=note)
    fixed = name.startswith(("vit", "swin", "maxvit", "alexnet"))
    side = 224 if fixed else 128
    model = build_torchvision_model(name, options={})
    return Built(model=model, inputs=(images(2, 3, side, side),))


def _quantizable(name: str) -> Built:
    models = importlib.import_module("torchvision.models")
    options: dict[str, Any] = {"weights": None, "quantize": False}
    note = "in floats, as before quantisation"
    if "googlenet" in name or "inception" in name:
        options |= {"init_weights": True, "aux_logits": False}
        note += ", without auxiliary classifiers"
    if "inception" in name:
        options["transform_input"] = False
    builder = models.get_model_builder(name)
    return Built(model=builder(**options), inputs=(images(2, 3, 160, 160),), note=note)


def _segmentation(name: str) -> Built:
    return Built(model=build_torchvision_model(name, options={}), inputs=(images(2, 3, 96, 96),))


def _video(name: str) -> Built:
    shape = {"m": (16, 224), "s": (8, 112), "r": (8, 64)}[
        "m" if name.startswith("mvit") else name[0]
    ]
    frames, side = shape if name not in ("mc3_18", "s3d") else (16, 64 if name == "mc3_18" else 224)
    return Built(
        model=build_torchvision_model(name, options={}),
        inputs=(images(1, 3, frames, side, side),),
    )


def _optical_flow(name: str) -> Built:
    """Build RAFT in float64; its code makes one grid in float32, which alone would stop it."""
    raft: Any = importlib.import_module("torchvision.models.optical_flow.raft")
    utilities = importlib.import_module("torchvision.models.optical_flow._utils")

    def grid(*args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401 - as the function it wraps
        return utilities.make_coords_grid(*args, **kwargs).double()

    raft.make_coords_grid = grid
    model = build_torchvision_model(name, options={}).double()
    pair = (images(1, 3, 128, 128).double(), images(1, 3, 128, 128, seed=2).double())
    note = "two updates of the flow; built in float64, its grid of coordinates too"
    return Built(model=model, inputs=(*pair, 2), note=note)


def _detection(name: str) -> Built:
    declare_nms()
    side = {"ssd300_vgg16": 300, "ssdlite320_mobilenet_v3_large": 320}.get(name, DETECTOR_PIXELS)
    detector = build_detector(name, size=side).eval()
    photos = [torch.rand(3, side, side, generator=torch.Generator().manual_seed(i)) for i in (1, 2)]
    return Built(
        model=RawHeads(detector),
        inputs=(images(2, 3, side, side),),
        note="numbers compared on the heads' raw outputs",
        whole=(detector, (photos,)),
    )


_TORCHVISION: Mapping[str, Callable[[str], Built]] = {
    "quantization": _quantizable,
    "segmentation": _segmentation,
    "video": _video,
    "optical_flow": _optical_flow,
    "detection": _detection,
}


def _vit(models: ModuleType, patch: int, heads: int, width: int) -> tuple[nn.Module, str]:
    model = models.VisionTransformer(
        image_size=224,
        patch_size=patch,
        num_layers=4,
        num_heads=heads,
        hidden_dim=width,
        mlp_dim=4 * width,
    )
    return model, "4 layers"


def _convnext_large(models: ModuleType) -> tuple[nn.Module, str]:
    block = importlib.import_module("torchvision.models.convnext").CNBlockConfig
    settings = [block(192, 384, 2), block(384, 768, 2), block(768, 1536, 2), block(1536, None, 2)]
    return models.ConvNeXt(settings), "2 blocks a stage"


def _regnet_y_128gf(models: ModuleType) -> tuple[nn.Module, str]:
    params = importlib.import_module("torchvision.models.regnet").BlockParams
    whole = params.from_init_params(
        depth=27, w_0=456, w_a=160.83, w_m=2.52, group_width=264, se_ratio=0.25
    )
    whole.depths = [1, 1, 1, 0]
    keep = [k for k, depth in enumerate(whole.depths) if depth]
    for key in ("depths", "widths", "group_widths", "bottleneck_multipliers", "strides"):
        setattr(whole, key, [getattr(whole, key)[k] for k in keep])
    return models.RegNet(whole), "1 block in each of the first three stages"


_SHALLOW_TORCHVISION: Mapping[str, Callable[[ModuleType], tuple[nn.Module, str]]] = {
    "vit_l_16": lambda models: _vit(models, 16, 16, 1024),
    "vit_l_32": lambda models: _vit(models, 32, 16, 1024),
    "vit_h_14": lambda models: _vit(models, 14, 16, 1280),
    "convnext_large": _convnext_large,
    "regnet_y_128gf": _regnet_y_128gf,
}


def _yolo(name: str) -> Built:
    return Built(model=build_yolo(CONFIGS[name]), inputs=(images(2, 3, 128, 128),))


def _segment(name: str) -> Built:
    decoder, _, encoder = name.partition("-")
    return Built(model=build_segmenter(decoder, encoder), inputs=(images(2, 3, 128, 128),))


def _norms(_: str) -> Built:
    return Built(model=EveryNorm(), inputs=(images(2, 3, 32, 32),))


_SOURCES: Mapping[str, Callable[[str], Built]] = {
    "own": _norms,
    "yolo": _yolo,
    "segment": _segment,
    "torchvision": _torchvision,
    "timm": _timm,
}

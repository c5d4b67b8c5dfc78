"""What a worker does on its processor: begin, prune, read images; and how time follows MACs."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from sentei.allocate import plan_widths
from sentei.cost import CostModel
from sentei.criteria import score
from sentei.data.folder import ImageFiles
from sentei.data.tensor_images import TensorImages
from sentei.graph import Graph, trace
from sentei.models import load_model
from sentei.surgery import apply
from sentei.surgery.checkpoint import load_pretrained, save_pretrained

NETWORK = "torchvision:resnet50"
SIZE = 224
KEEPS = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25)
_SOURCE = "torchvision.models:resnet50"


def measure_worker(*, runs: int) -> dict[str, float]:
    """Return seconds of a worker before its first job, by step, and of cutting one subnetwork."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import sentei.spaces.evaluate"], check=True)
    found = {"import_s": time.perf_counter() - begin}
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(_network(), folder, source=_SOURCE)
        found["load_s"], model = _timed(lambda: load_pretrained(folder, trust_code=True))
    found["trace_s"], graph = _timed(lambda: trace(model.eval(), torch.zeros(2, 3, SIZE, SIZE)))
    found["costs_s"], _ = _timed(lambda: CostModel.of(graph))
    found["score_s"], scores = _timed(lambda: score(graph, "l1"))
    widths = [_widths(graph, keep) for keep in np.linspace(0.3, 0.9, min(runs, 30))]
    seconds = [_timed(lambda w=w: apply(plan_widths(graph, scores, w), model))[0] for w in widths]
    return {**found, "prune_s": statistics.median(seconds), "prune_max_s": max(seconds)}


def measure_images(*, runs: int) -> dict[str, float]:
    """Return images a second and core: JPEG files decoded, and uint8 images normalised."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "photo.jpg")
        # Smooth, as photographs are: noise would take longer to decode.
        small = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        small.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
        files = ImageFiles([path], np.zeros(1, dtype=np.int64), image_size=SIZE, channels=3)
        jpeg_s = statistics.median(_timed(lambda: files[0])[0] for _ in range(5 * runs))
        size = path.stat().st_size
    pixels = torch.from_numpy(rng.integers(0, 256, (64, 3, SIZE, SIZE), dtype=np.uint8))
    images = TensorImages(
        pixels, torch.zeros(64, dtype=torch.long), mean=(0.5,) * 3, std=(0.2,) * 3
    )
    uint8_s = statistics.median(_timed(lambda: images.batch(range(64)))[0] for _ in range(runs))
    return {"jpeg": 1 / jpeg_s, "jpeg_bytes": float(size), "uint8": 64 / uint8_s}


def measure_macs(*, runs: int) -> dict[str, Any]:
    """Return share of MACs left and seconds a forward pass of 4 images, and a line through them."""
    model = _network()
    graph = trace(model, torch.zeros(2, 3, SIZE, SIZE))
    scores, costs = score(graph, "l1"), CostModel.of(graph)
    dense = float(costs.costs(_widths(graph, 1.0), names=("macs",))["macs"])
    images, left, seconds = torch.randn(4, 3, SIZE, SIZE), [], []
    for keep in KEEPS:
        widths = _widths(graph, keep)
        small = apply(plan_widths(graph, scores, widths), model).eval()
        left.append(float(costs.costs(widths, names=("macs",))["macs"]) / dense)
        with torch.no_grad():
            small(images)
            times = [_timed(lambda s=small: s(images))[0] for _ in range(max(3, runs // 5))]
        seconds.append(min(times))  # the machine is shared: what is above the least is others' work
    slope, constant = np.polyfit(left, seconds, 1)
    fitted = slope * np.array(left) + constant
    residual = float(np.abs(fitted / np.array(seconds) - 1).max())
    share = float(slope / (slope + constant))
    return {
        "left": left,
        "seconds": seconds,
        "share_with_macs": share,
        "largest_relative_residual": residual,
    }


def _network() -> nn.Module:
    torch.manual_seed(0)
    return load_model(NETWORK).model.eval()


def _widths(graph: Graph, keep: float) -> np.ndarray[Any, Any]:
    return np.array([max(1, round(keep * g.width / g.num_rows)) * g.num_rows for g in graph.groups])


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result

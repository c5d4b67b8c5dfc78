"""What networks cost and how fast they are, side by side; and their export to a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sentei.cost import Counts, measure
from sentei.deploy import (
    RUNTIMES,
    Exported,
    Latency,
    Speedup,
    TimerOptions,
    compare_latency,
    export_onnx,
    export_openvino,
    export_torch,
    measure_latency,
)
from sentei.errors import UnknownNameError
from sentei.pipeline.network import Network
from sentei.registry import did_you_mean

FORMATS = ("onnx", "openvino", "torch")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Networks side by side; the first is what the others are compared with.

    Attributes:
        costs: Network -> its costs for one image.
        latencies: Runtime -> network -> its latency.
        speedups: Runtime -> network -> how many times faster than the first.
    """

    costs: Mapping[str, Counts]
    latencies: Mapping[str, Mapping[str, Latency]]
    speedups: Mapping[str, Mapping[str, Speedup]]


def bench(
    networks: Sequence[Network],
    *,
    runtimes: Sequence[str],
    image_size: int | None = None,
    options: TimerOptions,
) -> Bench:
    """Count and time networks; several take turns, so that a busy machine hurts them alike.

    Args:
        networks: One or more; names that occur twice are numbered.
        runtimes: Names of runtimes.
        image_size: Height and width in pixels; None is that of the first network.
        options: How to time.

    Raises:
        UnknownNameError: there is no such runtime.
        PruningError: a network cannot be counted, or brought into a runtime.
    """
    for runtime in runtimes:
        _ = RUNTIMES[runtime]
    example = networks[0].example(image_size=image_size)
    models = {
        f"{n.name} ({i})" if any(n.name == m.name for m in networks[:i]) else n.name: n.model
        for i, n in enumerate(networks)
    }
    # Counted before the timing: this says where a network fails on these images.
    costs = {name: measure(model, example) for name, model in models.items()}
    latencies: dict[str, Mapping[str, Latency]] = {}
    speedups: dict[str, Mapping[str, Speedup]] = {}
    for runtime in runtimes:
        if len(models) == 1:
            [(name, model)] = models.items()
            timed = measure_latency(model, example, runtime=runtime, options=options)
            latencies[runtime], speedups[runtime] = {name: timed}, {}
        else:
            compared = compare_latency(models, example, runtime=runtime, options=options)
            latencies[runtime], speedups[runtime] = compared.latencies, compared.speedups
    return Bench(costs=costs, latencies=latencies, speedups=speedups)


def export(
    network: Network, path: Path, *, file_format: str, image_size: int | None = None
) -> Exported:
    """Write a network as a file that computes what it computes.

    Args:
        network: The network.
        path: File to write; for ``openvino``, the directory of ``model.xml`` and ``model.bin``.
        file_format: ``onnx``, ``openvino`` or ``torch`` (a program of ``torch.export``).
        image_size: Height and width in pixels; None is the network's own.

    Raises:
        UnknownNameError: there is no such format.
        ExportError: it cannot be exported or written; nothing is left behind then.
        DeviceError: a package is missing.
    """
    if file_format not in FORMATS:
        raise UnknownNameError(
            f"unknown format {file_format!r}.{did_you_mean(file_format, FORMATS)}"
        )
    example = network.example(image_size=image_size, batch_size=2)
    if file_format == "openvino":
        return export_openvino(network.model, path, example=example)
    write = export_onnx if file_format == "onnx" else export_torch
    return write(network.model, example, path)

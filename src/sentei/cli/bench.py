"""``sentei bench``: what networks cost and how fast they are."""

import dataclasses
from typing import Annotated

from cyclopts import Parameter
from rich.console import Group

from sentei import pipeline
from sentei.cli.answer import Answer
from sentei.cli.tables import table


@Parameter(name="*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """How to time.

    Args:
        runtime: Runtimes, joined by commas (see: sentei list runtimes).
        batch_size: Images of a batch.
        threads: Processor threads.
        runs: Timed runs of each network.
        device: Where: cpu, cuda, ...
    """

    runtime: str = "eager"
    batch_size: int = 1
    threads: int = 1
    runs: int = 100
    device: str = "cpu"


TIMING = Timing()


def bench(
    *models: str,
    timing: Timing = TIMING,
    image_size: int | None = None,
    trust_code: Annotated[bool, Parameter(negative="")] = False,
) -> Answer:
    """Count and time networks; several take turns and are compared with the first.

    ```console
    sentei bench timm:mobilenetv3_small_100 --runtime eager,onnxruntime
    sentei bench runs/first/dense runs/first/model --batch-size 8
    ```

    Args:
        models: Networks, as for sentei prune.
        timing: See each.
        image_size: Height and width of the images, in pixels.
        trust_code: Run code outside sentei that a saved network names as its source.

    Raises:
        ValueError: no network is named.
    """
    if not models:
        raise ValueError("name at least one network: sentei bench MODEL")
    found = pipeline.bench(
        [pipeline.load_network(model, trust_code=trust_code) for model in models],
        runtimes=[name.strip() for name in timing.runtime.split(",")],
        image_size=image_size,
        options=pipeline.TimerOptions(
            batch_size=timing.batch_size,
            threads=timing.threads,
            min_runs=timing.runs,
            device=timing.device,
        ),
    )
    costs = [
        (name, f"{c.macs:,}", f"{c.num_parameters:,}", f"{c.peak_activation_bytes:,}")
        for name, c in found.costs.items()
    ]
    times = [
        (
            name,
            runtime,
            f"{latency.median_ms:.2f}",
            f"{latency.p10_ms:.2f} to {latency.p90_ms:.2f}",
            f"{found.speedups[runtime][name].ratio:.2f}" if name in found.speedups[runtime] else "",
        )
        for runtime, latencies in found.latencies.items()
        for name, latency in latencies.items()
    ]
    return Answer(
        document=dataclasses.asdict(found),
        shown=Group(
            table(("network", "MACs", "parameters", "peak activation bytes"), costs),
            table(("network", "runtime", "median ms", "p10 to p90", "times as fast"), times),
        ),
    )

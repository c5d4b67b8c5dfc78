"""``sentei export``: a network as a file for other runtimes."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sentei import pipeline
from sentei.cli.answer import Answer, verbatim


def export(
    model: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    file_format: Annotated[str, Parameter(name=["--format", "-f"])] = "onnx",
    image_size: int | None = None,
    trust_code: Annotated[bool, Parameter(negative="")] = False,
) -> Answer:
    """Write a network as a file, checked to compute what the network computes.

    ```console
    sentei export runs/first --format onnx -o first.onnx
    sentei export timm:resnet18 --format openvino -o resnet18/
    ```

    Args:
        model: A network, as for sentei prune.
        output: File to write; for openvino, a directory.
        file_format: onnx, openvino, or torch (a program of torch.export).
        image_size: Height and width of the images, in pixels.
        trust_code: Run code outside sentei that a saved network names as its source.
    """
    network = pipeline.load_network(model, trust_code=trust_code)
    made = pipeline.export(network, output, file_format=file_format, image_size=image_size)
    batch = "any batch size" if made.dynamic_batch else f"one batch size ({made.static_reason})"
    return Answer(
        document={
            "path": str(made.path),
            "num_bytes": made.num_bytes,
            "dynamic_batch": made.dynamic_batch,
            "static_reason": made.static_reason,
            "max_abs_difference": made.max_abs_difference,
        },
        shown=verbatim(
            f"{made.path}: {made.num_bytes:,} bytes, {batch}, outputs differ by at most "
            f"{made.max_abs_difference:.1e}"
        ),
    )

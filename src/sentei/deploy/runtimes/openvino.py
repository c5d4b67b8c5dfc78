"""OpenVINO, in float32 and tuned for latency."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from sentei.deploy.devices import require
from sentei.deploy.export import export_onnx
from sentei.deploy.forward import Inputs
from sentei.deploy.messages import reason
from sentei.deploy.runtimes.base import RUNTIMES, Session
from sentei.errors import DeviceError, ExportError

if TYPE_CHECKING:
    import openvino


@RUNTIMES.register("openvino")
@contextlib.contextmanager
def open_openvino(
    model: nn.Module, inputs: Inputs, *, device: str, threads: int
) -> Iterator[Session]:
    """Export for the batch of the inputs, and compile it for one of OpenVINO's own devices.

    These are ``"cpu"`` and, where they are there, ``"gpu"`` (Intel's, integrated or not) and
    ``"npu"``. Arithmetic is float32, as in the other runtimes; OpenVINO alone would choose
    bfloat16 where the processor has it.
    """
    ov = require("openvino", purpose="runtime 'openvino'")
    core = ov.Core()
    _check_device(core, device, ov.__version__)
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if device == "cpu":
        settings |= {"INFERENCE_NUM_THREADS": str(threads), "NUM_STREAMS": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        exported = export_onnx(model, inputs, Path(scratch, "model.onnx"), dynamic_batch=False)
        try:
            compiled = core.compile_model(core.read_model(exported.path), device.upper(), settings)
        except RuntimeError as error:
            raise ExportError(
                f"OpenVINO {ov.__version__} does not compile {type(model).__name__} for "
                f"{device!r}: {reason(error)}"
            ) from error
        request = compiled.create_infer_request()
        for position, x in enumerate(inputs):
            request.set_input_tensor(position, ov.Tensor(x.cpu().contiguous().numpy()))
        yield Session(
            run=request.infer,
            device_name=core.get_property(device.upper(), "FULL_DEVICE_NAME"),
            library_version=f"openvino {ov.__version__}",
        )


def _check_device(core: "openvino.Core", device: str, version: str) -> None:
    available = [name.lower() for name in core.available_devices]
    if device not in available:
        raise DeviceError(
            f"device {device!r} is not there; OpenVINO {version} sees: {', '.join(available)}"
        )

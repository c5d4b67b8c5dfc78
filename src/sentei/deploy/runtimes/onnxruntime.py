"""ONNX Runtime, fed with tensors that already lie on its device."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import nn

from sentei.deploy.devices import processor_name, require
from sentei.deploy.export import export_onnx
from sentei.deploy.forward import Inputs
from sentei.deploy.messages import reason
from sentei.deploy.runtimes.base import RUNTIMES, Session
from sentei.errors import DeviceError

if TYPE_CHECKING:
    import onnxruntime

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""Kind of device -> what ONNX Runtime calls it."""


@RUNTIMES.register("onnxruntime")
@contextlib.contextmanager
def open_onnxruntime(
    model: nn.Module, inputs: Inputs, *, device: str, threads: int
) -> Iterator[Session]:
    """Export to ONNX for the batch of the inputs, and run it fully optimised."""
    ort = require("onnxruntime", purpose="runtime 'onnxruntime'")
    kind, index = _find(ort, device)
    with tempfile.TemporaryDirectory() as scratch:
        exported = export_onnx(model, inputs, Path(scratch, "model.onnx"), dynamic_batch=False)
        session = _open(ort, exported.path, device, threads)
        # The binding does not keep the arrays alive; this frame does.
        values = [
            ort.OrtValue.ortvalue_from_numpy(x.cpu().contiguous().numpy(), kind, index)
            for x in inputs
        ]
        binding = session.io_binding()
        for entry, value in zip(session.get_inputs(), values, strict=True):
            binding.bind_ortvalue_input(entry.name, value)
        for entry in session.get_outputs():
            binding.bind_output(entry.name, kind, index)
        yield Session(
            run=lambda: session.run_with_iobinding(binding),
            device_name=processor_name() if kind == "cpu" else _gpu_name(device),
            library_version=f"onnxruntime {ort.__version__}",
        )


def _find(ort: ModuleType, device: str) -> tuple[str, int]:
    """Return the kind and index of the device, if this build of ONNX Runtime drives it."""
    kind, _, index = device.partition(":")
    present = [k for k, provider in PROVIDERS.items() if provider in ort.get_available_providers()]
    if kind not in present or not (index.isdecimal() or not index):
        raise DeviceError(
            f"device {device!r} is not there; ONNX Runtime {ort.__version__} drives: "
            f"{', '.join(present)} (onnxruntime-gpu is the build that drives cuda)"
        )
    return kind, int(index or 0)


def _open(ort: ModuleType, path: Path, device: str, threads: int) -> "onnxruntime.InferenceSession":
    kind, index = _find(ort, device)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin between runs would slow the other models of a comparison.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    provider = (PROVIDERS[kind], {"device_id": str(index)} if kind == "cuda" else {})
    try:
        session = ort.InferenceSession(path, options, providers=[provider])
    except Exception as error:
        raise DeviceError(
            f"ONNX Runtime {ort.__version__} cannot open the model on {device!r}: {reason(error)}"
        ) from error
    # Where its CUDA libraries do not load, ONNX Runtime goes on with the processor.
    if session.get_providers()[0] != PROVIDERS[kind]:
        raise DeviceError(
            f"ONNX Runtime {ort.__version__} does not run on {device!r} but on "
            f"{session.get_providers()[0]}; install the CUDA and cuDNN versions it was built for"
        )
    return session


def _gpu_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if torch.cuda.is_available() else device

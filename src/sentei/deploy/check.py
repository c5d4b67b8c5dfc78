"""Do two runs of a network, in two libraries, give the same numbers?"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_leaves

from sentei.deploy.devices import require
from sentei.deploy.forward import Inputs, batch_size_of
from sentei.deploy.messages import reason
from sentei.errors import ExportError

if TYPE_CHECKING:
    import onnxruntime

Array: TypeAlias = NDArray[Any]
Runner: TypeAlias = Callable[[Inputs], list[Array]]
"""Runs a network and returns its output tensors, nested ones in the order of their containers."""


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What may differ: ``relative * |expected| + absolute * max |expected|`` for each number.

    It holds for floating point outputs; others must be equal.

    Args:
        relative: Share of the number itself, >= 0.
        absolute: Share of the largest number of the same output, >= 0.
    """

    relative: float = 1e-3
    absolute: float = 1e-4


def torch_runner(function: Callable[..., object]) -> Runner:
    """Return a runner of a module, or of anything that is called like one."""

    def run(inputs: Inputs) -> list[Array]:
        outputs = tree_leaves(function(*inputs))
        return [_to_numpy(x) for x in outputs if isinstance(x, Tensor)]

    return run


def onnx_session(path: Path) -> "onnxruntime.InferenceSession":
    """Open an ONNX file in ONNX Runtime, on one thread of the processor.

    Raises:
        DeviceError: ONNX Runtime is not installed.
        ExportError: it does not read the file.
    """
    ort = require("onnxruntime", purpose="checking an ONNX file")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ExportError(f"{path.name}: ONNX Runtime cannot open it: {reason(error)}") from error


def onnx_runner(path: Path) -> Runner:
    """Return a runner of an ONNX file."""
    session = onnx_session(path)
    names = [entry.name for entry in session.get_inputs()]

    def run(inputs: Inputs) -> list[Array]:
        arrays = [_to_numpy(x) for x in inputs]
        outputs: list[Array] = session.run(None, dict(zip(names, arrays, strict=True)))
        return outputs

    return run


def openvino_runner(path: Path) -> Runner:
    """Return a runner of an OpenVINO file, in float32 on one thread of the processor.

    Raises:
        ExportError: OpenVINO does not read the file, or its processor plug-in not the network.
    """
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}
    core = require("openvino", purpose="checking an OpenVINO file").Core()
    try:
        compiled = core.compile_model(path, "CPU", settings)
    except RuntimeError as error:
        raise ExportError(f"{path.name}: OpenVINO cannot open it: {reason(error)}") from error

    def run(inputs: Inputs) -> list[Array]:
        results = compiled([_to_numpy(x) for x in inputs])
        return [np.array(results[i]) for i in range(len(compiled.outputs))]

    return run


def max_difference(
    expected: Runner, actual: Runner, batches: Iterable[Inputs], tolerance: Tolerance
) -> float:
    """Return the largest absolute difference of any output number over all batches.

    Raises:
        ExportError: a run fails, the outputs differ in number or shape, or by more than allowed.
    """
    worst = 0.0
    for inputs in batches:
        wanted = expected(inputs)
        where = f"batch size {batch_size_of(inputs)}"
        try:
            found = actual(inputs)
        except Exception as error:
            raise ExportError(
                f"the exported file does not run at {where}: {reason(error)}"
            ) from error
        if [x.shape for x in wanted] != [x.shape for x in found]:
            raise ExportError(
                f"the exported file disagrees with the model at {where}: its outputs have the "
                f"shapes {[x.shape for x in found]}, expected {[x.shape for x in wanted]}"
            )
        for i, (e, a) in enumerate(zip(wanted, found, strict=True)):
            worst = max(worst, _difference(e, a, tolerance, f"output {i} at {where}"))
    return worst


def _difference(expected: Array, actual: Array, tolerance: Tolerance, where: str) -> float:
    """Return the largest difference of one output, if no number differs by more than allowed."""
    exact = expected.dtype.kind != "f"
    e, a = expected.astype(np.float64), actual.astype(np.float64)
    size = np.where(np.isfinite(e), np.abs(e), 0.0)
    scale = size.max(initial=0.0)
    allowed = 0.0 if exact else tolerance.relative * size + tolerance.absolute * max(scale, 1e-6)
    same = (e == a) | (np.isnan(e) & np.isnan(a))
    with np.errstate(invalid="ignore"):
        gap = np.where(same, 0.0, np.nan_to_num(np.abs(e - a), nan=np.inf, posinf=np.inf))
    largest = float(gap.max(initial=0.0))
    if (gap > allowed).any():
        raise ExportError(
            f"the exported file disagrees with the model: {where} differs by up to {largest:.3g}, "
            f"where its largest number is {scale:.3g}; the model may depend on its inputs' "
            f"values or on chance, which an export freezes"
        )
    return largest


def _to_numpy(x: Tensor) -> Array:
    if x.dtype == torch.bfloat16:
        raise ExportError(
            "the model takes or returns bfloat16, which NumPy cannot hold, so the exported file "
            "cannot be checked; export it in float32: model.float()"
        )
    array: Array = x.detach().cpu().contiguous().numpy()
    return array

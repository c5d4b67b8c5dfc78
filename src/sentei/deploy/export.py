"""Export to ONNX, OpenVINO and torch.export: checked against the model, written whole or not at all."""

import contextlib
import dataclasses
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sentei.deploy.check import (
    Tolerance,
    max_difference,
    onnx_runner,
    onnx_session,
    openvino_runner,
    torch_runner,
)
from sentei.deploy.devices import require
from sentei.deploy.forward import (
    Inputs,
    as_inputs,
    batch_size_of,
    evaluating,
    on_device,
    with_batch_size,
)
from sentei.deploy.messages import reason
from sentei.deploy.staging import staged
from sentei.errors import ExportError

HALF_TOLERANCE = Tolerance(relative=1e-2, absolute=1e-2)
"""For weights rounded to float16, whose errors add up over the layers."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A model on disk, which computes what the module computes.

    Args:
        path: The file; companions (weights beside an ``.xml``) have its stem or begin with its
            name.
        dynamic_batch: Whether it runs at any batch size, or at that of the example alone.
        static_reason: Why the batch is static although a dynamic one was asked for; empty if it
            is as asked.
        max_abs_difference: Largest difference of an output number from the module's.
        num_bytes: Size of the file and its companions.
        opset: ONNX operator set; None for another format.
    """

    path: Path
    dynamic_batch: bool
    static_reason: str = ""
    max_abs_difference: float
    num_bytes: int
    opset: int | None = None


@dataclass(frozen=True, kw_only=True)
class _Written:
    """What one attempt wrote: the largest difference found, and the operator set if it has one."""

    max_abs_difference: float
    opset: int | None = None


def export_onnx(
    model: nn.Module,
    example: Tensor | Inputs,
    path: str | os.PathLike[str],
    *,
    opset: int | None = None,
    dynamic_batch: bool = True,
) -> Exported:
    """Write an ONNX file, and check that ONNX Runtime computes from it what the model computes.

    A model of 2 GB or more has its weights beside the file, in ``<name>.data``. The outputs are
    compared at the batch size of the example, and with a dynamic batch at 1 and at one more, too.
    The model is exported in evaluation mode and keeps the mode it is in.

    Args:
        model: Any module that ``torch.export`` can capture.
        example: Positional arguments of ``forward``: a tensor or a tuple of tensors, dimension 0
            of each the batch.
        path: File to write; its directory is made.
        opset: ONNX operator set; None leaves it to PyTorch.
        dynamic_batch: Leave the batch size open. Where the model does not allow it, the file has
            the batch size of the example, and the result says so.

    Raises:
        ExportError: the model cannot be exported, the file disagrees with the model, or it cannot
            be written.
        DeviceError: onnx, onnxscript or onnxruntime is not installed.
        ValueError: the tensors of the example have no common batch.
    """
    require("onnx", purpose="export_onnx")
    require("onnxscript", purpose="export_onnx")
    path = Path(path)
    with _on_cpu(model, as_inputs(example)) as (module, inputs), staged(path) as file:

        def attempt(dynamic: bool) -> _Written:
            program = _onnx_program(module, inputs, opset=opset, dynamic=dynamic)
            program.save(file)
            _check_onnx(file)
            difference = max_difference(
                torch_runner(module), onnx_runner(file), _batches(inputs, dynamic), Tolerance()
            )
            return _Written(max_abs_difference=difference, opset=program.model.opset_imports[""])

        return _export(attempt, file, path, dynamic_batch=dynamic_batch)


def export_torch(
    model: nn.Module,
    example: Tensor | Inputs,
    path: str | os.PathLike[str],
    *,
    dynamic_batch: bool = True,
) -> Exported:
    """Write a ``torch.export`` program (.pt2), load it again and compare it with the model.

    The file holds the graph as JSON and the weights; the example is left out.

    Args:
        model: Any module that ``torch.export`` can capture.
        example: As in ``export_onnx``.
        path: File to write; its directory is made.
        dynamic_batch: As in ``export_onnx``.

    Raises:
        ExportError: the model cannot be exported, the file disagrees with the model, or it cannot
            be written.
        ValueError: the tensors of the example have no common batch.
    """
    path = Path(path)
    with _on_cpu(model, as_inputs(example)) as (module, inputs), staged(path) as file:

        def attempt(dynamic: bool) -> _Written:
            program = _torch_program(module, inputs, dynamic)
            buffer = io.BytesIO()
            # Not into the file: on a full disk PyTorch's own writer ends the process.
            torch.export.save(program, buffer)
            file.write_bytes(buffer.getbuffer())
            reloaded = torch_runner(torch.export.load(file).module())
            difference = max_difference(
                torch_runner(module), reloaded, _batches(inputs, dynamic), Tolerance()
            )
            return _Written(max_abs_difference=difference)

        return _export(attempt, file, path, dynamic_batch=dynamic_batch)


def export_openvino(
    source: nn.Module | str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    example: Tensor | Inputs | None = None,
    compress_to_fp16: bool = False,
) -> Exported:
    """Write OpenVINO IR (.xml and .bin), and check that it computes what the source computes.

    Args:
        source: A module, or the path of an ONNX file. The files are called ``model`` for a module,
            and like the ONNX file otherwise.
        directory: Where to write; it is made.
        example: As in ``export_onnx``; a module needs one. For an ONNX file of float32 inputs,
            None draws normal numbers.
        compress_to_fp16: Store the weights in float16: half the size; the outputs may then differ
            by 1 % of the largest.

    Raises:
        ExportError: the source cannot be exported or read, the result disagrees with it, or cannot
            be written.
        DeviceError: openvino, or a package of ``export_onnx``, is not installed.
        ValueError: there is no example and one is needed, or its tensors have no common batch.
    """
    require("openvino", purpose="export_openvino")
    name = "model" if isinstance(source, nn.Module) else Path(source).stem
    path = Path(directory, f"{name}.xml")
    with staged(path) as file, contextlib.ExitStack() as stack:
        static_reason = ""
        if isinstance(source, nn.Module):
            module, inputs = stack.enter_context(_on_cpu(source, _required(source, example)))
            scratch = stack.enter_context(tempfile.TemporaryDirectory())
            exported = export_onnx(module, inputs, Path(scratch, "model.onnx"))
            onnx_path, static_reason = exported.path, exported.static_reason
            expected = torch_runner(module)
        else:
            onnx_path, expected = Path(source), onnx_runner(Path(source))
            inputs = _draw_inputs(onnx_path) if example is None else as_inputs(example)
        tolerance = HALF_TOLERANCE if compress_to_fp16 else Tolerance()

        def attempt(dynamic: bool) -> _Written:
            shapes = None if dynamic else [list(x.shape) for x in inputs]
            _write_ir(onnx_path, file, shapes, compress_to_fp16=compress_to_fp16)
            batches = _batches(inputs, dynamic)
            difference = max_difference(expected, openvino_runner(file), batches, tolerance)
            return _Written(max_abs_difference=difference)

        dynamic_batch = _has_dynamic_batch(onnx_path)
        result = _export(attempt, file, path, dynamic_batch=dynamic_batch)
        return dataclasses.replace(result, static_reason=static_reason or result.static_reason)


def _export(
    attempt: Callable[[bool], _Written], file: Path, path: Path, *, dynamic_batch: bool
) -> Exported:
    """Write ``file`` with a dynamic batch if that is wanted and works, otherwise a static one."""
    static_reason = ""
    written = None
    if dynamic_batch:
        try:
            written = attempt(True)
        except ExportError as error:
            static_reason = str(error)
    return Exported(
        path=path,
        dynamic_batch=written is not None,
        static_reason=static_reason,
        **dataclasses.asdict(written or attempt(False)),
        num_bytes=sum(part.stat().st_size for part in file.parent.iterdir()),
    )


@contextlib.contextmanager
def _on_cpu(model: nn.Module, inputs: Inputs) -> Iterator[tuple[nn.Module, Inputs]]:
    """Yield model and inputs on the processor, the model in evaluation mode without gradients."""
    with evaluating(model):
        yield on_device(model, torch.device("cpu")), tuple(x.cpu() for x in inputs)


def _batches(inputs: Inputs, dynamic: bool) -> list[Inputs]:
    """Return the inputs at the batch sizes to compare at."""
    given = batch_size_of(inputs)
    sizes = {given, 1, given + 1} if dynamic else {given}
    return [with_batch_size(inputs, size) for size in sorted(sizes)]


def _capture_arguments(inputs: Inputs, dynamic: bool) -> dict[str, Any]:
    """Return the arguments of the exporters that fix or open the batch."""
    if not dynamic:
        return {"args": inputs, "dynamic_shapes": None}
    batch = torch.export.Dim("batch")
    # torch.export takes a size of 1 for a constant.
    args = with_batch_size(inputs, max(2, batch_size_of(inputs)))
    return {"args": args, "dynamic_shapes": tuple({0: batch} for _ in inputs)}


def _torch_program(
    module: nn.Module, inputs: Inputs, dynamic: bool
) -> torch.export.ExportedProgram:
    try:
        with _quiet():
            program = torch.export.export(module, **_capture_arguments(inputs, dynamic))
    except Exception as error:
        raise ExportError(_refusal("torch.export", module, error)) from error
    # The file would hold the example as a pickle, and the places of the user's source code.
    program.example_inputs = None
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def _onnx_program(
    module: nn.Module, inputs: Inputs, *, opset: int | None, dynamic: bool
) -> torch.onnx.ONNXProgram:
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                **_capture_arguments(inputs, dynamic),
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise ExportError(_refusal("torch.onnx.export", module, error)) from error
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)  # places of the user's source
    written = program.model.opset_imports[""]
    if opset not in {None, written}:
        raise ExportError(
            f"{type(module).__name__}: PyTorch {torch.__version__} cannot write ONNX opset {opset}, "
            f"only {written}; ask for that, or leave opset=None"
        )
    batches = [entry.shape[0] for entry in program.model.graph.inputs if entry.shape]
    if dynamic and any(isinstance(batch, int) for batch in batches):
        raise ExportError(
            f"{type(module).__name__}: the forward fixes the batch size; export it with "
            f"dynamic_batch=False, or compute sizes from the shape of the input"
        )
    return program


def _refusal(exporter: str, module: nn.Module, error: Exception) -> str:
    return (
        f"{exporter} does not export {type(module).__name__}: {reason(error)}; check that its "
        f"forward runs on the example and does not branch on the values of tensors"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporters print, log and warn of; what they raise passes."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _check_onnx(file: Path) -> None:
    onnx = require("onnx", purpose="checking an ONNX file")
    try:
        onnx.checker.check_model(str(file), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{file.name} is not valid ONNX: {reason(error)}") from error


def _write_ir(
    onnx_path: Path, file: Path, shapes: list[list[int]] | None, *, compress_to_fp16: bool
) -> None:
    """Convert ONNX to OpenVINO IR; ``shapes`` of the inputs, if given, are fixed."""
    ov = require("openvino", purpose="export_openvino")
    try:
        network = ov.Core().read_model(onnx_path)
        if shapes is not None:
            network.reshape(dict(enumerate(shapes)))
        ov.save_model(network, file, compress_to_fp16=compress_to_fp16)
    except RuntimeError as error:
        raise ExportError(
            f"OpenVINO {ov.__version__} could not convert {onnx_path.name} or write the result: "
            f"{reason(error)}"
        ) from error


def _required(model: nn.Module, example: Tensor | Inputs | None) -> Inputs:
    if example is None:
        raise ValueError(
            f"export_openvino got the module {type(model).__name__} without an example; "
            f"give example=..., the positional arguments of its forward"
        )
    return as_inputs(example)


def _has_dynamic_batch(onnx_path: Path) -> bool:
    return not any(
        isinstance(entry.shape[0], int) for entry in onnx_session(onnx_path).get_inputs()
    )


def _draw_inputs(onnx_path: Path) -> Inputs:
    """Return normal numbers in the shapes the ONNX file takes, a batch of 2 if it is open."""
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for entry in onnx_session(onnx_path).get_inputs():
        batch, *sizes = entry.shape
        if entry.type != "tensor(float)" or not all(isinstance(size, int) for size in sizes):
            raise ValueError(
                f"{onnx_path.name}: no example can be drawn for the input {entry.name!r} of type "
                f"{entry.type} and shape {entry.shape}; give example=..."
            )
        shape = (batch if isinstance(batch, int) else 2, *sizes)
        inputs.append(torch.randn(shape, generator=generator))
    return tuple(inputs)

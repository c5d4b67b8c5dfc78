"""PyTorch with torch.compile: the inductor backend, weights frozen into the code."""

import contextlib
import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from sentei.deploy.devices import torch_device
from sentei.deploy.forward import Inputs, on_device
from sentei.deploy.messages import reason
from sentei.deploy.runtimes.base import RUNTIMES, Session
from sentei.deploy.runtimes.eager import torch_session
from sentei.errors import DeviceError, ExportError


@RUNTIMES.register("compile")
@contextlib.contextmanager
def open_compiled(
    model: nn.Module,
    inputs: Inputs,
    *,
    device: str,
    threads: int,  # noqa: ARG001  (PyTorch is set to it, and compiles for it)
) -> Iterator[Session]:
    """Compile for the shapes of the inputs; compilation is over when the session is open.

    Closing it calls ``torch.compiler.reset()``, which forgets everything compiled in this process:
    code compiled elsewhere is compiled again at its next call.
    """
    place = torch_device(device)
    _check_compiler()
    compiled = torch.compile(
        on_device(model, place), dynamic=False, options={"freezing": True}, **_isolation()
    )
    session = torch_session(compiled, inputs, place)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _compile(session, type(model).__name__)
        yield session
    finally:
        torch.compiler.reset()


def _isolation() -> dict[str, Any]:
    """Keep models of one class apart, where this PyTorch can.

    Otherwise they share a limit of 8 compilations, beyond which they silently run eagerly.
    """
    known = inspect.signature(torch.compile).parameters
    return {"isolate_recompiles": True} if "isolate_recompiles" in known else {}


def _compile(session: Session, name: str) -> None:
    try:
        session.run()
    except Exception as error:
        raise ExportError(
            f"torch.compile does not compile {name}: {reason(error)}; "
            f"time it with runtime='eager', or change what the message names"
        ) from error


def _check_compiler() -> None:
    # Importing inductor warns of its own use of torch.jit.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch._inductor.cpp_builder import get_cpp_compiler  # noqa: PLC0415
        from torch._inductor.exc import InvalidCxxCompiler  # noqa: PLC0415
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise DeviceError(
            f"runtime 'compile' needs a C++ compiler, and none works ({reason(error)}); install "
            f"one (g++ or clang++), or name it in the environment variable CXX"
        ) from error

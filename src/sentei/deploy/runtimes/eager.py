"""PyTorch as it is."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import nn

from sentei.deploy.devices import device_name, torch_device
from sentei.deploy.forward import Inputs, on_device
from sentei.deploy.runtimes.base import RUNTIMES, Session


@RUNTIMES.register("eager")
@contextlib.contextmanager
def open_eager(
    model: nn.Module,
    inputs: Inputs,
    *,
    device: str,
    threads: int,  # noqa: ARG001  (PyTorch is set to it)
) -> Iterator[Session]:
    """Run the module itself, on a copy where it lives on another device."""
    place = torch_device(device)
    yield torch_session(on_device(model, place), inputs, place)


def torch_session(function: Callable[..., object], inputs: Inputs, device: torch.device) -> Session:
    """Return a session that calls ``function`` and waits for the device to finish."""
    placed = tuple(x.to(device) for x in inputs)

    def run_and_wait() -> None:
        function(*placed)
        torch.accelerator.synchronize(device)

    return Session(
        run=(lambda: function(*placed)) if device.type == "cpu" else run_and_wait,
        device_name=device_name(device),
        library_version=f"torch {torch.__version__}",
    )
